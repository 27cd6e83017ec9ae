import numpy as np
import pytest

from models.bootstrap import Difference, Estimate
from pipeline.compare import _require_unseen, decide, load_version_config, newest_evaluation_rows
from pipeline.errors import VersionError
from pipeline.measuring import MeasureResult
from pipeline.scoring import ScoredRows


def difference(measure, low, high):
    value = Estimate(0.7, 0.6, 0.8, 100)
    return MeasureResult("click", measure, value, before=value, change=Difference((low + high) / 2, low, high, 100))


@pytest.mark.parametrize(
    ("measure", "low", "high", "is_better", "is_worse"),
    [
        ("auc", 0.01, 0.02, True, False),
        ("auc", -0.02, -0.01, False, True),
        ("auc", -0.01, 0.01, False, False),
        ("gauc", 0.01, 0.02, True, False),
        ("xauc", -0.02, -0.01, False, True),
        ("log_loss", 0.01, 0.02, False, True),
        ("mean_absolute_error", -0.02, -0.01, True, False),
        ("auc", 0.0, 0.0, False, False),
    ],
)
def test_direction_of_each_measure(measure, low, high, is_better, is_worse):
    d = difference(measure, low, high)
    assert (d.is_better, d.is_worse) == (is_better, is_worse)


def test_better_on_something_and_worse_on_nothing_is_kept():
    verdict = decide([difference("auc", 0.01, 0.02), difference("log_loss", -0.1, 0.1)])
    assert (verdict.keeps, verdict.reason) == ("B", "B is better on click AUC and worse on nothing")


def test_one_fall_outweighs_every_gain():
    verdict = decide([difference("auc", 0.01, 0.02), difference("log_loss", 0.1, 0.2)])
    assert (verdict.keeps, verdict.reason) == ("A", "B is worse on click log loss")


def test_no_difference_keeps_the_version_in_service():
    assert decide([difference("auc", -0.01, 0.02)]).keeps == "A"


def test_rows_that_a_version_was_trained_on_are_refused(config):
    def rows(day):
        return ScoredRows(keys={"day": np.array([day], object)}, labels={}, masks={}, predictions={})

    _require_unseen("models/1", config, rows(b"2026-01-02"))
    with pytest.raises(VersionError, match=r"models/1 was trained on days before 2026-01-02, but .* begin on 2026-01-01"):
        _require_unseen("models/1", config, rows(b"2026-01-01"))


def test_folder_without_a_model(tmp_path):
    with pytest.raises(VersionError, match="no model in"):
        load_version_config(tmp_path)


def test_model_without_a_configuration(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(VersionError, match=r"smalltowers\.json is missing"):
        load_version_config(tmp_path)


def test_job_without_a_run(config):
    with pytest.raises(VersionError, match="no run is recorded"):
        newest_evaluation_rows(config)
