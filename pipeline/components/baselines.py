"""What a run is judged against: the model in service, and the statistics of the run before.

An artifact of the current run is never its own baseline. So an unchanged run finds the baselines that it found before, and
every component after them is cached.
"""

from tfx import v1 as tfx
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.types import artifact_utils, standard_artifacts

from data.config import SplitConfig
from pipeline.components.version_pusher import MODEL_ID, PUSHED, first_evaluation_day, first_unseen_day
from pipeline.metadata import input_ids, newest_first


class ModelInServiceStrategy(ResolverStrategy):
    """Finds the model that was pushed last, other than the candidate, and its push."""

    def resolve_artifacts(self, store, input_dict):
        """Artifacts of the model in service.

        Args:
            store: `ml_metadata.MetadataStore`.
            input_dict: all artifacts `model` and `pushed_model`, and the current run's `candidate`.

        Returns:
            The same keys; `model` and `pushed_model` are empty where no other model was pushed.
        """
        [candidate] = input_dict["candidate"]
        model_by_id = {model.id: model for model in input_dict["model"] if model.id != candidate.id}
        pushes = [push for push in input_dict["pushed_model"] if push.get_int_custom_property(PUSHED)]
        for push in newest_first(store, pushes):
            model = model_by_id.get(push.get_int_custom_property(MODEL_ID))
            if model is not None:
                return {"model": [model], "pushed_model": [push], "candidate": [candidate]}
        return {"model": [], "pushed_model": [], "candidate": [candidate]}


class PreviousStatisticsStrategy(ResolverStrategy):
    """Finds the statistics of the last run that had other rows."""

    def resolve_artifacts(self, store, input_dict):
        """Artifact of the previous statistics.

        Args:
            store: `ml_metadata.MetadataStore`.
            input_dict: all artifacts `statistics`, and the run's `current` ones.

        Returns:
            The same keys; `statistics` is empty where there was no such run.
        """
        [current] = input_dict["current"]
        others = [statistics for statistics in input_dict["statistics"] if statistics.id != current.id]
        return {"statistics": newest_first(store, others)[:1], "current": [current]}


class WarmStartStrategy(ResolverStrategy):
    """Finds the model that was pushed last, of those trained on other rows than the current run's and on no evaluation day.

    A model of these rows would be trained on by every further run of the same job, and none of them would be cached. One that
    was trained into the evaluation days would hand on what it learned of the rows that the candidate is judged by.

    Args:
        split: `SplitConfig` as JSON.
    """

    def __init__(self, split):
        self._split = SplitConfig.model_validate_json(split)

    def resolve_artifacts(self, store, input_dict):
        """Artifact of the model that training begins from.

        Args:
            store: `ml_metadata.MetadataStore`.
            input_dict: all artifacts `model` and `pushed_model`, and of the run the transformed rows as `current` and the
                ingestion's `report`.

        Returns:
            The same keys; `model` and `pushed_model` are empty where there is none. Where there is none but such as have seen
            evaluation days, `pushed_model` is the last of them.
        """
        first_day = first_evaluation_day(self._split, artifact_utils.get_single_uri(input_dict["report"]))
        [current] = input_dict["current"]
        model_by_id = {model.id: model for model in input_dict["model"]}
        pushes = [push for push in input_dict["pushed_model"] if push.get_int_custom_property(PUSHED)]
        refused = []
        for push in newest_first(store, pushes):
            model = model_by_id.get(push.get_int_custom_property(MODEL_ID))
            if model is None or current.id in input_ids(store, model):
                continue
            unseen_from = first_unseen_day(push)
            # Days in ISO form sort as text. Where they are unknown, so they are to the gate.
            if unseen_from is None or unseen_from <= first_day:
                return {**input_dict, "model": [model], "pushed_model": [push]}
            refused.append(push)
        return {**input_dict, "model": [], "pushed_model": refused[:1]}


def warm_start_model(current, report, split, has_metadata):
    """Resolver of the model whose weights a training begins with.

    Args:
        current: channel of the transformed rows.
        report: channel of the ingestion's report.
        split: `SplitConfig`.
        has_metadata: whether the runner's resolvers may look into ML Metadata; if not, the last blessed model stands in,
            whatever days it has seen.

    Returns:
        Resolver with the output `model`.
    """
    if not has_metadata:
        return _latest_blessed_model().with_id("WarmStart")
    return tfx.dsl.Resolver(
        strategy_class=WarmStartStrategy,
        config={"split": split.model_dump_json()},
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        pushed_model=tfx.dsl.Channel(type=standard_artifacts.PushedModel),
        current=current,
        report=report,
    ).with_id("WarmStart")


def _latest_blessed_model():
    return tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=standard_artifacts.ModelBlessing),
    )


def model_in_service(candidate, has_metadata):
    """Resolver of the model that a candidate must not fall behind.

    Args:
        candidate: channel of the trained model.
        has_metadata: whether the runner's resolvers may look into ML Metadata; if not, the last blessed model stands in.

    Returns:
        Resolver with the output `model`, and `pushed_model` where there is metadata.
    """
    if not has_metadata:
        return _latest_blessed_model().with_id("ModelInService")
    return tfx.dsl.Resolver(
        strategy_class=ModelInServiceStrategy,
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        pushed_model=tfx.dsl.Channel(type=standard_artifacts.PushedModel),
        candidate=candidate,
    ).with_id("ModelInService")


def previous_statistics(current, has_metadata):
    """Resolver of the statistics that the current ones are compared with.

    Args:
        current: channel of the StatisticsGen.
        has_metadata: whether the runner's resolvers may look into ML Metadata; if not, the latest statistics stand in.

    Returns:
        Resolver with the output `statistics`.
    """
    statistics = tfx.dsl.Channel(type=standard_artifacts.ExampleStatistics)
    if has_metadata:
        resolver = tfx.dsl.Resolver(strategy_class=PreviousStatisticsStrategy, statistics=statistics, current=current)
    else:
        resolver = tfx.dsl.Resolver(strategy_class=tfx.dsl.experimental.LatestArtifactStrategy, statistics=statistics)
    return resolver.with_id("PreviousStatistics")
