"""What the commands of benchmarks share: a quiet terminal, a table and, of a full run, the result's file and the page's block.

A benchmark NAME is a module `benchmarks.NAME.benchmark` with `measure(options, folder, say)`, which gives back a `Found`, and
`PAGE`, `SEEDS` and `PACKAGES` for the record; `benchmarks.NAME.__main__` declares its options.
"""

import argparse
import dataclasses
import importlib
import pathlib
import tempfile

from benchmarks.figures import print_figures, replace_block, write_result
from benchmarks.packages import PackageError
from pipeline.terminal import choose_arithmetic, framework_noise_to, quiet_environment, temporary_log


@dataclasses.dataclass(frozen=True)
class Found:
    """What a benchmark found.

    Attributes:
        title: of the table: which data it is about.
        figures: `benchmarks.figures.Figure` by name.
        page_text: Markdown that goes into the page's block; of a quick run nobody reads it.
        flags: of the command line that figures depend on.
    """

    title: str
    figures: dict
    page_text: str = ""
    flags: tuple = ()


def command_line(name, flags=()):
    """The command that runs a benchmark.

    Args:
        name: of the benchmark.
        flags: of the command line that figures depend on.

    Returns:
        Text.
    """
    return " ".join([f"python -m benchmarks.{name}", *flags])


def make_parser(name, about, quick):
    """Parser of a benchmark's command line, with `--quick`.

    Args:
        name: of the benchmark.
        about: docstring of the command, whose first line describes it.
        quick: what a quick run does.

    Returns:
        `argparse.ArgumentParser`.
    """
    parser = argparse.ArgumentParser(prog=command_line(name), description=about.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{quick}; writes nothing")
    return parser


def run(name, options):
    """Measures and prints the table; a full run writes the result and the page.

    Args:
        name: of the benchmark.
        options: as its command line was parsed, with `quick` and, where there is a choice, `folder` for data on its way.

    Returns:
        Exit code: 0 if every target holds, else 1; 0 for a quick run, whose targets say nothing; 2 if a package of others
        cannot be had.
    """
    log_file = temporary_log(name)
    quiet_environment()
    choose_arithmetic(is_serving=False)
    with framework_noise_to(log_file) as console:
        console.print(f"Framework messages: {log_file}", soft_wrap=True, highlight=False)
        with tempfile.TemporaryDirectory(dir=getattr(options, "folder", None)) as folder, console.status("") as status:
            # Here and not above: frameworks print while they are imported.
            benchmark = importlib.import_module(f"benchmarks.{name}.benchmark")
            try:
                found = benchmark.measure(options, pathlib.Path(folder), status.update)
            except PackageError as error:
                console.print(str(error), style="red")
                return 2
        if options.quick:
            without_targets = {
                key: dataclasses.replace(each, at_least=None, at_most=None) for key, each in found.figures.items()
            }
            print_figures(without_targets, f"{found.title}: too few to judge, nothing is written", console)
            return 0
        print_figures(found.figures, found.title, console)
        command = command_line(name, found.flags)
        path = write_result(name, found.figures, command, list(benchmark.SEEDS), benchmark.PACKAGES)
        replace_block(benchmark.PAGE, f"benchmarks.{name}", found.page_text)
        console.print(f"Written: {path}", soft_wrap=True, highlight=False)
        return 1 if any(figure.holds is False for figure in found.figures.values()) else 0
