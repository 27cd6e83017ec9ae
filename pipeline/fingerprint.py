"""When a cached result may stand in for a new one: digests of the input files and of this project's own sources."""

import hashlib
from pathlib import Path

from data.storage import is_remote, stored_file


def inputs_digest(paths):
    """Digest that changes whenever an input file may have changed.

    Args:
        paths: input files, local or on any Beam file system.

    Returns:
        Hexadecimal string, from names, sizes and times of change; a remote store that tells no time is known by the first two.

    Raises:
        LogFormatError: If a file is missing, or its file system does not answer.
    """
    digest = hashlib.sha256()
    for path in sorted(path if is_remote(path) else str(Path(path).absolute()) for path in map(str, paths)):
        file = stored_file(path)
        digest.update(f"{path} {file.num_bytes} {file.changed_at_ns}\n".encode())
    return digest.hexdigest()


def sources_digest(package):
    """Digest of the sources of one of this project's packages.

    Args:
        package: its name, for example "models".

    Returns:
        Hexadecimal string, from names and contents.
    """
    folder = Path(__file__).parent.parent / package
    digest = hashlib.sha256()
    for source in sorted(folder.rglob("*.py")):
        digest.update(str(source.relative_to(folder)).encode() + source.read_bytes())
    return digest.hexdigest()
