import re

import pytest

from data.columns import candidate_columns, input_name, labelled_schema
from data.schema import KEY_COLUMNS, LABELS, mask_name
from tests.unit.data.rows import data_config


def test_what_differs_by_candidate_is_the_items_and_what_is_known_of_it():
    keys = (["user_id"], ["item_id"], ["tag"], ["user_id", "author_id"])
    config = data_config(
        item_columns={"author_id": "string", "tag": "int"},
        user_columns={"age": "int"},
        history={"aggregates": [{"key": key} for key in keys], "sequences": [{"name": "last_items"}]},
    )
    assert set(candidate_columns(config)) == {
        "item_id", "position", "author_id", "tag", "item_history", "tag_history", "user_author_history", "item_age_hours",
    }  # fmt: skip
    others = set(labelled_schema(config).names) - set(candidate_columns(config))
    known_once = others - {*KEY_COLUMNS, *LABELS, *map(mask_name, LABELS)}
    assert known_once == {"user_id", "age", "surface", "user_history", "user_idle_hours", "last_items"}


def test_without_history_the_items_columns_remain():
    config = data_config(item_columns={"price": "float"}, user_columns={"age": "int"})
    assert set(candidate_columns(config)) == {"position", "item_id", "price"}
    assert "item_age_hours" not in candidate_columns(data_config(history={"has_ages": False}))


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("item_id", "item_id"),
        ("A1_b", "A1_b"),
        ("video.type", "column_video_type"),
        ("größe", "column_gr__e"),
        ("1st", "column_1st"),
        ("_id", "column__id"),
        ("self", "column_self"),
    ],
)
def test_names_of_inputs_are_plain(column, name):
    assert input_name(column) == name
    assert re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name)
