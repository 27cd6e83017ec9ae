"""Which versions of one model are served: looking at the folder, loading, swapping, and letting go of the old ones."""

import collections.abc
import contextlib
import dataclasses
import enum
import logging
import threading

from serving.errors import ModelUnavailableError, RequestError
from serving.model_server.causes import first_cause
from serving.model_server.policies import Settling, fingerprint, version_folders

SAVED_MODEL_FILE = "saved_model.pb"

_log = logging.getLogger(__name__)


class VersionState(enum.Enum):
    """Life of a version, with TF Serving's names."""

    START = "START"
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
    files: frozenset
    state: VersionState = VersionState.START
    error: str | None = None
    model: object = None
    num_in_flight: int = 0


class ModelVersions:
    """The versions of one model under `<base_path>/<number>/`, those that its policy wants.

    A new version takes over when it has been loaded and warmed up; only then the old one is let go, and it leaves memory with
    its last call. A version that does not load gives way to the next older one and is looked at again when its files change.
    A deleted version is let go too, but never the last one: an empty folder does not end the service.
    """

    def __init__(self, model, load_fn, settle_seconds=0.0):
        """Versions of one model, none loaded yet.

        Args:
            model: `config_files.ServedModel`.
            load_fn: function of (folder, version number) that gives a warm model with a method `close`.
            settle_seconds: how long the files of a version must have been unchanged before it is loaded.
        """
        self._model = model
        self._load_fn = load_fn
        self._settling = Settling(settle_seconds)
        self._lock = threading.Lock()
        self._refresh_lock = threading.Lock()
        self._version_by_number = {}
        self._newest = None
        self._closers = []

    @property
    def name(self):
        """Name under which the versions are served."""
        return self._model.name

    @property
    def is_available(self):
        """Whether a version can be asked."""
        return self._newest is not None

    @property
    def is_settling(self):
        """Whether there is a version whose files have not rested yet."""
        with self._lock:
            return any(version.state is VersionState.START for version in self._version_by_number.values())

    def follow(self, model):
        """Takes on another folder or policy; the next `refresh` acts on it.

        Args:
            model: `config_files.ServedModel` of the same name.
        """
        self._model = model

    def refresh(self):
        """Looks at the folder once: loads what is wanted, then lets go of what no longer is.

        Raises:
            OSError: If the folder exists and cannot be read.
        """
        with self._refresh_lock:
            policy, folders = self._model.policy, version_folders(self._model.base_path)
            served = set()
            for number in policy.candidates(folders):
                if policy.is_met(len(served)):
                    break
                if self._is_served(number) or self._serve(number, folders[number]):
                    served.add(number)
            if served:
                self._let_go(lambda number: number not in served)

    def unload(self):
        """Lets go of every version; returns when those that no call uses have left memory. Others leave with their calls."""
        with self._refresh_lock:
            self._let_go(lambda number: True)
        with self._lock:
            closers, self._closers = self._closers, []
        for closer in closers:
            closer.join()

    @contextlib.contextmanager
    def use(self, number=None) -> collections.abc.Iterator[object]:
        """The model to answer one call with; it stays loaded until the call has ended.

        Args:
            number: version number; None for the newest that is served.

        Yields:
            What `load_fn` gave.

        Raises:
            RequestError: If the version is not served.
        """
        with self._lock:
            version = self._newest if number is None else self._version_by_number.get(number)
            if version is None or version.state is not VersionState.AVAILABLE:
                raise not_found(self.name, number)
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

    def state(self, number):
        """Where a version stands.

        Args:
            number: version number.

        Returns:
            `VersionState`; None of a version that was never looked at.
        """
        with self._lock:
            version = self._version_by_number.get(number)
            return None if version is None else version.state

    def require_available(self):
        """Makes sure that a version can be asked.

        Raises:
            ModelUnavailableError: If there is none; the message says why.
        """
        if not self.is_available:
            raise ModelUnavailableError(self._nothing_loads())

    def _nothing_loads(self):
        base_path = self._model.base_path
        requirement = f"{base_path} must hold a model version that loads, such as 1/{SAVED_MODEL_FILE}"
        failures = "; ".join(f"version {status.number}: {status.error}" for status in self.statuses() if status.error)
        received = failures or ("an empty folder" if base_path.is_dir() else "no such folder")
        return f"{requirement}. Received: {received}. Run the pipeline first: it pushes a model there"

    def _is_served(self, number):
        version = self._version_by_number.get(number)
        return version is not None and version.state is VersionState.AVAILABLE

    def _serve(self, number, folder):
        """Loads a version and serves it, unless it failed before and is still the same, or its files do not rest.

        Args:
            number: version number.
            folder: path of the version folder.

        Returns:
            Whether the version is served now.
        """
        files = fingerprint(folder)
        known = self._version_by_number.get(number)
        if known is not None and known.error is not None and known.files == files:
            return False
        version = _Version(number, files)
        with self._lock:
            self._version_by_number[number] = version
        if not self._settling.has_settled(folder, files):
            return False
        version.state = VersionState.LOADING
        if not self._load(version, folder):
            return False
        with self._lock:
            version.state = VersionState.AVAILABLE
            self._newest = max(self._available(), key=lambda each: each.number)
        _log.info("version %d of %s is served", number, self.name)
        return True

    def _load(self, version, folder):
        _log.info("version %d of %s is loading", version.number, self.name)
        try:
            if not (folder / SAVED_MODEL_FILE).is_file():
                raise FileNotFoundError(f"{folder} must hold {SAVED_MODEL_FILE}. Received: none, or not yet")
            version.model = self._load_fn(folder, version.number)
        # A broken SavedModel makes TensorFlow raise nearly anything; the version's status shows it, and older versions
        # go on serving.
        except Exception as error:
            with self._lock:
                version.state, version.error = VersionState.END, first_cause(f"{error}" or type(error).__name__)
            _log.warning("version %d of %s is skipped: %s", version.number, self.name, version.error)
            return False
        return True

    def _available(self):
        return [version for version in self._version_by_number.values() if version.state is VersionState.AVAILABLE]

    def _let_go(self, is_unwanted_fn):
        with self._lock:
            unwanted = [version for version in self._available() if is_unwanted_fn(version.number)]
            for version in unwanted:
                version.state = VersionState.UNLOADING
            self._newest = max(self._available(), key=lambda each: each.number, default=None)
            for version in unwanted:
                self._release(version)

    def _release(self, version):
        if version.state is VersionState.UNLOADING and version.num_in_flight == 0:
            version.state, model, version.model = VersionState.END, version.model, None
            # Freeing a large model takes time that the caller of the last answer need not wait for.
            closer = threading.Thread(target=model.close, name="model-unload", daemon=True)
            closer.start()
            self._closers = [each for each in self._closers if each.is_alive()] + [closer]


def not_found(model_name, number):
    """The refusal of a call for what is not served, in TF Serving's words.

    Args:
        model_name: name that was asked for.
        number: version number that was asked for; None for the newest.

    Returns:
        `RequestError`.
    """
    wanted = f"Latest({model_name})" if number is None else f"Specific({model_name}, {number})"
    return RequestError("NOT_FOUND", f"Servable not found for request: {wanted}")
