"""Official data sets, downloaded: found in their archive's record, resumed, checked, unpacked whole or not at all."""

import dataclasses
import hashlib
import http.client
import json
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from data.errors import FetchError

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60
_RESUMED = 206


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set that can be fetched.

    Attributes:
        name: for the command line.
        record_url: the record of the archive in Zenodo's API, which tells size, checksum and address of its files.
        archive: name of the file in the record, a tar.gz.
        folder: folder of the tables within the archive.
        licence: name and address.
        citation: whom to cite.
    """

    name: str
    record_url: str
    archive: str
    folder: str
    licence: str
    citation: str


@dataclasses.dataclass(frozen=True)
class Archive:
    """An archive as its record describes it.

    Attributes:
        url: where it is downloaded from.
        num_bytes: its size.
        md5: hexadecimal checksum.
    """

    url: str
    num_bytes: int
    md5: str


KUAIRAND_PURE = Dataset(
    name="kuairand-pure",
    record_url="https://zenodo.org/api/records/10439422",
    archive="KuaiRand-Pure.tar.gz",
    folder="KuaiRand-Pure/data",
    licence="CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/",
    citation="Gao et al., KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos, CIKM 2022",
)
DATASET_BY_NAME = {dataset.name: dataset for dataset in (KUAIRAND_PURE,)}


def fetch(dataset, folder, record_url=None, on_progress=None):
    """Folder with the tables of a data set; what is there already is not downloaded again.

    A killed download leaves `<archive>.part` in the folder, from which the next call goes on. The checksum is the one that
    the record publishes at the time of the download: a copy of it here could only grow old.

    Args:
        dataset: `Dataset`.
        folder: where to put it; made if missing.
        record_url: another record of the same form, as a mirror's; None for the official one.
        on_progress: None, or a function that is called with (bytes so far, bytes in all).

    Returns:
        Path of the tables.

    Raises:
        FetchError: If the record or the archive cannot be had, differs from its checksum, or holds anything but plain files
            and folders within itself.
    """
    folder = Path(folder)
    tables = folder / dataset.folder
    if tables.is_dir():
        return tables
    folder.mkdir(parents=True, exist_ok=True)
    archive = find_archive(dataset, record_url or dataset.record_url)
    stored = folder / f"{dataset.archive}.part"
    download(archive, stored, on_progress or (lambda num_bytes, total: None))
    unpack(stored, folder, dataset.folder)
    stored.unlink()
    return tables


def find_archive(dataset, record_url):
    """What the record says about the archive.

    Args:
        dataset: `Dataset`.
        record_url: the record in Zenodo's API, or of the same form.

    Returns:
        `Archive`.

    Raises:
        FetchError: If the record cannot be had, or does not name the archive with size and MD5.
    """
    with _open(record_url, {"Accept": "application/json"}) as response:
        content = _read(response, record_url)
    try:
        entries = {entry["key"]: entry for entry in json.loads(content)["files"]}
        entry = entries[dataset.archive]
        kind, _, digest = entry["checksum"].partition(":")
        url = urllib.parse.urljoin(record_url, entry["links"]["self"])
        archive = Archive(url, int(entry["size"]), digest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(f"{record_url}: must describe {dataset.archive} as Zenodo's API does. Received: {error!r}") from error
    if kind != "md5" or len(digest) != 32:
        raise FetchError(f"{record_url}: the checksum of {dataset.archive} must be an MD5. Received: {entry['checksum']}")
    return archive


def download(archive, path, on_progress):
    """Downloads an archive, going on where an earlier download of it ended.

    Args:
        archive: `Archive`.
        path: file to write, complete only once this returns.
        on_progress: function that is called with (bytes so far, bytes in all).

    Raises:
        FetchError: If the connection fails, which leaves what has come for the next call, or if the whole differs from the
            checksum, which removes it.
    """
    path = Path(path)
    num_bytes = path.stat().st_size if path.exists() else 0
    if num_bytes > archive.num_bytes:
        num_bytes = 0
    on_progress(num_bytes, archive.num_bytes)
    if num_bytes < archive.num_bytes or not path.exists():
        num_bytes = _download_from(num_bytes, archive, path, on_progress)
    if num_bytes < archive.num_bytes:
        raise FetchError(
            f"{archive.url}: the connection ended at {num_bytes} of {archive.num_bytes} bytes; the same command goes on"
        )
    digest = _md5(path)
    if digest != archive.md5:
        path.unlink()
        raise FetchError(f"{archive.url}: MD5 must be {archive.md5}; the download is removed. Received: {digest}")


def _download_from(start, archive, path, on_progress):
    """Size of the file after all that the server sent was added to its first `start` bytes."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    with _open(archive.url, headers) as response:
        # A server that knows no ranges sends everything from the beginning.
        num_bytes = start if response.status == _RESUMED else 0
        with open(path, "r+b" if num_bytes else "wb") as file:
            file.seek(num_bytes)
            file.truncate()
            while chunk := _read(response, archive.url, _CHUNK_BYTES):
                file.write(chunk)
                num_bytes += len(chunk)
                on_progress(num_bytes, archive.num_bytes)
    return num_bytes


def unpack(path, folder, inner):
    """Unpacks one folder of a tar.gz archive; it appears only when it is whole.

    Args:
        path: the archive.
        folder: where `inner` shall lie.
        inner: folder within the archive.

    Raises:
        FetchError: If the archive is damaged, lacks the folder, or holds a link, a device or a path that leads out of it.
    """
    folder = Path(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as temporary:
        try:
            with tarfile.open(path, "r:gz") as archive:
                for member in archive:
                    _extract(archive, member, Path(temporary))
        except (tarfile.TarError, EOFError, OSError) as error:
            raise FetchError(f"{path}: cannot be unpacked: {error}") from error
        if not (Path(temporary) / inner).is_dir():
            raise FetchError(f"{path}: must hold the folder {inner}")
        (folder / inner).parent.mkdir(parents=True, exist_ok=True)
        os.replace(Path(temporary) / inner, folder / inner)


def _extract(archive, member, target):
    """Writes a file or folder by its name alone: owners, modes and links of an archive are of no use here."""
    destination = (target / member.name).resolve()
    if not destination.is_relative_to(target.resolve()):
        raise FetchError(f"{archive.name}: must hold paths within itself. Received: {member.name}")
    if member.isdir():
        destination.mkdir(parents=True, exist_ok=True)
    elif member.isfile():
        destination.parent.mkdir(parents=True, exist_ok=True)
        with archive.extractfile(member) as source, open(destination, "wb") as file:
            shutil.copyfileobj(source, file, _CHUNK_BYTES)
    else:
        raise FetchError(f"{archive.name}: must hold files and folders only. Received: {member.name}")


def _open(url, headers):
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise FetchError(f"a URL must begin with http:// or https://. Received: {url}")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "smalltowers", **headers})
        return urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"{url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{url}: cannot be reached: {getattr(error, 'reason', error)}") from error


def _read(response, url, size=None):
    try:
        return response.read(size)
    except http.client.IncompleteRead as error:
        return error.partial
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"{url}: the connection broke: {error}; the same command goes on") from error


def _md5(path):
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
