import pyarrow as pa
import pytest

from data.attribution import attribute
from data.errors import LogFormatError
from data.ingest import check_source, input_files, work_units
from data.schema import ENGAGEMENT_SCHEMA, IMPRESSION_SCHEMA
from data.sources import kuairand
from tests.unit.data.rows import data_config

HEADER = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)
# Invented rows: a click with all signals, no click, the first one again with other signals, a second user.
ROWS = [
    "11,501,20220501,930,1651368600123,1,1,1,1,1,1,1,12500,10000,0,0,1,0,1",
    "11,502,20220501,930,1651368600123,0,0,0,0,0,0,0,1500,0,0,0,0,0,0",
    "11,501,20220501,930,1651368600123,0,0,0,0,0,0,0,99,10000,0,0,0,0,1",
    "12,501,20220502,5,1651420800000,1,0,0,0,0,0,0,0,10000,0,0,1,0,4",
]
USERS = "user_id,user_active_degree,register_days\n11,full_active,100\n12,,7\n"
VIDEOS = 'video_id,author_id,video_duration,tag\n501,9001,10000.0,"3,4"\n502,9002,,\n'


def config_of(folder, rows=ROWS, header=HEADER, **keys):
    (folder / "log_standard_4_22_to_5_08_pure.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "user_features_pure.csv").write_text(USERS)
    (folder / "video_features_basic_pure.csv").write_text(VIDEOS)
    return data_config(source={"kind": "kuairand", "path": str(folder)}, **keys)


def read(log, config):
    units = [unit for unit in work_units(config) if unit.log == log]
    blocks = [block for unit in units for block in kuairand.read_log(unit, config)]
    return (
        pa.concat_tables([block.rows for block in blocks]),
        pa.concat_tables([block.dead_letters for block in blocks]).to_pylist(),
    )


def test_rows_become_both_logs(tmp_path):
    config = config_of(tmp_path, context_columns={"hour": "int", "duration_seconds": "float", "is_rand": "int"})
    check_source(config)
    rows, letters = read("impressions", config)
    assert letters == []
    rows, num_repeats = kuairand.first_rows(rows)
    assert num_repeats == 1
    impressions = kuairand.impressions(rows, config)
    assert impressions.schema.names[: len(IMPRESSION_SCHEMA)] == IMPRESSION_SCHEMA.names
    first, second, third = impressions.to_pylist()
    assert first["impression_id"] == "11-501-1651368600123"
    assert (first["user_id"], first["item_id"], first["surface"], first["day"]) == ("11", "501", "1", "2022-05-01")
    assert first["impressed_at"].timestamp() == 1651368600.123
    assert [row["hour"] for row in (first, second, third)] == [9, 9, 0]
    assert [row["duration_seconds"] for row in (first, second, third)] == [10.0, 0.0, 10.0]
    # The day is the log's own, whatever time_ms says.
    assert third["day"] == "2022-05-02"
    engagements = kuairand.engagements(rows)
    assert engagements.schema == ENGAGEMENT_SCHEMA
    kinds = {}
    for row in engagements.to_pylist():
        kinds.setdefault(row["impression_id"], set()).add((row["kind"], row["watch_seconds"]))
    signals = ("click", "like", "follow", "comment", "share", "profile_visit", "hide")
    assert kinds["11-501-1651368600123"] == {("play", 12.5), *((kind, None) for kind in signals)}
    assert kinds["11-502-1651368600123"] == {("play", 1.5)}
    assert kinds["12-501-1651420800000"] == {("play", 0.0), ("click", None), ("profile_visit", None)}


def test_labels(tmp_path):
    config = config_of(tmp_path)
    rows, _ = kuairand.first_rows(read("impressions", config)[0])
    result = attribute(kuairand.impressions(rows, config), kuairand.engagements(rows), config, None)
    found = {r["impression_id"]: (r["click"], r["watch_seconds"], r["satisfaction"]) for r in result.rows.to_pylist()}
    assert found == {
        "11-501-1651368600123": (1.0, 12.5, 1.0),
        "11-502-1651368600123": (0.0, 1.5, 0.0),
        "12-501-1651420800000": (1.0, 0.0, 1.0),
    }
    assert result.counts["engagements_attributed"] == 12


def test_the_first_of_repeats_stays_over_files_and_in_any_order(tmp_path):
    config = config_of(tmp_path, rows=[ROWS[2]])
    (tmp_path / "log_standard_4_08_to_4_21_pure.csv").write_text("\n".join([HEADER, ROWS[0], ROWS[1]]) + "\n")
    rows, _ = read("impressions", config)
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        kept, num_repeats = kuairand.first_rows(rows.take(pa.array(order)))
        assert num_repeats == 1
        assert kept["is_click"].to_pylist() == [1, 0]


def test_tables_keep_declared_columns(tmp_path):
    config = config_of(
        tmp_path,
        user_columns={"user_active_degree": "string", "register_days": "int"},
        item_columns={"video_duration": "float", "tag": "string"},
    )
    check_source(config)
    assert read("users", config)[0].to_pylist() == [
        {"user_id": "11", "user_active_degree": "full_active", "register_days": 100},
        {"user_id": "12", "user_active_degree": None, "register_days": 7},
    ]
    assert read("items", config)[0].to_pylist() == [
        {"item_id": "501", "video_duration": 10000.0, "tag": "3,4"},
        {"item_id": "502", "video_duration": None, "tag": None},
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("1500", "-1"), "play_time_ms must be at least 0. Received: '-1'"),
        (("20220501", "yesterday"), "date must be an integer. Received: 'yesterday'"),
        (("20220501", "20220532"), "date must be a day as YYYYMMDD"),
        (("20220501", "20220431"), "date must be a day as YYYYMMDD"),
        (("20220501", "202205011"), "date must be a day as YYYYMMDD"),
        (("20220501", "20990101"), "date must be at most 2 days from time_ms"),
        (("11,", ","), "user_id is missing"),
        ((",0,0,0,0,0,0", ",2,0,0,0,0,0"), "is_click must be at least 0 and at most 1. Received: '2'"),
    ],
)
def test_a_bad_row_goes_to_the_dead_letters(tmp_path, change, reason):
    config = config_of(tmp_path, rows=[ROWS[0], ROWS[1].replace(*change, 1), ROWS[3]])
    rows, (letter,) = read("impressions", config)
    assert rows["sequence"].to_pylist() == [2, 4]
    assert (letter["line"], letter["reason"]) == (3, reason)


@pytest.mark.parametrize("name", ["is_click", "long_view", "play_time_ms", "comment_stay_time", "is_profile_enter"])
def test_a_signal_is_no_context(tmp_path, name):
    with pytest.raises(LogFormatError, match=rf"data.context_columns.{name} must not be a signal"):
        check_source(config_of(tmp_path, context_columns={name: "int"}))


def test_an_unknown_context_column_is_named(tmp_path):
    with pytest.raises(LogFormatError, match=r"data.context_columns.hours is not offered; did you mean hour"):
        check_source(config_of(tmp_path, context_columns={"hours": "int"}))


def test_an_absent_table_column_is_named(tmp_path):
    with pytest.raises(LogFormatError, match=r"user_features_pure.csv: there is no column 'active'; did you mean"):
        check_source(config_of(tmp_path, user_columns={"active": "string"}))


def test_an_absent_log_column_is_named(tmp_path):
    with pytest.raises(LogFormatError, match=r"log_standard_.*: there is no column 'tab'"):
        check_source(config_of(tmp_path, header=HEADER.replace("tab", "page")))


def test_a_missing_file_is_named(tmp_path):
    config = config_of(tmp_path, item_columns={"tag": "string"})
    (tmp_path / "video_features_basic_pure.csv").unlink()
    with pytest.raises(LogFormatError, match=r"data.source.path must .* Received: .*video_features_basic_\*.csv"):
        check_source(config)


def test_input_files_leave_out_tables_that_nobody_needs(tmp_path):
    assert input_files(config_of(tmp_path)) == [str(tmp_path / "log_standard_4_22_to_5_08_pure.csv")]
