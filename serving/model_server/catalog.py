"""All models of the server by name: their versions, their labels, and a new configuration while they serve."""

import logging
import threading

from serving.errors import ModelUnavailableError, RequestError
from serving.model_server.versions import ModelVersions, VersionState, not_found

_log = logging.getLogger(__name__)


class ModelCatalog:
    """Models by name; each call is led to the version that it asks for by number, by label, or as the newest."""

    def __init__(self, models, load_fn, server_config, poll_seconds, on_change_fn=lambda: None):
        """A catalog in which nothing is loaded yet.

        Args:
            models: list of `config_files.ServedModel`.
            load_fn: as of `ModelVersions`.
            server_config: `ModelServerConfig`; of it, how files settle and which labels are allowed.
            poll_seconds: how often the folders are looked at after `start_polling`.
            on_change_fn: called without arguments whenever models or versions may have come or gone.
        """
        self._load_fn = load_fn
        self._config = server_config
        self._poll_seconds = poll_seconds
        self._on_change_fn = on_change_fn
        self._reload_lock = threading.Lock()
        self._has_stopped = threading.Event()
        self._poller = None
        self._models = models
        self._versions_by_name = {model.name: self._new_versions(model) for model in models}
        self._labels_by_name = {}

    @property
    def is_available_by_name(self):
        """Whether a version can be asked, by name of the model."""
        return {name: versions.is_available for name, versions in self._versions_by_name.items()}

    def load_first(self):
        """Loads every model, then assigns the labels.

        Raises:
            ModelUnavailableError: If a model has no version that loads.
            OSError: If a folder exists and cannot be read.
            RequestError: If a label names a version that is not available.
        """
        versions = list(self._versions_by_name.values())
        for each in versions:
            each.refresh()
        while any(not each.is_available and each.is_settling for each in versions):
            self._has_stopped.wait(min(self._poll_seconds, self._config.settle_seconds) / 2)
            for each in versions:
                each.refresh()
        for each in versions:
            each.require_available()
        self._labels_by_name = self._checked_labels(self._models)
        self._on_change_fn()

    def reload(self, models):
        """Serves other models, versions or labels from now on; what stays the same goes on without a break.

        Args:
            models: list of `config_files.ServedModel`.

        Raises:
            RequestError: If a label names a version that is not available, which changes nothing, or if a new model does not
                load, which leaves the others served.
        """
        with self._reload_lock:
            labels = self._checked_labels(models)
            known = self._versions_by_name
            self._models, self._labels_by_name = models, labels
            self._versions_by_name = {model.name: known.get(model.name) or self._new_versions(model) for model in models}
            for model in models:
                self._versions_by_name[model.name].follow(model)
            for name in known.keys() - self._versions_by_name.keys():
                known[name].unload()
            failures = []
            for name, versions in self._versions_by_name.items():
                try:
                    versions.refresh()
                    versions.require_available()
                except (ModelUnavailableError, OSError) as error:
                    failures.append(f"{{{name} due to error: {error}}}")
            self._on_change_fn()
        if failures:
            message = f"{len(failures)} model(s) did not become available: {{{', '.join(failures)}}}"
            raise RequestError("UNKNOWN", message)

    def use(self, model_spec):
        """The model to answer one call with.

        Args:
            model_spec: `ModelSpec` of the call.

        Returns:
            Context manager, as of `ModelVersions.use`.

        Raises:
            RequestError: If no model is named, or the model, version or label is not served.
        """
        name = model_spec.name
        if not name:
            raise RequestError("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        choice = model_spec.WhichOneof("version_choice")
        number = model_spec.version.value if choice == "version" else None
        if choice == "version_label":
            number = self._labels_by_name.get(name, {}).get(model_spec.version_label)
            if number is None:
                message = f"Unrecognized servable version label: {model_spec.version_label}"
                raise RequestError("INVALID_ARGUMENT", message)
        versions = self._versions_by_name.get(name)
        if versions is None:
            raise not_found(name, number)
        return versions.use(number)

    def statuses(self, name):
        """What became of every version of a model.

        Args:
            name: of the model.

        Returns:
            List of `VersionStatus`, newest first; empty for an unknown model.
        """
        versions = self._versions_by_name.get(name)
        return versions.statuses() if versions else []

    def start_polling(self):
        """Starts to look at the folders in the background."""
        self._poller = threading.Thread(target=self._poll, name="model-versions", daemon=True)
        self._poller.start()

    def stop_polling(self):
        """Stops looking at the folders; returns when a load that runs has ended."""
        self._has_stopped.set()
        if self._poller is not None:
            self._poller.join()

    def unload(self):
        """Lets go of all models."""
        for versions in self._versions_by_name.values():
            versions.unload()

    def _new_versions(self, model):
        return ModelVersions(model, self._load_fn, self._config.settle_seconds)

    def _poll(self):
        while not self._has_stopped.wait(self._poll_seconds):
            for name, versions in list(self._versions_by_name.items()):
                try:
                    versions.refresh()
                except OSError as error:
                    _log.warning("the folder of %s cannot be read and is tried again: %s", name, error)
            self._on_change_fn()

    def _checked_labels(self, models):
        """Version by label by model name, where every version can be asked or need not be."""
        for model in models:
            versions = self._versions_by_name.get(model.name)
            for label, number in model.number_by_label.items():
                assigned = self._labels_by_name.get(model.name, {}).get(label, number)
                # As in TF Serving, even where it is allowed a label that is in use never moves to a version out of reach.
                if self._config.allow_version_labels_for_unavailable_models and assigned == number:
                    continue
                if versions is None or versions.state(number) is not VersionState.AVAILABLE:
                    raise RequestError(
                        "FAILED_PRECONDITION",
                        f"Request to assign label to version {number} of model {model.name}, "
                        "which is not currently available for inference",
                    )
        return {model.name: dict(model.number_by_label) for model in models}
