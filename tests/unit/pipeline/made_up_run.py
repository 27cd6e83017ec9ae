"""Runs as the report tells them, with made-up values."""

import dataclasses
import datetime
import math
import types

import pyarrow as pa

from data.counts import Counts
from data.report import LABEL_COUNTS_SCHEMA
from models.bootstrap import Difference, Estimate
from models.history import Course, Epoch, History, Point
from models.measures.probability import ReliabilityBin, wilson_interval
from models.measures.registry import measures_of
from models.part_sizes import PartSize
from models.warm_start_report import CopiedRows, WarmStartReport
from pipeline.gate import Evaluation, GateResult, TaskResult
from pipeline.measuring import MeasureResult
from pipeline.report.run_report import HELD_BACK, PUSHED, Component, Origin, Output, RunReport, Verdict

_VALUES = {
    "auc": 0.7412, "gauc": 0.6268, "ndcg": 0.7044, "log_loss": 0.5631, "normalised_entropy": 0.8402, "xauc": 0.6884,
    "expected_calibration_error": 0.0042, "mean_absolute_error_seconds": 18.37, "mean_absolute_error": 0.11,
}  # fmt: skip
_CHANGES = {"click": 0.0061, "watch_seconds": -0.0034, "satisfaction": 0.0008}


def counts():
    return Counts(
        impressions_read=612_044,
        impressions_train=470_120,
        impressions_validation=60_118,
        impressions_eval=80_902,
        impressions_duplicate=896,
        impressions_dead_lettered=8,
        engagements_read=390_511,
        engagements_attributed=389_020,
        engagements_duplicate=1_200,
        engagements_beyond_window=290,
        engagements_dead_lettered=1,
        reasons={"engagements.not_json": 1, "impressions.unknown_time": 8},
    )


def labels(shift=0.0):
    lines = []
    for day in range(10):
        for surface, share in (("feed", 0.7), ("search", 0.25), (None, 0.05)):
            shown = int(60_000 * share * (1 + 0.2 * math.sin(day)))
            lines.append(
                {
                    "day": f"2026-01-{day + 1:02d}", "surface": surface, "impressions": shown,
                    "click_known": shown, "click_sum": shown * (0.36 + shift + 0.01 * math.cos(day)),
                    "watch_seconds_known": shown, "watch_seconds_sum": shown * (10.7 + 30 * shift),
                    "satisfaction_known": shown, "satisfaction_sum": shown * 0.09,
                }
            )  # fmt: skip
    return pa.Table.from_pylist(lines, schema=LABEL_COUNTS_SCHEMA)


def bins(slope):
    made = []
    for index in range(10):
        predicted = 0.04 + 0.085 * index
        observed = min(max(0.5 + slope * (predicted - 0.5), 0.01), 0.99)
        made.append(ReliabilityBin(predicted, observed, *wilson_interval(observed, 900), 900.0))
    return tuple(made)


def course(num_epochs=6):
    tasks = {"click": 0.62, "watch_seconds": 1.9, "satisfaction": 0.29}
    epochs = [
        Epoch(
            train_losses={label: base * (0.9 + 0.12 * math.exp(-epoch / 2)) for label, base in tasks.items()},
            validation_losses={label: base * (0.92 + 0.1 * math.exp(-epoch) + 0.002 * epoch) for label, base in tasks.items()},
            validation_measures={
                "click": {"auc": 0.741 - 0.05 * math.exp(-epoch), "log_loss": 0.56 + 0.05 * math.exp(-epoch)},
                "watch_seconds": {"xauc": 0.688 - 0.04 * math.exp(-epoch)},
                "satisfaction": {"auc": 0.74 - 0.06 * math.exp(-epoch), "log_loss": None},
            },
            stopping_value=1.0,
            learning_rate=1e-3 / (epoch + 1),
            num_steps=919,
            num_rows=470_120,
            train_seconds=21.4,
            validation_seconds=1.8,
        )
        for epoch in range(num_epochs)
    ]
    points = [
        Point(
            step=32 * (index + 1),
            losses=tasks,
            total_loss=2.8 + math.exp(-index / 20) + 0.03 * math.sin(9 * index),
            weights={"click": 1 + 0.2 * math.sin(index / 20), "watch_seconds": 0.7, "satisfaction": 1.1},
            conflict={},
            learning_rate=1e-3 * 0.5 * (1 + math.cos(math.pi * index / 160)),
        )
        for index in range(160)
    ]
    return Course(tuple(epochs), tuple(points), min(5, num_epochs), num_epochs > 5)


def history():
    parts = (PartSize("inputs", 812_480, None), PartSize("body", 40_128, None), PartSize("click tower", 4_225, 64),
             PartSize("click small tower", 65, 1))  # fmt: skip
    warm_start = WarmStartReport("/runs/feed/artifacts/Trainer/model/31", {"item_id": CopiedRows(480, 20, 11)}, 14, {})
    return History(parts, course(), None, warm_start)


def task_result(task, in_service, blocks=()):
    measures = {}
    for name in measures_of(task):
        value, change = _VALUES[name], _CHANGES[task.label] * (1 if name in ("auc", "gauc", "xauc", "ndcg") else -1)
        spread = 0.004 if value < 1 else 0.3
        estimate = Estimate(value, value - spread, value + spread, 300)
        before = Estimate(value - change, value - change - spread, value - change + spread, 300) if in_service else None
        difference = Difference(change, change - 0.0021, change + 0.0023, 300) if in_service else None
        measures[name] = MeasureResult(task.label, name, estimate, before=before, change=difference)
    if task.label == "satisfaction":
        measures["ndcg"] = MeasureResult("satisfaction", "ndcg", None, "no list has a gain")
    gate = GateResult("auc" if task.head.serves == "probability" else "xauc", 0.6, 0.002, tuple(blocks), ())
    curve = () if task.head.serves == "seconds" else bins(0.97)
    return TaskResult(task.label, task.head.serves, 80_902, measures, curve, gate)


def evaluation(config, in_service="version 17", blocks=()):
    tasks = [task_result(task, in_service, blocks if task.label == "watch_seconds" else ()) for task in config.model.tasks]
    return Evaluation(tuple(tasks), 80_902, 6_120, 300, in_service, 10)


def slices():
    found = []
    for name, bucket, num_rows in (("", "", 80_902), ("surface", "feed", 56_000), ("surface", "search", 20_100),
                                   ("user_history.impressions_7d", "below 10", 9_000),
                                   ("user_history.impressions_7d", "10 and above", 71_902)):  # fmt: skip
        for label, measure in (("click", "auc"), ("watch_seconds", "xauc"), ("satisfaction", "auc")):
            found.append(
                types.SimpleNamespace(
                    slice_name=name, bucket=bucket, label=label, num_rows=num_rows,
                    values={measure: 0.74 - len(bucket) / 1_000}, changes={measure: 0.0012},
                )
            )  # fmt: skip
    return tuple(found)


def components():
    names = ("LogExampleGen", "StatisticsGen", "Transform", "Trainer", "ModelInService", "Gate", "Evaluator", "Pusher")
    return tuple(
        Component(name, "cached" if index in (1, 2) else "done", 40 + index, 3.7 * 2**index,
                  (Output("result", 90 + index, f"/runs/feed/artifacts/{name}/result/{40 + index}"),))
        for index, name in enumerate(names)
    )  # fmt: skip


def run_report(config, **changes):
    """A run that was pushed over version 17; `changes` replace fields."""
    report = RunReport(
        config=config,
        started_at=datetime.datetime(2026, 1, 11, 4, 5, tzinfo=datetime.timezone.utc),
        seconds=947.0,
        verdict=Verdict(PUSHED, "18", f"{config.models_folder}/18"),
        components=components(),
        origin=Origin("2026-01-11T04:05:00", "9f2c" * 32, "80087b6", {"tensorflow": "2.16.2", "tfx": "1.16.0"}),
        counts=counts(),
        labels=labels(),
        previous_labels=labels(0.01),
        anomalies=("eval rows: surface is distributed differently than in the train rows: L-infinity distance 0.131, "
                   "at most 0.1 is allowed",),
        history=history(),
        evaluation=evaluation(config),
        slices=slices(),
        uncalibrated={"click": bins(0.7)},
    )  # fmt: skip
    return dataclasses.replace(report, **changes)


def held_back(config):
    line = "watch_seconds XAUC fell by 0.0034 (0.0011 to 0.0055) against the model in service, version 17; 0.002 is tolerated"
    return run_report(
        config, verdict=Verdict(HELD_BACK, reasons=(line,)), evaluation=evaluation(config, blocks=(line,)), uncalibrated={}
    )


def first_run(config):
    return run_report(
        config,
        previous_labels=None,
        anomalies=(),
        history=History((), course(1), None, None),
        evaluation=evaluation(config, in_service=""),
        slices=(),
    )
