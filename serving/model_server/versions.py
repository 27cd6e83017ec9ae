"""Which version of a model is served: looking at the folder, loading, swapping, and letting go of the old one."""

import collections.abc
import contextlib
import dataclasses
import enum
import logging
import pathlib
import threading

from serving.errors import ModelUnavailableError, RequestError
from serving.model_server.loaded_model import SAVED_MODEL_FILE, LoadedModel, first_cause

MAX_VERSION_NUMBER = (1 << 63) - 1  # the protocol's int64

_log = logging.getLogger(__name__)


class VersionState(enum.Enum):
    """Life of a version, with TF Serving's names."""

    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """What became of one version.

    Attributes:
        number: version number.
        state: where it stands.
        error: why it could not be loaded, in one line; None if it could.
    """

    number: int
    state: VersionState
    error: str | None = None


@dataclasses.dataclass
class _Version:
    """One version that was looked at; guarded by the lock of `ModelVersions`."""

    number: int
    fingerprint: frozenset
    state: VersionState = VersionState.LOADING
    error: str | None = None
    model: LoadedModel | None = None
    num_in_flight: int = 0


class ModelVersions:
    """The versions of one model under `<base_path>/<number>/`, of which the newest that loads is served.

    A version that does not load is looked at again when its files change. A deleted version gives way to the newest
    that remains; the last one stays in memory.
    """

    def __init__(self, model_name, base_path, poll_seconds):
        """Versions of one model, none loaded yet.

        Args:
            model_name: name under which they are served.
            base_path: folder that holds a folder for each version.
            poll_seconds: how often the folder is looked at after `start_polling`.
        """
        self.model_name = model_name
        self._base_path = pathlib.Path(base_path)
        self._poll_seconds = poll_seconds
        self._lock = threading.Lock()
        self._version_by_number = {}
        self._serving = None
        self._has_stopped = threading.Event()
        self._poller = None

    def load_first(self):
        """Loads the newest version that can be loaded.

        Raises:
            ModelUnavailableError: If there is none.
            OSError: If the folder exists and cannot be read.
        """
        self.refresh()
        if self._serving is None:
            raise ModelUnavailableError(self._nothing_loads())

    def refresh(self):
        """Looks at the folder once; loads and swaps in a newer version if there is one.

        Raises:
            OSError: If the folder exists and cannot be read.
        """
        for number, folder in sorted(_version_folders(self._base_path), reverse=True):
            if (self._serving is not None and self._serving.number == number) or self._serve(number, folder):
                break

    @contextlib.contextmanager
    def use(self, model_spec) -> collections.abc.Iterator[LoadedModel]:
        """The model to answer one call with; it stays loaded until the call has ended.

        Args:
            model_spec: `ModelSpec` of the call.

        Yields:
            `LoadedModel`.

        Raises:
            RequestError: If the named model or version is not served.
        """
        with self._lock:
            version = self._find(model_spec)
            version.num_in_flight += 1
        try:
            yield version.model
        finally:
            with self._lock:
                version.num_in_flight -= 1
                self._release(version)

    def statuses(self):
        """What became of every version that was looked at.

        Returns:
            List of `VersionStatus`, newest version first.
        """
        with self._lock:
            versions = sorted(self._version_by_number.values(), key=lambda version: version.number, reverse=True)
            return [VersionStatus(version.number, version.state, version.error) for version in versions]

    def start_polling(self):
        """Starts to look at the folder in the background."""
        self._poller = threading.Thread(target=self._poll, name="model-versions", daemon=True)
        self._poller.start()

    def stop_polling(self):
        """Stops looking at the folder; returns when a load that runs has ended."""
        self._has_stopped.set()
        if self._poller is not None:
            self._poller.join()

    def _nothing_loads(self):
        requirement = f"{self._base_path} must hold a model version that loads, such as 1/{SAVED_MODEL_FILE}"
        failures = "; ".join(f"version {status.number}: {status.error}" for status in self.statuses())
        received = failures or ("an empty folder" if self._base_path.is_dir() else "no such folder")
        return f"{requirement}. Received: {received}. Run the pipeline first: it pushes a model there"

    def _poll(self):
        while not self._has_stopped.wait(self._poll_seconds):
            try:
                self.refresh()
            except OSError as error:
                _log.warning("%s cannot be read and is tried again: %s", self._base_path, error)

    def _serve(self, number, folder):
        """Loads a version and swaps it in, unless it failed before and is still the same.

        Args:
            number: version number.
            folder: path of the version folder.

        Returns:
            Whether the version is served now.
        """
        fingerprint = _fingerprint(folder)
        known = self._version_by_number.get(number)
        if known is not None and known.error is not None and known.fingerprint == fingerprint:
            return False
        version = _Version(number, fingerprint)
        with self._lock:
            self._version_by_number[number] = version
        if not self._load(version, folder):
            return False
        self._swap(version)
        return True

    def _load(self, version, folder):
        _log.info("version %d of %s is loading", version.number, self.model_name)
        try:
            if not (folder / SAVED_MODEL_FILE).is_file():
                raise FileNotFoundError(f"{folder} must hold {SAVED_MODEL_FILE}. Received: none, or not yet")
            model = LoadedModel(folder, version.number)
            model.warm_up()
        # A broken SavedModel makes TensorFlow raise nearly anything; the version's status shows it, and older versions
        # go on serving.
        except Exception as error:
            with self._lock:
                version.state, version.error = VersionState.END, first_cause(f"{error}" or type(error).__name__)
            _log.warning("version %d of %s is skipped: %s", version.number, self.model_name, version.error)
            return False
        version.model = model
        return True

    def _swap(self, version):
        with self._lock:
            previous, self._serving = self._serving, version
            version.state = VersionState.AVAILABLE
            if previous is not None:
                previous.state = VersionState.UNLOADING
                self._release(previous)
        _log.info("version %d of %s is served", version.number, self.model_name)

    def _release(self, version):
        if version.state is VersionState.UNLOADING and version.num_in_flight == 0:
            version.state, version.model = VersionState.END, None

    def _find(self, model_spec):
        if model_spec.version_label:
            raise RequestError("INVALID_ARGUMENT", f"Unrecognized servable version label: {model_spec.version_label}")
        number = model_spec.version.value if model_spec.HasField("version") else None
        version = self._serving
        if model_spec.name != self.model_name or version is None or number not in (None, version.number):
            wanted = f"Latest({model_spec.name})" if number is None else f"Specific({model_spec.name}, {number})"
            raise RequestError("NOT_FOUND", f"Servable not found for request: {wanted}")
        return version


def _version_folders(base_path):
    if not base_path.is_dir():
        return []
    folders = [(int(path.name), path) for path in base_path.iterdir() if path.name.isdecimal() and path.is_dir()]
    return [(number, path) for number, path in folders if number <= MAX_VERSION_NUMBER]


def _fingerprint(folder):
    """Files of a version folder with size and time, so that a version still being copied is tried again.

    Args:
        folder: path of the version folder.

    Returns:
        Frozen set of (path, size, modification time).
    """
    files = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # files come and go while a version is copied or deleted
            stat = path.stat()
            files.add((str(path), stat.st_size, stat.st_mtime_ns))
    return frozenset(files)
