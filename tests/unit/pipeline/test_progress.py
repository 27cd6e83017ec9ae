import io

import pytest
from rich.console import Console

from models.part_sizes import PartSize
from models.progress import Progress
from pipeline.progress import RunTable, parts_lines, progress_line
from pipeline.training_watch import tell, watched_by

PARTS = (PartSize("inputs", 531_200, None), PartSize("tower click", 4_225, 64), PartSize("small tower click", 65, 1))


def progress(**changes):
    fields = {
        "parts": PARTS, "is_refit": False, "epoch": 2, "num_epochs": 3, "num_rows": 25_000, "total_rows": 100_000,
        "rows_per_second": 5_000.0, "losses": {"click": 0.42109, "watch_seconds": 1.2},
    }  # fmt: skip
    return Progress(**fields | changes)


SPEED = "5,000 rows/s"
LOSSES = "loss: click 0.4211, watch_seconds 1.2000"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        # 75,000 rows of this epoch and 100,000 of the next, at 5,000 a second.
        ({}, f"epoch 2 of 3, 25%; {SPEED}; 35 s left; {LOSSES}"),
        ({"epoch": 3, "is_refit": True}, f"refit, epoch 3 of 3, 25%; {SPEED}; 15 s left; {LOSSES}"),
        ({"num_rows": 0, "rows_per_second": 0.0}, "epoch 2 of 3, 0%"),
        # More rows than the files' size had promised.
        ({"epoch": 3, "num_rows": 101_000}, f"epoch 3 of 3, 100%; {SPEED}; 0 s left; {LOSSES}"),
    ],
)
def test_progress_in_a_line(changes, line):
    assert progress_line(progress(**changes)) == line


def test_parts_in_lines():
    assert parts_lines(PARTS) == [
        "inputs             531,200 parameters",
        "tower click          4,225 parameters, rank 64",
        "small tower click       65 parameters, rank 1",
    ]


def run_of(console, updates):
    with RunTable(console) as table, watched_by(table.train):
        table.plan(["Transform", "Trainer", "Pusher"])
        table.start("Transform")
        table.end("Transform", True, "7 rows")
        table.start("Trainer")
        for update in updates:
            tell(update)
        rendered = Console(file=io.StringIO(), width=120)
        rendered.print(table._render())
        table.end("Trainer", False, "trained")
    return rendered.file.getvalue().splitlines()


def test_a_terminal_shows_parts_and_progress_under_the_trainer():
    lines = run_of(Console(file=io.StringIO(), force_terminal=True, width=120), [progress(num_rows=0), progress()])
    [trainer] = [index for index, line in enumerate(lines) if line.startswith("Trainer")]
    assert "epoch 2 of 3, 25%; 5,000 rows/s" in lines[trainer]
    assert [line.strip() for line in lines[trainer + 1 : trainer + 4]] == parts_lines(PARTS)
    assert lines[trainer + 4].startswith("Pusher")


def test_elsewhere_parts_are_told_once_and_progress_is_not():
    console = Console(file=io.StringIO(), width=120)
    run_of(console, [progress(num_rows=0), progress(), progress(num_rows=50_000)])
    output = console.file.getvalue().splitlines()
    assert output[1:4] == [f"  {line}" for line in parts_lines(PARTS)]
    assert [line.split()[0] for line in output if not line.startswith(" ")] == ["Transform", "Trainer"]
    assert output[-1].endswith("trained")


def test_nobody_needs_to_watch():
    seen = []
    tell("before")
    with watched_by(seen.append):
        tell("within")
    tell("after")
    assert seen == ["within"]
