import collections
import dataclasses
import json
import math
import pathlib
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.figures import PROJECT, Figure
from benchmarks.processes import Measured
from benchmarks.training import environments, product, race
from benchmarks.training.benchmark import PAGE, page_text
from benchmarks.training.paths import arrays_path, rows_glob, transform_folder
from benchmarks.training.race import (
    NothingLearnedError,
    Race,
    Run,
    median_interval,
    parse_run,
    race_figures,
    small_tower_figures,
)
from benchmarks.training.rows import write_rows
from benchmarks.training.task import CATEGORIES, LABELS, NUMBERS, Task, as_table, base_entropy, random_columns
from data.schema import mask_name
from models.packing import packed_spec, unpack

TINY = Task(num_categories=3, vocabulary_size=6, num_numbers=2, batch_size=64, epochs=2)
NUM_ROWS = 640


def printed(**values):
    return Measured("noise\n" + json.dumps({"seconds": [9.0, 2.0, 3.0], "rows": 100, "loss": 0.5, **values}) + "\n", 1 << 30)


def test_a_rate_is_of_all_epochs_but_the_first():
    assert parse_run(printed()) == Run(2 * 100 / 5.0, 1 << 30, 0.5, {})
    assert parse_run(printed(versions={"torch": "2"})).versions == {"torch": "2"}
    with pytest.raises(ValueError, match=r"must train at least two epochs, as the first warms up\. Received: \[9\.0\]"):
        parse_run(printed(seconds=[9.0]))


def test_the_task_is_the_one_that_peers_were_asked():
    task = Task()
    model = task.model_config()
    assert collections.Counter(feature.kind for feature in model.features) == {"categorical": 33, "numeric": 7}
    assert {feature.dimension for feature in model.features if feature.kind == "categorical"} == {16}
    assert (model.body.kind, model.body.num_experts, model.body.expert_units, model.body.gate_units) == ("mmoe", 8, (16,), ())
    assert [task.head.kind for task in model.tasks] == ["binary", "binary"]
    assert (model.small_tower.gamma, task.model_config(1.0).small_tower.gamma) == (0.0, 1.0)
    train = task.train_config()
    assert (train.batch_size, train.epochs, train.optimizer, train.learning_rate) == (1_024, 3, "adam", 1e-3)


def test_rows_have_the_shape_asked_for_and_follow_from_the_seed():
    columns = random_columns(Task(), 4_000, 3)
    assert {name: (array.shape, array.dtype) for name, array in columns.items()} == {
        CATEGORIES: ((4_000, 33), np.int64),
        NUMBERS: ((4_000, 7), np.float32),
        LABELS: ((4_000, 2), np.float32),
    }
    again, other = random_columns(Task(), 4_000, 3), random_columns(Task(), 4_000, 4)
    assert all(np.array_equal(again[name], columns[name]) for name in columns)
    assert not any(np.array_equal(other[name], columns[name]) for name in columns)
    # The k-th value is as frequent as 1 / k.
    counts = np.bincount(columns[CATEGORIES].ravel(), minlength=1_000)
    assert len(counts) == 1_000
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.1)
    assert set(np.unique(columns[LABELS])) == {0.0, 1.0}
    rate = float(columns[LABELS][:, 0].mean())
    assert 0.2 < rate < 0.5


def test_entropy_of_the_labels_rates():
    labels = np.array([[1, 0], [0, 0], [0, 1], [0, 1]], np.float32)
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert base_entropy({LABELS: labels}) == pytest.approx((quarter + math.log(2)) / 2)


def test_the_table_holds_every_column_under_its_name():
    columns = random_columns(TINY, 5, 0)
    table = as_table(TINY, columns)
    assert set(table.column_names) == {
        "category_0", "category_1", "category_2", "number_0", "number_1",
        "label_0", "label_1", mask_name("label_0"), mask_name("label_1"),
    }  # fmt: skip
    assert table["category_2"].to_pylist() == columns[CATEGORIES][:, 2].tolist()
    assert table["label_1"].to_pylist() == columns[LABELS][:, 1].tolist()
    assert table[mask_name("label_1")].to_pylist() == [1.0] * 5


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=6, max_size=40))
def test_interval_of_a_median_by_enumeration(values):
    low, high = median_interval(values)
    ordered, count = sorted(values), len(values)
    # Chance that at most k - 1 of n fair coins show heads, both ends together.
    missed = [2 * sum(math.comb(count, heads) for heads in range(k)) / 2**count for k in range(count)]
    k = max(k for k in range(1, count) if missed[k] <= 0.05)
    assert (low, high) == (ordered[k - 1], ordered[count - k])
    assert low <= np.median(values) <= high


def test_too_few_pairs_have_no_interval():
    with pytest.raises(ValueError, match=r"values must hold at least 6 numbers for an interval\. Received: 5"):
        median_interval([0.0] * 5)


def test_the_upper_end_of_the_interval_has_the_target_too():
    figures = small_tower_figures([0.01, 0.02, 0.03, 0.04, 0.045, 0.06, 0.2])
    assert (figures["small_towers_cost"].value, figures["small_towers_cost"].holds) == (0.04, True)
    assert figures["small_towers_cost_at_least"].value == 0.01
    assert (figures["small_towers_cost_at_most"].value, figures["small_towers_cost_at_most"].holds) == (0.2, False)


class FakeRace:
    """Contenders that are slower from one repeat to the next."""

    rates = {
        "end_to_end": 100.0,
        "from_files": 75.0,
        "in_memory": 125.0,
        "deepctr": 30.0,
        "deepctr_xla": 40.0,
        "torch_rechub": 10.0,
    }

    def __init__(self):
        self.order = []

    def run(self, name):
        self.order.append(name)
        rate = self.rates[name] / self.order.count(name)
        # In the second repeat another peer is the fastest.
        rate *= 2 if name == "deepctr" and self.order.count(name) == 2 else 1
        return Run(rate, 2 << 30, 0.4, {name: "1"} if name == "deepctr" else {})

    def small_tower_costs(self):
        return [0.01, 0.02, 0.03]


def test_ratios_are_of_contenders_of_one_repeat():
    fake = FakeRace()
    figures, versions = race_figures(fake, race.PEERS, 2)
    assert fake.order == [*FakeRace.rates, *FakeRace.rates]
    assert (figures["end_to_end_rows_per_s"].low, figures["end_to_end_rows_per_s"].high) == (50.0, 100.0)
    share = figures["share_of_ceiling"]
    assert (share.value, share.low, share.holds) == (0.8, 0.8, True)
    assert figures["share_of_ceiling_from_files"].value == 0.6
    speed = figures["speed_against_fastest_peer"]
    assert (speed.low, speed.high) == (pytest.approx(50 / 30), 2.5)
    assert speed.target == ">= 2"
    assert figures["small_towers_cost"].num_repeats == 6
    assert figures["deepctr_peak_memory"].value == 2.0
    assert versions == {"deepctr": "1"}
    alone, _ = race_figures(FakeRace(), (), 2)
    assert "speed_against_fastest_peer" not in alone


@pytest.fixture
def started(monkeypatch, tmp_path):
    """A race whose processes print what a test wants, and the commands that it started."""
    commands, outputs = [], []

    def measure(command, *_):
        commands.append(command)
        return outputs.pop(0)

    monkeypatch.setattr(race, "measure", measure)
    monkeypatch.setattr(race, "peer_python", lambda name: pathlib.Path("/env", name, "python"))
    outputs.append(Measured('{"base_entropy": 0.6931}', 0))
    runner = Race(tmp_path, TINY, 2, 5, 7, lambda _: None)
    assert commands.pop()[1:6] == ["-m", "benchmarks.training.rows", str(tmp_path), "2", "5"]
    return runner, commands, outputs


def test_peers_run_in_their_own_environment_on_the_same_rows(started):
    runner, commands, outputs = started
    outputs += [printed()] * 5
    for name in ("end_to_end", "from_files", *race.PEERS):
        runner.run(name)
    ours, from_files, deepctr, compiled, rechub = commands
    assert ours[:4] == [sys.executable, "-m", "benchmarks.training.product", "end_to_end"]
    assert from_files == [*ours[:3], "from_files", *ours[4:]]
    assert Task(**json.loads(ours[5])) == Task(**json.loads(deepctr[6])) == TINY
    assert deepctr[:4] == ["env", "-u", "TF_USE_LEGACY_KERAS", "/env/deepctr/python"]
    assert pathlib.Path(deepctr[4]).name == "with_deepctr.py"
    assert pathlib.Path(deepctr[4]).exists()
    assert compiled == [*deepctr, "--compiled"]
    assert rechub[3] == "/env/torch_rechub/python"
    assert pathlib.Path(rechub[4]).exists()
    assert deepctr[5] == rechub[5] == str(arrays_path(pathlib.Path(ours[4])))


@pytest.mark.parametrize("loss", [0.6931, 0.9, math.nan])
def test_who_does_not_learn_does_not_count(started, loss):
    runner, _, outputs = started
    outputs.append(printed(loss=loss))
    with pytest.raises(NothingLearnedError, match=r"the loss of deepctr must be below 0\.6931, that of the labels' rates"):
        runner.run("deepctr")


def test_costs_are_what_exceeds_a_step(started):
    runner, commands, outputs = started
    outputs.append(Measured('{"ratios": [1.02, 0.99]}', 0))
    assert runner.small_tower_costs() == pytest.approx([0.02, -0.01])
    assert commands[0][3] == "small_towers"
    assert commands[0][6:] == ["7"]


@pytest.mark.parametrize("name", environments.PEERS)
def test_every_package_of_a_peer_is_pinned(name):
    lines = (PROJECT / "benchmarks" / "training" / "requirements" / f"{name}.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][\w.]*", line) for line in lines)
    pins = dict(line.split("==") for line in lines)
    wanted = {
        "deepctr": {"deepctr": "0.9.4", "tensorflow": "2.21.0"},
        "torch_rechub": {"torch-rechub": "0.9.0", "torch": "2.13.0"},
    }
    assert wanted[name].items() <= pins.items()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training") / "race"
    return folder, write_rows(TINY, NUM_ROWS, 7, folder)


def test_both_forms_hold_the_same_rows(written):
    folder, columns = written
    with np.load(arrays_path(folder)) as arrays:
        assert all(np.array_equal(arrays[name], columns[name]) for name in columns)
    spec = tft.TFTransformOutput(str(transform_folder(folder))).transformed_feature_spec()
    files = sorted(tf.io.gfile.glob(rows_glob(folder)))
    assert len(files) == 4
    records = list(tf.data.TFRecordDataset(files, compression_type="GZIP").batch(NUM_ROWS))
    found = unpack(tf.io.parse_example(records[0], packed_spec(spec)), spec)
    np.testing.assert_array_equal(found["label_1"], columns[LABELS][:, 1])
    np.testing.assert_array_equal(found[mask_name("label_0")], np.ones(NUM_ROWS))
    # Ids of a vocabulary are a renaming of the values, by frequency.
    values, ids = columns[CATEGORIES][:, 0], found["category_0"].numpy()
    assert len(set(zip(values, ids, strict=True))) == len(set(values)) == len(set(ids))
    counts = np.bincount(ids)
    assert list(counts) == sorted(counts, reverse=True)
    numbers = columns[NUMBERS][:, 1]
    np.testing.assert_allclose(found["number_1"], (numbers - numbers.mean()) / numbers.std(), atol=1e-4)


@pytest.mark.parametrize("what", [product.end_to_end, product.from_files])
def test_the_trainer_end_to_end(written, what):
    folder, _ = written
    found = what(folder, TINY)
    assert len(found["seconds"]) == 1 + product.FURTHER_EPOCHS
    assert min(found["seconds"]) > 0
    assert found["rows"] == NUM_ROWS
    assert 0 < found["loss"] < 1
    # The checkpoints of a run do not lie about.
    assert not [path for path in folder.iterdir() if path.is_dir() and path.name not in ("output", "spill")]


def test_blocks_with_and_without_small_towers(written, monkeypatch):
    folder, _ = written
    blocks, make_loop = [], product.make_loop

    def noting(folder, task, tft_output, gamma):
        loop, batches = make_loop(folder, task, tft_output, gamma)

        class Noting:
            def run(self, iterator, num_steps):
                blocks.append((gamma, num_steps))
                return loop.run(iterator, num_steps)

        return Noting(), batches

    monkeypatch.setattr(product, "make_loop", noting)
    ratios = product.small_towers(folder, TINY, num_pairs=3)["ratios"]
    assert len(ratios) == 3
    assert min(ratios) > 0
    order = [gamma for gamma, num_steps in blocks if num_steps == product.STEPS_BY_BLOCK]
    assert order == [0.0, 1.0, 1.0, 0.0, 0.0, 1.0]


def test_a_process_prints_the_same_steps_in_memory(written, capsys):
    folder, _ = written
    product.main(["in_memory", str(folder), json.dumps(dataclasses.asdict(TINY))])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"seconds", "rows", "loss"}
    assert len(found["seconds"]) == product.FURTHER_EPOCHS
    assert found["rows"] == NUM_ROWS
    assert 0 < found["loss"] < 1


def test_page():
    text = page_text({"speed": Figure(2.5, "x", at_least=2)}, {"deepctr": "0.9.4", "torch": "2.13"}, "python -m benchmarks.x")
    assert re.match(r"`python -m benchmarks\.x` on \d+ cores, beside deepctr 0\.9\.4, torch 2\.13:", text)
    assert text.splitlines()[-1] == "| speed | 2.5 x |  | >= 2 | yes |"
    page = PAGE.read_text()
    assert page.count("<!-- benchmarks.training: begin -->") == 1
    for name in ("end_to_end", "from_files", "in_memory", *race.PEERS):
        assert f"| `{name}` |" in page
