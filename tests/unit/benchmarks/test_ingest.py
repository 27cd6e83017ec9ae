"""On one small log, three systems that share no code find the same labels, row by row."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.ingest import contender, product, race, task
from benchmarks.ingest.row_at_a_time import run_rows
from benchmarks.ingest.sql import run_sql
from benchmarks.ingest.written import read_written
from benchmarks.logs import write_logs
from benchmarks.processes import ProcessError
from data.schema import ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA

BEAM_ARGS = ["--runner=FnApiRunner"]
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def labels_by_contender(files, folder):
    config = task.data_config(files, has_history=False)
    for name in ("ours", "rows", "sql"):
        (folder / name).mkdir()
    product.run_ingestion(config, str(folder / "ours"), BEAM_ARGS)
    run_rows(config, str(folder / "rows"), BEAM_ARGS)
    run_sql(config, str(folder / "sql"), 1)
    tables = {
        "ours": read_written(str(folder / "ours"), config),
        "rows": read_written(str(folder / "rows")),
        "sql": read_written(str(folder / "sql")),
    }
    return {name: task.comparable(table) for name, table in tables.items()}


def test_contenders_agree_row_by_row(tmp_path):
    files = write_logs(str(tmp_path / "logs"), 3_000, seed=5, num_files=2)
    tables = labels_by_contender(files, tmp_path)
    rows = tables["ours"].to_pylist()
    assert len(rows) == 3_000 - 2 * 3
    assert tables["rows"].to_pylist() == rows
    assert tables["sql"].to_pylist() == rows
    found = task.totals(tables["ours"])
    assert 0 < found["satisfaction"] < found["click"] < found["click_mask"]
    assert found["satisfaction_mask"] < found["watch_seconds_mask"] < found["rows"]


def test_contenders_agree_at_the_edges(tmp_path):
    (tmp_path / "logs").mkdir()
    files = write_logs(str(tmp_path / "logs"), 100, num_files=1)

    def shown(id_, seconds, item="i", **columns):
        at = START + datetime.timedelta(seconds=seconds)
        return {
            **dict.fromkeys(IMPRESSION_SCHEMA.names),
            "impression_id": id_,
            "user_id": "u",
            "item_id": item,
            "impressed_at": at,
            **columns,
        }

    def event(id_, kind, seconds, impression=None, item="i", **columns):
        at = START + datetime.timedelta(seconds=seconds)
        ids = {"event_id": id_, "impression_id": impression, "user_id": "u", "item_id": item}
        return {**dict.fromkeys(ENGAGEMENT_SCHEMA.names), **ids, "kind": kind, "engaged_at": at, **columns}

    day = 86_400
    impressions = [
        shown("a", 0), shown("a", 5), shown("b", 100), shown("c", 0, "j"), shown("d", 0, "k"), shown("e", 9.5 * day, "l"),
    ]  # fmt: skip
    engagements = [
        event("1", "click", 100 + 1800, "b"),
        event("2", "click", 1800.001, "a"),
        event("3", "play", 100, watch_seconds=1.0),
        event("3", "play", 99, watch_seconds=2.0),
        event("4", "play", 50, "c", "j", watch_seconds=0.5),
        event("5", "play", 50, "c", "j", watch_seconds=0.25),
        event("6", "play", 51, "c", "j", watch_seconds=4.0),
        event("7", "click", -0.001, item="j"),
        event("8", "survey", day, "d", "k", score=2.0),
        event("9", "survey", 2 * day, "d", "k", score=5.0),
        event("10", "like", 1, "b"),
        event("11", "hide", 2, "b"),
        event("12", "like", 9.5 * day + 1, "e", "l"),
    ]
    pq.write_table(pa.Table.from_pylist(impressions, IMPRESSION_SCHEMA), tmp_path / "logs" / "impressions-00000.parquet")
    pq.write_table(pa.Table.from_pylist(engagements, ENGAGEMENT_SCHEMA), tmp_path / "logs" / "engagements-00000.parquet")
    tables = labels_by_contender(files, tmp_path)
    names = ("click", "watch_seconds", "satisfaction", "satisfaction_mask")
    found = {row["impression_id"]: tuple(row[name] for name in names) for row in tables["ours"].to_pylist()}
    # Of repeats the earliest, of equals the first event id: 2 s of a; 0.5 s and 4 s of c.
    assert found == {
        "a": (0, 2.0, 0, 1), "b": (1, 0, 0, 1), "c": (0, 4.5, 0, 1), "d": (0, 0, 1, 1), "e": (0, 0, 0, 0),
    }  # fmt: skip
    assert tables["rows"].to_pylist() == tables["ours"].to_pylist()
    assert tables["sql"].to_pylist() == tables["ours"].to_pylist()


def test_disagreement_is_an_error():
    agreed = {"rows": 3, "click": 2.0}
    race.require_agreement({"ours": agreed, "duckdb": dict(agreed)})
    with pytest.raises(
        race.DisagreementError, match=r"ours and duckdb must find the same labels. Received: {'click': \(2.0, 1.0\)}"
    ):
        race.require_agreement({"ours": agreed, "duckdb": {**agreed, "click": 1.0}})


def test_an_unknown_contender():
    with pytest.raises(ValueError, match=r"name must be one of ours, .*, duckdb. Received: spark"):
        contender.load("spark")


class FakeRace:
    """Runs of known cost: `startup` seconds, then `cost_us` an impression; the row-at-a-time pipeline may be too slow."""

    def __init__(self, cost_us_by_name, row_limit=None):
        self.cost_us_by_name = cost_us_by_name
        self.row_limit = row_limit

    def run(self, name, num_impressions, mode, read_totals=False):
        if name == race.ROWS and self.row_limit is not None and num_impressions > self.row_limit:
            raise ProcessError("row_at_a_time must end within 900 s")
        seconds = 2.0 + self.cost_us_by_name[name] * num_impressions / 1e6
        return race.Run(seconds, 3 << 30), {"rows": num_impressions} if read_totals else None


def test_race_figures():
    fake = FakeRace({race.OURS: 8.0, race.HISTORY: 18.0, race.ROWS: 98.0, race.SQL: 3.0})
    figures = race.race_figures(fake, 1_000_000, 3, "in_memory", "in_memory", 100_000)
    assert figures["ours_impressions_per_s"].value == pytest.approx(100_000)
    assert figures["speed_against_row_at_a_time"].value == pytest.approx(10.0)
    assert figures["time_against_duckdb"].value == pytest.approx(2.0)
    assert [figures[name].holds for name in ("speed_against_row_at_a_time", "time_against_duckdb")] == [True, True]
    assert figures["duckdb_peak_memory"].value == 3.0


def test_a_row_pipeline_that_cannot_finish_is_measured_on_fewer_rows_and_says_so():
    fake = FakeRace({race.OURS: 8.0, race.HISTORY: 18.0, race.ROWS: 980.0, race.SQL: 3.0}, row_limit=100_000)
    figures = race.race_figures(fake, 1_000_000, 2, "in_memory", "in_memory", 100_000)
    assert figures["row_at_a_time_impressions_per_s_at_100000"].value == pytest.approx(1_000)
    assert "row_at_a_time_impressions_per_s" not in figures
    fake.row_limit = 10
    with pytest.raises(ProcessError, match=r"must end within"):
        race.race_figures(fake, 1_000_000, 1, "in_memory", "in_memory", 100_000)


def test_scale_subtracts_the_startup():
    figures, points = race.scale_figures(FakeRace({race.OURS: 10.0}), race.OURS, (100_000, 1_000_000), 3, "in_memory")
    assert figures["ours_startup"].value == pytest.approx(2.01)
    assert [point[2] for point in points] == pytest.approx([10.0, 10.0])
    assert figures["ours_spread_of_cost"].value == pytest.approx(0.0, abs=1e-9)
    assert figures["ours_peak_at_1000000"].holds
    assert figures["ours_peak_at_100000"].target is None


def test_a_contender_runs_in_a_process_of_its_own(tmp_path):
    race_ = race.Race(str(tmp_path), lambda text: None)
    run, found = race_.run(race.SQL, 500, read_totals=True)
    assert run.seconds > 0
    assert run.peak_bytes > 20 << 20
    assert found["rows"] == 500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs-500"]
