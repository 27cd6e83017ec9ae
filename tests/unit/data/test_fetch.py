import contextlib
import dataclasses
import hashlib
import http.server
import io
import json
import tarfile
import threading

import pytest
from click.testing import CliRunner

from data.errors import FetchError
from data.fetch import DATASET_BY_NAME, KUAIRAND_PURE, Archive, download, fetch, find_archive, unpack
from pipeline.cli import cli

CONTENT = {"KuaiRand-Pure/data/log_standard.csv": b"user_id\n1\n" * 20_000, "KuaiRand-Pure/README.md": b"read me"}
PART = f"{KUAIRAND_PURE.archive}.part"


def tar_of(content, members=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in members:
            archive.addfile(member)
    return buffer.getvalue()


@dataclasses.dataclass
class Site:
    archive: bytes
    record: dict
    has_ranges: bool = True
    bytes_until_cut: int | None = None
    requests: list = dataclasses.field(default_factory=list)
    url: str = ""


def site_of(archive, **record):
    entry = {
        "key": KUAIRAND_PURE.archive,
        "size": len(archive),
        "checksum": "md5:" + hashlib.md5(archive).hexdigest(),
        "links": {"self": "/archive"},
    }
    return Site(archive, {"files": [{"key": "other", "size": 1}, {**entry, **record}]})


@contextlib.contextmanager
def serving(site):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            site.requests.append((self.path, self.headers["Range"]))
            if self.path == "/record":
                self._send(200, json.dumps(site.record).encode())
            elif self.path != "/archive":
                self.send_error(404)
            elif site.has_ranges and self.headers["Range"]:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                self._send(206, site.archive[start:])
            else:
                self._send(200, site.archive)

        def _send(self, status, content):
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            is_cut = self.path == "/archive" and site.bytes_until_cut is not None
            self.wfile.write(content[: site.bytes_until_cut] if is_cut else content)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def files_under(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tables_are_downloaded_and_unpacked_and_nothing_else_stays(tmp_path):
    archive, seen = tar_of(CONTENT), []
    with serving(site_of(archive)) as site:
        tables = fetch(KUAIRAND_PURE, tmp_path / "to", f"{site.url}/record", lambda *progress: seen.append(progress))
        assert tables == tmp_path / "to" / "KuaiRand-Pure" / "data"
        assert files_under(tmp_path) == {
            "to/KuaiRand-Pure/data/log_standard.csv": CONTENT["KuaiRand-Pure/data/log_standard.csv"]
        }
        assert seen[0] == (0, len(archive))
        assert seen[-1] == (len(archive), len(archive))
        # A second call finds the tables.
        assert fetch(KUAIRAND_PURE, tmp_path / "to", f"{site.url}/record") == tables
    assert site.requests == [("/record", None), ("/archive", None)]


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_download_that_was_cut_goes_on(tmp_path, has_ranges):
    archive = tar_of(CONTENT)
    with serving(site_of(archive)) as site:
        site.has_ranges, site.bytes_until_cut = has_ranges, 70_000
        with pytest.raises(
            FetchError, match=rf"the connection ended at 70000 of {len(archive)} bytes; the same command goes on"
        ):
            fetch(KUAIRAND_PURE, tmp_path, f"{site.url}/record")
        assert files_under(tmp_path) == {PART: archive[:70_000]}
        site.bytes_until_cut = None
        fetch(KUAIRAND_PURE, tmp_path, f"{site.url}/record")
    assert site.requests[-1] == ("/archive", "bytes=70000-")
    assert list(files_under(tmp_path)) == ["KuaiRand-Pure/data/log_standard.csv"]


def test_a_whole_download_that_was_not_unpacked_is_not_repeated(tmp_path):
    archive = tar_of(CONTENT)
    (tmp_path / PART).write_bytes(archive)
    with serving(site_of(archive)) as site:
        fetch(KUAIRAND_PURE, tmp_path, f"{site.url}/record")
    assert site.requests == [("/record", None)]


@pytest.mark.parametrize("left_over", [b"x" * 100, b"x" * 1_000_000])
def test_what_differs_from_the_checksum_is_removed(tmp_path, left_over):
    archive = tar_of(CONTENT)
    (tmp_path / PART).write_bytes(left_over)
    with serving(site_of(archive)) as site:
        if len(left_over) < len(archive):
            with pytest.raises(FetchError, match=r"/archive: MD5 must be \w{32}; the download is removed. Received: \w{32}"):
                fetch(KUAIRAND_PURE, tmp_path, f"{site.url}/record")
            assert files_under(tmp_path) == {}
        fetch(KUAIRAND_PURE, tmp_path, f"{site.url}/record")
    assert list(files_under(tmp_path)) == ["KuaiRand-Pure/data/log_standard.csv"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, r"/record: must describe KuaiRand-Pure.tar.gz as Zenodo's API does. Received: KeyError\('files'\)"),
        ({"files": []}, r"must describe KuaiRand-Pure.tar.gz"),
        ([], r"must describe KuaiRand-Pure.tar.gz"),
        ({"files": [{"key": "KuaiRand-Pure.tar.gz", "size": 1, "checksum": 3, "links": {"self": "x"}}]}, "must describe"),
        (
            {"files": [{"key": "KuaiRand-Pure.tar.gz", "size": 1, "checksum": "sha256:ab", "links": {"self": "x"}}]},
            r"the checksum of KuaiRand-Pure.tar.gz must be an MD5. Received: sha256:ab",
        ),
    ],
)
def test_a_record_that_does_not_tell_is_refused(record, message):
    with serving(Site(b"", record)) as site, pytest.raises(FetchError, match=message):
        find_archive(KUAIRAND_PURE, f"{site.url}/record")


def test_addresses_that_do_not_answer(tmp_path):
    with serving(Site(b"", {})) as site, pytest.raises(FetchError, match=r"/nothing: the server answers 404 Not Found"):
        find_archive(KUAIRAND_PURE, f"{site.url}/nothing")
    with pytest.raises(FetchError, match=r"/record: cannot be reached: "):
        find_archive(KUAIRAND_PURE, f"{site.url}/record")
    with pytest.raises(FetchError, match=r"a URL must begin with http:// or https://. Received: file:///etc/passwd"):
        download(Archive("file:///etc/passwd", 1, "0" * 32), tmp_path / "x", print)


def link(name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (tar_of({"../out.txt": b"x"}), r"must hold paths within itself. Received: ../out.txt"),
        (tar_of({"/out.txt": b"x"}), r"must hold paths within itself. Received: /out.txt"),
        (tar_of({}, [link("KuaiRand-Pure/data", "/")]), r"must hold files and folders only. Received: KuaiRand-Pure/data"),
        (tar_of({"else.txt": b"x"}), r"must hold the folder KuaiRand-Pure/data"),
        (tar_of(CONTENT)[:-60_000], r"cannot be unpacked: "),
        (b"no archive", r"cannot be unpacked: "),
    ],
)
def test_an_archive_that_cannot_be_trusted_leaves_nothing(tmp_path, archive, message):
    folder = tmp_path / "to"
    folder.mkdir()
    (tmp_path / "archive").write_bytes(archive)
    with pytest.raises(FetchError, match=message):
        unpack(tmp_path / "archive", folder, KUAIRAND_PURE.folder)
    assert files_under(tmp_path) == {"archive": archive}
    assert list(folder.iterdir()) == []


def test_the_command_prints_licence_and_next_step(tmp_path):
    with serving(site_of(tar_of(CONTENT))) as site:
        result = CliRunner().invoke(cli, ["fetch", "kuairand-pure", "--to", str(tmp_path), "--url", f"{site.url}/record"])
    assert result.exit_code == 0, result.output
    tables = tmp_path / "KuaiRand-Pure" / "data"
    assert "CC BY-SA 4.0" in result.output
    assert f"smalltowers run configs/kuairand.toml --set data.source.path={tables}" in result.output
    assert (tables / "log_standard.csv").exists()


def test_the_command_offers_every_data_set():
    (argument,) = [parameter for parameter in cli.commands["fetch"].params if parameter.name == "dataset"]
    assert list(argument.type.choices) == list(DATASET_BY_NAME)
