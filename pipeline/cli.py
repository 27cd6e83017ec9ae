"""The `smalltowers` command. Every import that costs time stands inside the command that needs it."""

import sys

import click

_CONFIG = click.argument("config", metavar="CONFIG.toml")
_SET = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a configuration key.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="smalltowers")
def cli():
    """Small Towers: from click and engagement logs to rankings over gRPC."""


@cli.command()
@_CONFIG
@_SET
@click.option("--fresh", is_flag=True, help="Run every component again, whatever the cache holds.")
@click.argument("beam_args", nargs=-1, type=click.UNPROCESSED, metavar="[-- BEAM FLAGS]")
def run(config, overrides, fresh, beam_args):
    """Run the pipeline: ingest, validate, transform, train, evaluate, push."""
    from pipeline.commands.run import run_job

    sys.exit(run_job(_load(config, overrides), beam_args, enable_cache=not fresh))


@cli.command()
@_CONFIG
@_SET
@click.option("--run", "name", metavar="TIME", help="Time of the run, as its page is named; the last run where absent.")
def report(config, overrides, name):
    """Write the page of a run again and print its path."""
    from pipeline.commands.report import report_run

    report_run(_load(config, overrides), name)


@cli.command()
@_CONFIG
@_SET
def simulate(config, overrides):
    """Write the simulated logs that a configuration describes (data.simulator)."""
    from pipeline.commands.simulate import simulate_logs

    simulate_logs(_load(config, overrides))


@cli.command()
@click.argument("dataset", type=click.Choice(["kuairand-pure"]))
@click.option("--to", "folder", metavar="FOLDER", help="Where to put it; a folder of its name where absent.")
@click.option("--url", metavar="URL", help="Record of a mirror, of the form of Zenodo's API; the official one where absent.")
def fetch(dataset, folder, url):
    """Download an official data set; a download that was cut short goes on."""
    from pipeline.commands.fetch import fetch_dataset

    fetch_dataset(dataset, folder, url)


@cli.command()
@_CONFIG
@_SET
@click.option(
    "--backend", "backends", multiple=True, metavar="tf-serving://HOST:PORT", help="Ask this model server; repeat it."
)
def serve(config, overrides, backends):
    """Serve the pushed versions over TF Serving's gRPC API, and rankings by them, until interrupted."""
    from pipeline.commands.serve import serve_models

    serve_models(_load(config, overrides), backends)


@cli.command()
@_CONFIG
@_SET
@click.option("--user", required=True, help="Id of the user to rank for.")
@click.option(
    "--candidates", metavar="ID,ID,...", help="Items to rank; where absent, the first serving.max_candidates known ones."
)
@click.option("--feature", "features", multiple=True, metavar="NAME=VALUE", help="Set a column of the request.")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1), help="How many items to print.")
def rank(config, overrides, user, candidates, features, top):
    """Ask a running server for a ranking and print it."""
    from pipeline.commands.rank import rank_candidates

    rank_candidates(_load(config, overrides), user, candidates, features, top)


@cli.command()
@click.argument("a", metavar="VERSION_A")
@click.argument("b", metavar="VERSION_B")
@click.option("--examples", metavar="FOLDER", help="Evaluation rows; those of A's last run where absent.")
@click.option("--replicates", default=1_000, show_default=True, type=click.IntRange(100), help="Of the bootstrap.")
def compare(a, b, examples, replicates):
    """Score two pushed versions on the same evaluation rows and say which one to keep."""
    from pipeline.commands.compare import compare_versions

    compare_versions(a, b, examples, replicates)


@cli.command()
@_CONFIG
@_SET
@click.option("--exposures", metavar="GLOB", help="Segments of the exposure log; those of the job where absent.")
@click.option("--version", type=int, metavar="N", help="Of the model; the newest that answered where absent.")
def skew(config, overrides, exposures, version):
    """Compare what was served with the training rows and say which columns left their range; exit 1 if any did."""
    from pipeline.commands.skew import watch_skew

    sys.exit(watch_skew(_load(config, overrides), exposures, version))


@cli.command(name="compile")
@_CONFIG
@_SET
@click.option("-o", "--output", default="pipeline.yaml", show_default=True, metavar="FILE", help="Where to write.")
def compile_(config, overrides, output):
    """Write the pipeline's specification for Kubeflow Pipelines v2."""
    from pipeline.commands.compile import compile_job

    compile_job(_load(config, overrides), output)


@cli.command()
@_CONFIG
@_SET
@click.option("--user", help="Id of the user to rank for; the first one of the table where absent.")
def demo(config, overrides, user):
    """Simulate logs, run the pipeline, serve the model and ask it once."""
    from pipeline.commands.demo import run_demo

    sys.exit(run_demo(_load(config, overrides), user))


def _load(path, overrides):
    from pipeline.config import load

    return load(path, overrides)


def main():
    """Runs the command line; an error of the user ends in one line and exit code 2."""
    from pipeline.terminal import choose_arithmetic, quiet_environment

    quiet_environment()
    choose_arithmetic(is_serving=sys.argv[1:2] == ["serve"])
    try:
        cli()
    except Exception as error:
        message = _user_message(error)
        if message is None:
            raise
        click.echo(f"smalltowers: {message}", err=True)
        sys.exit(2)


def _user_message(error):
    """The line to print for an error that is the user's to mend, or None for a defect of this program."""
    from data.errors import DataError
    from models.errors import ModelError
    from pipeline.errors import PipelineError
    from serving.errors import ServingError

    if isinstance(error, DataError | ModelError | PipelineError | ServingError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    return None
