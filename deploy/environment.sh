#!/usr/bin/env bash
# Makes .venv from uv.lock: finds or fetches uv, a fitting Python and, where the machine has no C++ compiler, one from PyPI.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }
die() { say "environment: $*"; exit 2; }

find_python_for_tools() {
    local name
    for name in python3 python; do
        if command -v "$name" >/dev/null 2>&1 && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    die "no Python found. Install one first, on Debian with: apt-get install python3 python3-pip"
}

# Installs a PyPI package with a program in it below .venv-tools, without touching the system.
fetch_tool() {
    "$(find_python_for_tools)" -m pip install -qq --root-user-action=ignore --disable-pip-version-check --target .venv-tools "$1" ||
        die "could not fetch $1 from PyPI. Install it by hand (pip install $1) or check the network, then run make again."
}

find_uv() {
    local candidate
    for candidate in "$(command -v uv || true)" "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv" .venv-tools/bin/uv; do
        if [ -n "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    say "Fetching uv from PyPI ..."
    fetch_tool uv
    echo .venv-tools/bin/uv
}

glibc_is_new() {
    local version
    version=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2) || return 1
    [ "$(printf '%s\n2.39\n' "${version:-0}" | sort -V | head -n 1)" = 2.39 ]
}

# A Python without its headers cannot build pyfarmhash, so it is passed over.
is_fit() {
    "$1" -c "import os, sys, sysconfig
header = os.path.join(sysconfig.get_paths()['include'], 'Python.h')
sys.exit('%d.%d' % sys.version_info[:2] != '$2' or not os.path.exists(header))" 2>/dev/null
}

find_python() {
    local version candidate
    for version in "$@"; do
        for candidate in "$HOME"/.pyenv/versions/"$version"*/bin/python"$version" "$(command -v "python$version" || true)"; do
            if [ -x "$candidate" ] && is_fit "$candidate" "$version"; then
                echo "$candidate"
                return
            fi
        done
    done
    say "Fetching Python $1 ..."
    if "$UV" python install --quiet "$1" 2>/dev/null && "$UV" python find --managed-python "$1" 2>/dev/null; then
        return
    fi
    die "no Python $* with its headers here, and none could be downloaded. Put python$1 on the PATH (pyenv install $1), then run make again."
}

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || die "TFX is published for Linux on x86_64 only. Received: $(uname -s) on $(uname -m)"
UV=$(find_uv)
# Python 3.11 first: it is the newest for which the Kubeflow client is published together with TFX.
if glibc_is_new; then PYTHON=$(find_python 3.11 3.12 3.13); else PYTHON=$(find_python 3.10); fi

if ! command -v c++ >/dev/null 2>&1 && ! command -v g++ >/dev/null 2>&1; then
    # pyfarmhash, which TensorFlow Data Validation needs, has no wheel; zig brings a C++ compiler in one.
    [ -d .venv-tools/ziglang ] || { say "Fetching a C++ compiler from PyPI ..."; fetch_tool ziglang; }
    export CC="$PWD/.venv-tools/ziglang/zig cc" CXX="$PWD/.venv-tools/ziglang/zig c++" LDSHARED="$PWD/.venv-tools/ziglang/zig c++ -shared"
fi

say "Installing the locked packages for $("$PYTHON" --version) ..."
install() { "$UV" sync --quiet --frozen --python "$PYTHON" "$@" || die "uv could not install the locked packages; its message stands above."; }
install --all-extras
UV_PROJECT_ENVIRONMENT=.venv-tools/docstrings install --only-group docstrings
