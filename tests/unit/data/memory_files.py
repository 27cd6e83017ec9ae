"""A file system of Beam's that lives in memory, for paths as memory://folder/file."""

import io

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

CHANGED_AT_SECONDS = 1_767_225_600


class MemoryFileSystem(FileSystem):
    content_by_path = {}

    @classmethod
    def scheme(cls):
        return "memory"

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        return tuple(path.rsplit("/", 1))

    def mkdirs(self, path):
        raise NotImplementedError

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        return [self.metadata(path) for path in self.content_by_path if path.startswith(dir_or_prefix)]

    def create(self, path, mime_type="application/octet-stream", compression_type="auto"):
        raise NotImplementedError

    def open(self, path, mime_type="application/octet-stream", compression_type="auto"):
        if path not in self.content_by_path:
            raise BeamIOError("there is no such file", {path: None})
        return io.BytesIO(self.content_by_path[path])

    def copy(self, source_file_names, destination_file_names):
        raise NotImplementedError

    def rename(self, source_file_names, destination_file_names):
        raise NotImplementedError

    def exists(self, path):
        return path in self.content_by_path

    def size(self, path):
        return len(self.content_by_path[path])

    def last_updated(self, path):
        return CHANGED_AT_SECONDS

    def checksum(self, path):
        raise NotImplementedError

    def metadata(self, path):
        return FileMetadata(path, self.size(path), CHANGED_AT_SECONDS)

    def delete(self, paths):
        raise NotImplementedError


class MemoryFiles:
    """Files that exist within a `with` block."""

    def __init__(self, content_by_path):
        self._content_by_path = content_by_path

    def __enter__(self):
        MemoryFileSystem.content_by_path = dict(self._content_by_path)

    def __exit__(self, *error):
        MemoryFileSystem.content_by_path = {}
