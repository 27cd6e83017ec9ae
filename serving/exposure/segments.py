"""Files of the exposure log: a journal of JSON lines that is written, synced, and at last put in place under its own name.

.exposures-<time>-<number>.open       journal; no glob of a reader finds it
exposures-<time>-<number>.jsonl       a closed segment: the journal, renamed
exposures-<time>-<number>.parquet     a closed segment: the journal, converted beside and then renamed
"""

import datetime
import fcntl
import json
import os
import pathlib
import uuid

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from serving.exposure.record import ROW_SCHEMA

_OPEN_SUFFIX = ".open"
_LONGEST_LINE_BYTES = 1 << 30


class Segment:
    """A journal, open for this process alone.

    Attributes:
        num_bytes: what was written.
        num_synced_bytes: what a crash of the machine leaves.
    """

    def __init__(self, folder, file_format):
        """A new journal, empty.

        Args:
            folder: path; it is made if it is not there.
            file_format: "jsonl" or "parquet", of the closed segment.

        Raises:
            OSError: If it cannot be made.
        """
        self._folder, self._format = pathlib.Path(folder), file_format
        self._folder.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now(datetime.timezone.utc)
        self._name = f"exposures-{now:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"
        self._path = self._folder / f".{self._name}{_OPEN_SUFFIX}"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        # Who recovers journals of the dead leaves one that is locked alone.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self.num_bytes = self.num_synced_bytes = 0

    def write(self, content):
        """Writes bytes at the end.

        Args:
            content: whole lines.

        Raises:
            OSError: If not all of it could be written; `rewind` then removes the part that was.
        """
        rest = memoryview(content)
        while rest:
            written = os.write(self._file, rest)
            self.num_bytes += written
            rest = rest[written:]

    def sync(self):
        """Makes what was written safe from a crash of the machine.

        Raises:
            OSError: If that failed; what was written since the last sync is then in doubt.
        """
        os.fsync(self._file)
        self.num_synced_bytes = self.num_bytes

    def rewind(self):
        """Takes back what was written since the last sync.

        Raises:
            OSError: If the file cannot be cut.
        """
        os.ftruncate(self._file, self.num_synced_bytes)
        os.lseek(self._file, self.num_synced_bytes, os.SEEK_SET)
        self.num_bytes = self.num_synced_bytes

    def finish(self):
        """Puts the segment in place under its own name; a journal without a line is removed.

        Raises:
            OSError: If the disk does not take it; the journal stays and can be finished again.
        """
        self.sync()
        _put_in_place(self._path, self._folder / f"{self._name}.{self._format}", self._format)
        os.close(self._file)


def recover_segments(folder, file_format):
    """Puts the journals of processes that died in place, without what of a last answer is incomplete.

    Args:
        folder: path of the segments.
        file_format: "jsonl" or "parquet".

    Returns:
        Number of journals.

    Raises:
        OSError: If a file cannot be written.
    """
    folder, num_recovered = pathlib.Path(folder), 0
    for path in sorted(folder.glob(f".exposures-*{_OPEN_SUFFIX}")):
        with open(path, "rb+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            file.truncate(_whole_bytes(file.read()))
            os.fsync(file.fileno())
            name = path.name.removeprefix(".").removesuffix(_OPEN_SUFFIX)
            _put_in_place(path, folder / f"{name}.{file_format}", file_format)
        num_recovered += 1
    return num_recovered


def _whole_bytes(content):
    """Length of the lines up to the last answer that is there whole."""
    end, num_bytes, num_left = content.rfind(b"\n") + 1, 0, 0
    whole = 0
    for line in content[:end].splitlines(keepends=True):
        num_bytes += len(line)
        try:
            row = json.loads(line)
            num_left = row["num_shown"] - row["position"]
        except (ValueError, KeyError, TypeError):
            break
        if num_left == 0:
            whole = num_bytes
    return whole


def _put_in_place(path, target, file_format):
    """Gives a journal the name of a segment; what was done of it before a failure is not done again."""
    if not path.exists():
        pass
    elif path.stat().st_size == 0:
        path.unlink()
    elif file_format == "parquet":
        unfinished = target.with_name(f".{target.name}.new")
        with open(unfinished, "wb") as file:
            pq.write_table(_table(path), file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
        _sync_folder(target.parent)
        path.unlink()
    else:
        path.replace(target)
    _sync_folder(target.parent)


def _table(path):
    """Rows of a journal; columns of the context get the type that their values have, and are text where these have several."""
    try:
        return _read_lines(path, ROW_SCHEMA)
    except pa.ArrowInvalid:
        # A client decides what its context holds, and how long an id is: such a segment takes longer, but gets in place.
        mixed = _mixed_columns(path)
    as_text = path.with_name(f"{path.name}.text")
    try:
        with open(path, "rb") as lines, open(as_text, "w", encoding="utf-8") as file:
            for line in lines:
                row = json.loads(line)
                row |= {name: _text(row[name]) for name in mixed & row.keys()}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        own = [field for field in ROW_SCHEMA if field.name not in mixed]
        schema = pa.schema([*own, *(pa.field(name, pa.string()) for name in sorted(mixed))])
        return _read_lines(as_text, schema, min(as_text.stat().st_size, _LONGEST_LINE_BYTES))
    finally:
        as_text.unlink(missing_ok=True)


def _read_lines(path, schema, block_bytes=None):
    options = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer")
    return pa.json.read_json(path, pa.json.ReadOptions(block_size=block_bytes), options)


def _mixed_columns(path):
    """Names of columns in which values of several types stand, or another than theirs."""
    kinds_by_name = {field.name: {str} for field in ROW_SCHEMA if field.type == pa.string()}
    with open(path, "rb") as lines:
        for line in lines:
            for name, value in json.loads(line).items():
                first = value[0] if isinstance(value, list) and value else value
                if first is not None:
                    kind = float if isinstance(first, int | float) else type(first)
                    kinds_by_name.setdefault(name, set()).add((list, kind) if isinstance(value, list) else kind)
    return {name for name, kinds in kinds_by_name.items() if len(kinds) > 1}


def _text(value):
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _sync_folder(folder):
    """Makes a rename safe from a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
