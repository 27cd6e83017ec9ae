"""The exposure log: answers go into a bounded queue, one thread writes them into segments.

Nothing is lost in silence. An answer that finds no room is not given; what the disk refuses is kept and tried again; what was
not synced when the machine went down is at most what came in `sync_seconds`.
"""

import collections
import dataclasses
import threading
import time

from serving.errors import ExposureLogError
from serving.exposure.record import Exposure, exposure_lines
from serving.exposure.segments import Segment, recover_segments

_GATHER_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class ExposureCounts:
    """What became of answers.

    Attributes:
        appended: taken; these were given.
        synced: written and safe from a crash.
        refused: not taken, or taken back because they were not safe in time; these were not given.
        disk_failures: attempts that the disk refused.
        waiting: taken and not yet safe.
        recovered_segments: journals of a process that had died.
        disk_error: why the disk refused the latest attempt, in one line; None while it takes what it is given.
    """

    appended: int
    synced: int
    refused: int
    disk_failures: int
    waiting: int
    recovered_segments: int
    disk_error: str | None


@dataclasses.dataclass(eq=False)
class _Entry:
    """An answer on its way; guarded by the lock of `ExposureLog`."""

    exposure: Exposure
    is_writing: bool = False
    is_synced: bool = False


class ExposureLog:
    """Appends answers from any thread."""

    def __init__(self, config, folder):
        """A log that writes; journals of processes that died are put in place first.

        Args:
            config: `ExposureConfig`.
            folder: path of the segments.

        Raises:
            OSError: If the folder cannot be written to.
        """
        self._config, self._folder = config, folder
        self._recovered_segments = recover_segments(folder, config.format)
        self._segment, self._must_rewind = Segment(folder, config.format), False
        self._opened_at, self._num_in_segment = None, 0
        self._changed = threading.Condition()
        self._queue = collections.deque()
        self._num_in_attempt = 0
        self._unsynced = []
        self._synced_at = time.monotonic()
        self._appended = self._synced = self._refused = self._disk_failures = 0
        self._disk_error = None
        self._is_closing = self._is_abandoned = False
        self._writer = threading.Thread(target=self._write_on, name="exposures", daemon=True)
        self._writer.start()

    def append(self, exposure, timeout_seconds):
        """Takes an answer before it is given; with `sync_seconds` of 0 it is safe from a crash when this returns.

        Args:
            exposure: `serving.exposure.record.Exposure`.
            timeout_seconds: longest time to wait for room, or for the disk.

        Raises:
            ExposureLogError: If there was no room, or it was not safe in time; it is not logged then.
        """
        entry = _Entry(exposure)
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            if self._config.when_full == "wait":
                self._changed.wait_for(lambda: self._has_room() or self._is_closing, timeout_seconds)
            if self._is_closing or not self._has_room():
                raise self._refused_error()
            self._queue.append(entry)
            # Each waking of the writer takes the interpreter from who answers: what need not be safe at once is gathered.
            if self._config.sync_seconds == 0 or len(self._queue) == 1 or self._is_half_full():
                self._changed.notify_all()
            if self._config.sync_seconds == 0:
                self._changed.wait_for(lambda: entry.is_synced, max(deadline - time.monotonic(), 0))
                # What is on its way to the disk can no longer be taken back, and the disk's answer is near.
                self._changed.wait_for(lambda: not entry.is_writing)
                if not entry.is_synced:
                    self._queue.remove(entry)
                    raise self._refused_error()
            self._appended += 1

    def counts(self):
        """What became of answers until now.

        Returns:
            `ExposureCounts`.
        """
        with self._changed:
            return ExposureCounts(
                self._appended,
                self._synced,
                self._refused,
                self._disk_failures,
                len(self._queue) + max(self._num_in_attempt, len(self._unsynced)),
                self._recovered_segments,
                self._disk_error,
            )

    def close(self, timeout_seconds=10.0):
        """Writes what waits, and puts the segment in place.

        Args:
            timeout_seconds: longest time to wait for a disk that refuses.

        Raises:
            ExposureLogError: If answers were still waiting then; the journal holds what was written.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._writer.join(timeout_seconds)
        if self._writer.is_alive():
            self._is_abandoned = True
            counts = self.counts()
            raise ExposureLogError(
                f"the exposure log must be written before the end. Received: {counts.waiting} answers wait, {counts.disk_error}"
            )

    def _has_room(self):
        return len(self._queue) + self._num_in_attempt < self._config.queue_records

    def _is_half_full(self):
        return 2 * len(self._queue) >= self._config.queue_records

    def _refused_error(self):
        self._refused += 1
        cause = "answers come faster than they are written"
        if self._is_closing:
            cause = "the log is closed"
        elif self._disk_error is not None:
            cause = f"the disk refuses: {self._disk_error}"
        return ExposureLogError(f"an answer must be logged before it is given. Received: {cause}")

    def _write_on(self):
        while not self._is_abandoned:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_closing, self._seconds_until_due())
                if self._queue and self._config.sync_seconds > 0:
                    gather_seconds = min(_GATHER_SECONDS, self._config.sync_seconds)
                    self._changed.wait_for(lambda: self._is_half_full() or self._is_closing, gather_seconds)
                entries, is_closing = list(self._queue), self._is_closing
                self._queue.clear()
                self._num_in_attempt = len(entries)
                for entry in entries:
                    entry.is_writing = True
            try:
                self._write(entries, is_closing)
                with self._changed:
                    self._num_in_attempt = 0
                    self._changed.notify_all()
            # Whatever it is: a writer that has ended would let answers be given that nobody logs.
            except Exception as error:
                self._take_back(error)
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closing and not is_closing, self._config.retry_seconds)  # noqa: B023
            else:
                if is_closing:
                    return

    def _seconds_until_due(self):
        """How long the writer may sleep: until a sync or the end of the segment is due; None where neither will be."""
        dues = [self._synced_at + self._config.sync_seconds] if self._unsynced else []
        if self._opened_at is not None:
            dues.append(self._opened_at + self._config.segment_seconds)
        return max(min(dues) - time.monotonic(), 0) if dues else None

    def _write(self, entries, is_closing):
        self._unsynced += entries
        if self._segment is None:
            self._segment, self._num_in_segment = Segment(self._folder, self._config.format), 0
        if self._must_rewind:
            self._segment.rewind()
            self._must_rewind = False
        if entries:
            self._segment.write(exposure_lines(*(entry.exposure for entry in entries)))
            self._opened_at = self._opened_at or time.monotonic()
        now = time.monotonic()
        is_old = self._opened_at is not None and now >= self._opened_at + self._config.segment_seconds
        is_full = self._num_in_segment + len(self._unsynced) >= self._config.segment_records
        if is_closing or is_old or is_full or (self._unsynced and now >= self._synced_at + self._config.sync_seconds):
            self._segment.sync()
            self._note_synced(now)
        if is_closing or is_old or is_full:
            self._segment.finish()
            self._segment, self._opened_at = None, None

    def _note_synced(self, now):
        with self._changed:
            for entry in self._unsynced:
                entry.is_synced, entry.is_writing = True, False
            self._num_in_segment += len(self._unsynced)
            self._synced += len(self._unsynced)
            self._unsynced, self._synced_at, self._disk_error = [], now, None
            self._changed.notify_all()

    def _take_back(self, error):
        """After a failure nothing since the last sync is taken for written: it waits again, before all others."""
        with self._changed:
            for entry in self._unsynced:
                entry.is_writing = False
            self._queue.extendleft(reversed(self._unsynced))
            self._unsynced, self._must_rewind, self._num_in_attempt = [], self._segment is not None, 0
            self._disk_failures += 1
            self._disk_error = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self._changed.notify_all()
