"""The page of a run: one HTML file that asks for nothing else."""

import jinja2

from pipeline.measuring import TITLE_BY_MEASURE
from pipeline.report import figures, numbers, tables
from pipeline.report.run_report import HELD_BACK, PUSHED


def render(report):
    """HTML of a run.

    Args:
        report: `pipeline.report.run_report.RunReport`.

    Returns:
        str, without a script, a link to a file, or a font.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(numbers, name) for name in ("whole", "fixed", "signed", "percent", "duration")}
    template = environment.get_template("page.html.j2")
    return template.render(
        report=report,
        state={PUSHED: "pushed", HELD_BACK: "held"}.get(report.verdict.state, "stopped"),
        figures=figures,
        tables=tables,
        gate_line=gate_line,
        title_by_measure=TITLE_BY_MEASURE,
        configuration=report.config.model_dump_json(indent=2),
    )


def gate_line(gate, in_service):
    """What a task had to reach.

    Args:
        gate: `pipeline.gate.GateResult`.
        in_service: what the model was compared with; empty for none.

    Returns:
        One line.
    """
    told = [f"at least {gate.floor:g}" if gate.floor is not None else "no floor"]
    if in_service:
        told.append(f"not surely worse than {in_service}" + (f" by more than {gate.tolerance:g}" if gate.tolerance else ""))
    return f"{TITLE_BY_MEASURE[gate.measure]}: {', '.join(told)}"
