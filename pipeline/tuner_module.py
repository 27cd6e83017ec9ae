"""TFX's entry point for the Tuner: a search by the oracles of KerasTuner, whose trials are trainings of this project."""

import keras_tuner
import pydantic
import tensorflow_transform as tft
from keras_tuner.engine import base_tuner
from keras_tuner.engine import trial as trial_module
from tfx.components.tuner.component import TunerFnResult

from models.config import ModelConfig
from models.errors import DivergedError
from models.train_config import EarlyStoppingConfig, TrainConfig
from models.training import fit
from pipeline.errors import TunerError
from pipeline.training_watch import tell
from pipeline.tuner_config import RangeConfig, StepsConfig, TunerConfig, values_of, with_values

_OBJECTIVE = "stopping_value"
_ORACLE_BY_ALGORITHM = {
    "random": keras_tuner.oracles.RandomSearchOracle,
    "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
}


def tuner_fn(fn_args):
    """A search, ready to begin.

    Args:
        fn_args: TFX's `FnArgs`; `custom_config` holds `model`, the JSON of a `ModelConfig`, `train`, of a `TrainConfig`, and
            `tuner`, of a `TunerConfig`.

    Returns:
        TFX's `TunerFnResult`.
    """
    model = ModelConfig.model_validate_json(fn_args.custom_config["model"])
    train = TrainConfig.model_validate_json(fn_args.custom_config["train"])
    config = TunerConfig.model_validate_json(fn_args.custom_config["tuner"])
    tft_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    tuner = TrainingTuner(
        config,
        model,
        trial_train_config(train, config),
        lambda *configs: fit(*configs, tft_output, fn_args.train_files, fn_args.eval_files, on_progress=tell),
        fn_args.working_dir,
    )
    return TunerFnResult(tuner=tuner, fit_kwargs={})


def trial_train_config(train, config):
    """How a trial trains: as the training will, judged after every epoch by the measure of the search.

    Args:
        train: `TrainConfig` of the job.
        config: `TunerConfig`.

    Returns:
        `TrainConfig`.
    """
    return train.model_copy(
        update={
            "epochs": config.epochs or train.epochs,
            "early_stopping": EarlyStoppingConfig(measure=config.measure, patience=config.patience),
            "refit": False,
            "tensorboard": False,
        }
    )


class TrainingTuner(base_tuner.BaseTuner):
    """Trains once a trial, with the values that an oracle proposes."""

    def __init__(self, config, model, train, fit_fn, folder):
        """A search that has not begun.

        Args:
            config: `TunerConfig`.
            model: `ModelConfig` that values are put into.
            train: `TrainConfig` that values are put into; its early stopping gives the objective.
            fit_fn: from the two configurations of a trial to a `models.training.Fitted`.
            folder: for the state of the search.
        """
        self._tree = {"model": model.model_dump(mode="json"), "train": train.model_dump(mode="json")}
        self._fit_fn = fit_fn
        oracle = _ORACLE_BY_ALGORITHM[config.algorithm](
            objective=keras_tuner.Objective(_OBJECTIVE, "min"),
            max_trials=config.trials,
            seed=config.seed,
            hyperparameters=_hyperparameters(config.space),
            allow_new_entries=False,
            tune_new_entries=False,
            # A learning rate may be too large many times in a row; the budget alone ends the search.
            max_consecutive_failed_trials=config.trials + 1,
        )
        super().__init__(oracle, directory=folder, project_name="search", overwrite=True)

    def run_trial(self, trial, *fit_args, **fit_kwargs):
        """Trains with the values of a trial.

        Args:
            trial: KerasTuner's.
            *fit_args: none; the interface asks for them.
            **fit_kwargs: none; the interface asks for them.

        Returns:
            Value of the best epoch, lower being better.

        Raises:
            FailedTrialError: If the training diverges, or the values do not go together: the search goes on.
            FatalError: If anything else fails.
        """
        values = values_of(trial.hyperparameters.get_config())
        try:
            tree = with_values(self._tree, values)
            model, train = ModelConfig.model_validate(tree["model"]), TrainConfig.model_validate(tree["train"])
            course = self._fit_fn(model, train).history.training
        except (DivergedError, pydantic.ValidationError) as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        except Exception as error:
            raise keras_tuner.errors.FatalError(str(error)) from error
        return {_OBJECTIVE: course.epochs[course.best_epoch - 1].stopping_value}

    def on_search_end(self):
        """Demands a result.

        Raises:
            TunerError: If no trial came to its end.
        """
        trials = list(self.oracle.trials.values())
        if not any(trial.status == trial_module.TrialStatus.COMPLETED for trial in trials):
            # KerasTuner keeps the whole traceback; its last line is the error.
            last = (trials[-1].message or "no reason is known").strip().splitlines()[-1]
            raise TunerError(f"none of {len(trials)} trials came to its end; narrow tuner.space. Received: {last}")


def _hyperparameters(space):
    found = keras_tuner.HyperParameters()
    for key, choice in space.items():
        if isinstance(choice, RangeConfig):
            found.Float(key, choice.min, choice.max, sampling="log" if choice.log else "linear")
        elif isinstance(choice, StepsConfig):
            found.Int(key, choice.min, choice.max, step=choice.step)
        else:
            found.Choice(key, choice.as_written)
    return found
