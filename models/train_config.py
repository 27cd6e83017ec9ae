"""Configuration of training."""

from typing import Literal

import pydantic

from data.config import FrozenConfig


class EarlyStoppingConfig(FrozenConfig):
    """When training ends before its last epoch, judged on the validation rows after every epoch.

    Attributes:
        measure: "loss" (tasks' losses by their weights), or a task's label and a measure of `models.metrics` as "click auc";
            not gauc and ndcg, whose users, days and requests the rows of a training do not name.
        patience: epochs without a better value that are borne; the best epoch's weights are kept.
    """

    measure: str = "loss"
    patience: int = pydantic.Field(1, ge=0)


class TrainConfig(FrozenConfig):
    """How the ranker is trained.

    Attributes:
        batch_size: rows a step, over all devices.
        epochs: passes over the training rows, at most.
        optimizer: "adam" or "adagrad".
        learning_rate: positive; the highest of the schedule.
        schedule: "constant", or "linear" or "cosine" decay to 0 over all epochs.
        warmup_steps: steps in which the learning rate rises from 0.
        clip_norm: largest norm of a step's gradients together; None for any.
        ema_decay: of the moving average of weights that is evaluated and served, within 0 and 1; None for the weights as
            they are.
        shuffle_rows: size of the shuffle buffer.
        cache_mib: memory in mebibytes that training rows may take to be read once and not in every epoch; where they take more,
            and of a single epoch, they are read from the files.
        seed: of initial values, shuffling and dropout.
        early_stopping: None trains all epochs; otherwise validation rows are needed.
        refit: whether the ranker is trained anew on training and validation rows together, for as many epochs as were best.
            Calibration is that of the first training.
        checkpoint_steps: steps between checkpoints, from which a killed training goes on.
        warm_start: whether weights begin as those of the model in service, row by row of vocabularies.
        mixed_precision: whether layers compute in 16 bits (float16 on GPU, bfloat16 elsewhere).
        xla: whether the training step is compiled by XLA.
        strategy: "none", or "mirrored" over all GPUs of the machine.
        tensorboard: whether curves are written for TensorBoard.
    """

    batch_size: int = pydantic.Field(512, ge=1)
    epochs: int = pydantic.Field(1, ge=1)
    optimizer: Literal["adam", "adagrad"] = "adam"
    learning_rate: float = pydantic.Field(1e-3, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = pydantic.Field(0, ge=0)
    clip_norm: float | None = pydantic.Field(None, gt=0)
    ema_decay: float | None = pydantic.Field(None, gt=0, lt=1)
    shuffle_rows: int = pydantic.Field(100_000, ge=1)
    cache_mib: int = pydantic.Field(512, ge=0, le=1_024)
    seed: int = 0
    early_stopping: EarlyStoppingConfig | None = None
    refit: bool = False
    checkpoint_steps: int = pydantic.Field(1_000, ge=1)
    warm_start: bool = False
    mixed_precision: bool = False
    xla: bool = False
    strategy: Literal["none", "mirrored"] = "none"
    tensorboard: bool = True
