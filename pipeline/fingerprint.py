"""When a cached result may stand in for a new one: digests of the input files and of this project's own sources."""

import hashlib
from pathlib import Path


def inputs_digest(paths):
    """Digest that changes whenever an input file may have changed.

    Args:
        paths: input files.

    Returns:
        Hexadecimal string, from names, sizes and times of change.
    """
    digest = hashlib.sha256()
    for path in sorted(map(Path, paths)):
        status = path.stat()
        digest.update(f"{path.absolute()} {status.st_size} {status.st_mtime_ns}\n".encode())
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
