import math

import numpy as np
import pytest
import tensorflow as tf

from models.bodies.body import Body, BodyOutput
from models.config import ModelConfig
from models.errors import BodyError
from models.part_sizes import PartSize
from models.ranker import MultiTaskRanker, same_batch
from tests.unit.models.conftest import MODEL

LABELS = ("click", "watch_seconds", "satisfaction")


def hand_config(**changes):
    fields = {
        "features": [{"kind": "numeric", "name": "x"}],
        "body": {"kind": "shared_bottom", "units": (1,)},
        "tower_units": (1,),
        "small_tower": {"gamma": 0.5},
        "tasks": [
            {"label": "click", "head": "binary", "weight": 2.0},
            {"label": "watch_seconds", "head": "log1p", "weight": 0.25},
            {"label": "satisfaction", "head": "binary", "weight": 3.0},
        ],
    }
    return ModelConfig(**{**fields, **changes})


HAND_BATCH = {
    "x": tf.constant([1.0, 2.0, 3.0]),
    "click": tf.constant([1.0, 0.0, 1.0]),
    "click_mask": tf.constant([1.0, 1.0, 0.0]),
    "watch_seconds": tf.constant([0.0, 9.0, 3.0]),
    "watch_seconds_mask": tf.constant([0.0, 1.0, 1.0]),
    "satisfaction": tf.constant([0.0, 1.0, 0.0]),
    "satisfaction_mask": tf.constant([0.0, 0.0, 0.0]),
}


def hand_ranker(config, ranker_class=MultiTaskRanker):
    """h = x; main towers 0.5h + 0.1 (click), 0.3h (watch time), h (satisfaction); small ones -0.2h + 0.4, 0.1h + 1, 7h."""
    ranker = ranker_class(config, {})
    ranker.compute_loss(HAND_BATCH, training=True)
    values = {"tower_click": (0.5, 0.1), "tower_watch_seconds": (0.3, 0.0), "tower_satisfaction": (1.0, 0.0)}
    small = {"small_tower_click": (-0.2, 0.4), "small_tower_watch_seconds": (0.1, 1.0), "small_tower_satisfaction": (7.0, 0.0)}
    for variable in ranker.trainable_variables:
        part, is_kernel = variable.name.split("/")[-3], "kernel" in variable.name
        kernel, bias = (values | small).get(part, (1.0, 0.0))
        variable.assign(tf.fill(variable.shape, kernel if is_kernel else bias))
    return ranker


def bce(label, logit):
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if label else 1 - probability)


MAIN_CLICK = (bce(1, 0.6) + bce(0, 1.1)) / 2
SMALL_CLICK = (bce(1, 0.2) + bce(0, 0.0)) / 2
MAIN_WATCH = ((math.log(10) - 0.6) ** 2 + (math.log(4) - 0.9) ** 2) / 2
SMALL_WATCH = ((math.log(10) - 1.2) ** 2 + (math.log(4) - 1.3) ** 2) / 2


@pytest.mark.parametrize(
    ("small_tower", "expected"),
    [
        ({"gamma": 0.5}, 2 * (MAIN_CLICK + 0.5 * SMALL_CLICK) + 0.25 * (MAIN_WATCH + 0.5 * SMALL_WATCH)),
        ({"gamma": 0.5, "tasks": ["watch_seconds"]}, 2 * MAIN_CLICK + 0.25 * (MAIN_WATCH + 0.5 * SMALL_WATCH)),
        (
            {"gamma": 0.5, "temperature": 2.0, "tasks": ["click"]},
            2 * (MAIN_CLICK + 0.5 * (bce(1, 0.1) + bce(0, 0.0)) / 2) + 0.25 * MAIN_WATCH,
        ),
        ({"gamma": 0.0}, 2 * MAIN_CLICK + 0.25 * MAIN_WATCH),
        (None, 2 * MAIN_CLICK + 0.25 * MAIN_WATCH),
    ],
)
def test_loss_of_a_hand_worked_case(small_tower, expected):
    """Satisfaction is known on no row: its loss is 0, not NaN."""
    ranker = hand_ranker(hand_config(small_tower=small_tower))
    assert float(ranker.compute_loss(HAND_BATCH, training=True)) == pytest.approx(expected, abs=1e-6)
    assert float(ranker.compute_loss(HAND_BATCH)) == pytest.approx(2 * MAIN_CLICK + 0.25 * MAIN_WATCH, abs=1e-6)


def check_losses_by_task(ranker_class):
    losses = hand_ranker(hand_config(small_tower=None), ranker_class).batch_losses(HAND_BATCH, training=True)
    np.testing.assert_allclose(losses.tasks, [2 * MAIN_CLICK, 0.25 * MAIN_WATCH, 0], atol=1e-6)
    np.testing.assert_allclose(losses.main, [MAIN_CLICK, MAIN_WATCH, 0], atol=1e-6)
    np.testing.assert_array_equal(losses.known, [2, 2, 0])


def test_losses_by_task():
    check_losses_by_task(MultiTaskRanker)


class MasksIgnored(MultiTaskRanker):
    def batch_losses(self, inputs, training=False):
        ones = {name: tf.ones_like(column) for name, column in inputs.items() if name.endswith("_mask")}
        return super().batch_losses(inputs | ones, training)


class LabelsSwapped(MultiTaskRanker):
    def batch_losses(self, inputs, training=False):
        swapped = {"click": inputs["satisfaction"], "satisfaction": inputs["click"]}
        return super().batch_losses(inputs | swapped, training)


class MasksSwapped(MultiTaskRanker):
    def batch_losses(self, inputs, training=False):
        swapped = {"click_mask": inputs["watch_seconds_mask"], "watch_seconds_mask": inputs["click_mask"]}
        return super().batch_losses(inputs | swapped, training)


class WeightsAreOne(MultiTaskRanker):
    def __init__(self, config, *arguments):
        ones = tuple(task.model_copy(update={"weight": 1.0}) for task in config.tasks)
        super().__init__(config.model_copy(update={"tasks": ones}), *arguments)


class TowersSwapped(MultiTaskRanker):
    def _losses_of(self, mains, *arguments):
        swapped = {"click": mains["satisfaction"], "satisfaction": mains["click"]}
        return super()._losses_of(mains | swapped, *arguments)


@pytest.mark.parametrize("bug", [MasksIgnored, LabelsSwapped, MasksSwapped, WeightsAreOne, TowersSwapped])
def test_that_losses_by_task_fails_on_planted_bugs(bug):
    with pytest.raises(AssertionError, match=r"Not equal to tolerance|not equal"):
        check_losses_by_task(bug)


def test_served_values_of_a_hand_worked_case():
    served = hand_ranker(hand_config())(HAND_BATCH)
    np.testing.assert_allclose(served["click"], [1 / (1 + math.exp(-z)) for z in (0.6, 1.1, 1.6)], rtol=1e-6)
    np.testing.assert_allclose(served["watch_seconds"], [math.exp(z) - 1 for z in (0.3, 0.6, 0.9)], rtol=1e-5)


def test_recorded_losses_belong_to_their_tasks():
    ranker = hand_ranker(hand_config())
    ranker.reset_metrics()
    ranker.test_step(HAND_BATCH)
    recorded = {name: float(loss) for name, loss in ranker.mean_losses().items()}
    assert recorded["click_loss"] == pytest.approx(MAIN_CLICK, abs=1e-6)
    assert recorded["watch_seconds_loss"] == pytest.approx(MAIN_WATCH, abs=1e-6)


def test_recorded_loss_weighs_batches_by_their_known_rows():
    ranker = hand_ranker(hand_config())
    ranker.reset_metrics()
    ranker.test_step(HAND_BATCH)
    ranker.test_step({name: column[:1] for name, column in HAND_BATCH.items()})
    recorded = {name: float(loss) for name, loss in ranker.mean_losses().items()}
    assert recorded["click_loss"] == pytest.approx((bce(1, 0.6) + bce(0, 1.1) + bce(1, 0.6)) / 3, abs=1e-6)


@pytest.mark.parametrize("label", LABELS)
def test_each_label_moves_its_own_towers_only(label, transformed, make_ranker, model_config):
    ranker = make_ranker(model_config)
    others = {name: tf.zeros_like(transformed.batch[f"{name}_mask"]) for name in LABELS if name != label}
    batch = transformed.batch | {f"{name}_mask": zeros for name, zeros in others.items()}
    with tf.GradientTape() as tape:
        loss = ranker.compute_loss(batch, training=True)
    gradients = tape.gradient(loss, ranker.trainable_variables)
    for variable, gradient in zip(ranker.trainable_variables, gradients, strict=True):
        if "tower_" in variable.name:
            moves = np.abs(gradient).max() > 0
            assert moves == (f"tower_{label}/" in variable.name), variable.name


def test_task_weights_scale_the_loss(transformed, model_config, make_ranker):
    def loss(weights):
        tasks = [task.model_copy(update={"weight": weight}) for task, weight in zip(model_config.tasks, weights, strict=True)]
        ranker = make_ranker(model_config.model_copy(update={"tasks": tuple(tasks)}))
        return float(ranker.compute_loss(transformed.batch, training=True))

    parts = [loss([1, 0, 0]), loss([0, 1, 0]), loss([0, 0, 1])]
    assert loss([3, 0.5, 2]) == pytest.approx(3 * parts[0] + 0.5 * parts[1] + 2 * parts[2], rel=1e-5)
    assert len({round(part, 4) for part in parts}) == 3


def test_towers_start_different(transformed, model_config, make_ranker):
    ranker = make_ranker(model_config)
    for prefix in ("tower_", "small_tower_"):
        kernels = [
            variable.numpy()
            for variable in ranker.trainable_variables
            if variable.shape.rank == 2 and variable.name.split("ranker/")[-1].startswith(prefix)
        ]
        for index, first in enumerate(kernels):
            for second in kernels[:index]:
                assert first.shape != second.shape or np.abs(first - second).max() > 0.05
    outputs = ranker.main_outputs(transformed.batch)[0]
    assert np.abs(outputs["click"] - outputs["satisfaction"]).max() > 0.01


@pytest.mark.parametrize("small_tower", [{"kind": "linear"}, {"kind": "pooled", "width": 3}])
def test_small_towers_leave_the_main_outputs_alone(small_tower, transformed, make_ranker):
    with_towers = make_ranker(ModelConfig(**MODEL, small_tower=small_tower))
    without = make_ranker(ModelConfig(**MODEL, small_tower=None))
    assert len(with_towers.trainable_variables) == len(without.trainable_variables) + 6
    assert len(with_towers.served_variables) == len(without.trainable_variables)
    first, second = with_towers.main_outputs(transformed.batch)[0], without.main_outputs(transformed.batch)[0]
    for label in LABELS:
        np.testing.assert_array_equal(first[label], second[label])


def test_small_towers_push_on_the_representation(transformed, model_config, make_ranker):
    ranker = make_ranker(model_config)
    muted = model_config.model_copy(update={"small_tower": None})
    gradients = []
    for one in (ranker, make_ranker(muted)):
        with tf.GradientTape() as tape:
            loss = one.compute_loss(transformed.batch, training=True)
        body = [variable for variable in one.trainable_variables if "body/" in variable.name]
        gradients.append([gradient.numpy() for gradient in tape.gradient(loss, body)])
    assert all(np.abs(first - second).max() > 1e-4 for first, second in zip(*gradients, strict=True))


def test_half_of_a_small_tower_gradient_per_half_gamma(transformed, make_ranker):
    """The gradient on the body is affine in gamma: no stop-gradient, no other tie."""

    def gradient(gamma):
        ranker = make_ranker(ModelConfig(**MODEL, small_tower={"gamma": gamma}))
        with tf.GradientTape() as tape:
            loss = ranker.compute_loss(transformed.batch, training=True)
        kernel = next(variable for variable in ranker.trainable_variables if "body/hidden/dense_0/kernel" in variable.name)
        return tape.gradient(loss, kernel).numpy()

    np.testing.assert_allclose(gradient(0.5), (gradient(0.0) + gradient(1.0)) / 2, atol=1e-6)


BODIES = (
    {"kind": "shared_bottom", "units": [6]},
    {"kind": "mmoe", "num_experts": 2, "expert_units": [6]},
    {"kind": "ple", "num_levels": 2, "expert_units": [6]},
)
SMALL_TOWERS = (
    {"kind": "linear"},
    {"kind": "pooled", "width": 3},
    {"kind": "bottleneck", "width": 2},
    {"kind": "mlp", "width": 2},
)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body["kind"])
@pytest.mark.parametrize("small_tower", SMALL_TOWERS, ids=lambda small_tower: small_tower["kind"])
def test_small_towers_of_every_kind_read_every_body(body, small_tower, transformed, make_ranker):
    fields = MODEL | {"body": body}
    ranker = make_ranker(ModelConfig(**fields, small_tower=small_tower))
    without = make_ranker(ModelConfig(**fields, small_tower=None))
    first, second = ranker.main_outputs(transformed.batch)[0], without.main_outputs(transformed.batch)[0]
    for label in LABELS:
        np.testing.assert_array_equal(first[label], second[label])
    with tf.GradientTape() as tape:
        losses_T = ranker.task_losses(transformed.batch, training=True)
    assert (losses_T > without.task_losses(transformed.batch, training=True)).numpy().all()
    small = [variable for variable in ranker.trainable_variables if "small_tower" in variable.name]
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(losses_T, small))


def test_a_small_tower_reads_its_own_tasks_representation(transformed, make_ranker):
    """With PLE another task's top experts do not move with it."""
    ranker = make_ranker(ModelConfig(**MODEL | {"body": {"kind": "ple", "num_levels": 1, "expert_units": [6]}}))
    others = {f"{label}_mask": tf.zeros_like(transformed.batch["click"]) for label in LABELS if label != "watch_seconds"}
    with tf.GradientTape() as tape:
        loss = ranker.compute_loss(transformed.batch | others, training=True)
    for variable, gradient in zip(ranker.trainable_variables, tape.gradient(loss, ranker.trainable_variables), strict=True):
        if "/experts_0_" in variable.name and "shared" not in variable.name:
            assert (np.abs(gradient).max() > 0) == ("/experts_0_1/" in variable.name), variable.name


def test_sizes_of_the_parts():
    config = hand_config(
        body={"kind": "shared_bottom", "units": [8]}, tower_units=[4], small_tower={"kind": "bottleneck", "width": 2}
    )
    ranker = MultiTaskRanker(config, {})
    ranker.compute_loss(HAND_BATCH, training=True)
    assert ranker.describe() == (
        PartSize("inputs", 0, None),
        PartSize("body", 8 + 8, None),
        *(PartSize(f"tower {label}", 8 * 4 + 4 + 4 + 1, 4) for label in LABELS),
        *(PartSize(f"small tower {label}", 8 * 2 + 2 + 2 + 1, 1) for label in LABELS),
    )


@pytest.mark.parametrize(("small_tower", "rank"), [({"kind": "mlp", "width": 3}, 3), ({"kind": "pooled", "width": 2}, 1)])
def test_ranks_of_small_towers(small_tower, rank):
    config = hand_config(body={"kind": "shared_bottom", "units": [8]}, tower_units=[4], small_tower=small_tower)
    ranker = MultiTaskRanker(config, {})
    ranker.compute_loss(HAND_BATCH, training=True)
    assert [part.rank for part in ranker.describe() if part.part.startswith("small")] == [rank] * 3


class Wide(Body):
    def __init__(self, num_tasks, units, dropout=0.0, seed=0, **kwargs):
        super().__init__(num_tasks, dropout, seed, **kwargs)
        self.units = units

    def call(self, inputs, training=False):
        shared = tf.repeat(inputs, self.units, axis=1)
        return BodyOutput((shared,) * self.num_tasks, shared)


def test_small_towers_must_be_simpler_over_bodies_of_the_users_own():
    """Their width is known only once they are built."""
    fields = {"tower_units": [4], "small_tower": {"kind": "mlp", "width": 3}}
    body = {"kind": "custom", "layer": f"{__name__}:Wide"}
    wide = hand_config(body=body | {"options": {"units": 5}}, **fields)
    assert MultiTaskRanker(wide, {}).compute_loss(HAND_BATCH, training=True) > 0
    narrow = MultiTaskRanker(hand_config(body=body | {"options": {"units": 2}}, **fields), {})
    message = "small_tower must have fewer parameters.*Received: kind=mlp, width=3, 2 units of the body's output"
    with pytest.raises(BodyError, match=message):
        narrow.compute_loss(HAND_BATCH, training=True)


@pytest.mark.parametrize("interaction", [{"kind": "cross", "projection": 2}, {"kind": "dot", "dimension": 3}])
def test_interactions_stand_in_front_of_the_body(interaction, transformed, make_ranker):
    ranker = make_ranker(ModelConfig(**MODEL, interaction=interaction))
    width = ranker.represent(transformed.batch)[0].shared.shape[1]
    assert width == 6
    sizes = {part.part: part.parameters for part in ranker.describe()}
    assert sizes["interaction"] > 0
    with tf.GradientTape() as tape:
        loss = ranker.compute_loss(transformed.batch)
    of_interaction = [variable for variable in ranker.served_variables if "interaction/" in variable.name]
    assert sum(int(np.prod(variable.shape)) for variable in of_interaction) == sizes["interaction"]
    assert all(gradient is not None for gradient in tape.gradient(loss, of_interaction))


def test_one_row_goes_with_every_row_of_the_others():
    one, many = tf.constant([[1.0, 2.0]]), tf.constant([[3.0], [4.0]])
    np.testing.assert_array_equal(tf.concat(same_batch([one, many]), axis=1), [[1, 2, 3], [1, 2, 4]])
    assert same_batch([one, one])[0] is one


def test_outputs_of_several_units_and_heads_that_adapt():
    tasks = [{"label": "click", "head": "binary"}, {"label": "watch_seconds", "head": {"kind": "ordinal", "num_thresholds": 3}}]
    ranker = MultiTaskRanker(hand_config(tasks=tasks), {})
    columns = {name: column.numpy() for name, column in HAND_BATCH.items()} | {"watch_seconds_mask": np.ones(3)}
    ranker.adapt_heads(columns)
    assert ranker.main_outputs(HAND_BATCH)[0]["watch_seconds"].shape == (3, ranker.heads["watch_seconds"].width)
    assert ranker.served_state == ranker.heads["watch_seconds"].state != []
    served = ranker(HAND_BATCH)["watch_seconds"]
    assert served.shape == (3,)
    assert np.isfinite(ranker.compute_loss(HAND_BATCH, training=True))


def members_config(**changes):
    return ModelConfig.model_validate({**MODEL, "dropout": 0.0, **changes})


def test_members_serve_their_mean_and_learn_each_by_itself(transformed, make_ranker):
    ranker = make_ranker(members_config(members=3), seed=4)
    batch = transformed.batch
    outputs = ranker.main_outputs(batch)
    assert len(outputs) == 3
    by_member = [{label: ranker.heads[label].served(each[label], batch).numpy() for label in LABELS} for each in outputs]
    for label in LABELS:
        served = [each[label] for each in by_member]
        assert not np.allclose(served[0], served[1])
        assert not np.allclose(served[1], served[2])
        np.testing.assert_allclose(ranker(batch)[label], np.mean(served, axis=0), rtol=1e-5)
    losses = ranker.batch_losses(batch, training=True)
    alone = []
    for member in ranker.members:
        body = member(ranker.read(batch))
        mains = member.main_outputs(body)
        smalls = member.small_outputs(body)
        alone.append(
            [
                task.weight
                * sum(
                    gamma
                    * ranker.heads[task.label].loss(each[task.label], batch[task.label], batch[f"{task.label}_mask"], batch)
                    for gamma, each in ((1.0, mains), (ranker.config.small_tower.gamma, smalls))
                )
                for task in ranker.config.tasks
            ]
        )
    np.testing.assert_allclose(losses.tasks, np.mean(alone, axis=0), rtol=1e-5)


def test_the_first_of_several_members_begins_as_an_only_one(transformed, make_ranker):
    several, one = (make_ranker(members_config(members=members), seed=4) for members in (2, 1))
    first, only = several.main_outputs(transformed.batch)[0], one.main_outputs(transformed.batch)[0]
    for label in LABELS:
        np.testing.assert_array_equal(first[label], only[label])
    assert len(several.served_variables) > len(one.served_variables)
    names = [part.part for part in several.describe()]
    assert {"body of member 1", "body of member 2", "small tower click of member 2"} <= set(names)
