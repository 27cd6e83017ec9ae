"""The command `python -m benchmarks.training.environments`: makes the peers' environments, each with its own packages.

They lie below `.venv-tools/peers`, which git ignores. Needed are Python 3.11, which uv fetches where it is missing, PyPI, and
for torch either PyTorch's index of builds for CPUs or a folder with its wheel (`UV_FIND_LINKS=FOLDER`).
"""

import pathlib
import sys

from rich.console import Console

from benchmarks.figures import PROJECT
from benchmarks.packages import PackageError, make_environment

# The newest that the TensorFlow of one and the torch of the other are published for together.
PYTHON = "3.11"
DEEPCTR, TORCH_RECHUB = "deepctr", "torch_rechub"
PEERS = (DEEPCTR, TORCH_RECHUB)

_REQUIREMENTS = pathlib.Path(__file__).parent / "requirements"


def peer_python(name):
    """Interpreter of a peer's environment, which is made if it is missing.

    Args:
        name: one of `PEERS`.

    Returns:
        `pathlib.Path`.

    Raises:
        PackageError: If a package cannot be had.
    """
    return make_environment(PROJECT / ".venv-tools" / "peers" / name, PYTHON, _REQUIREMENTS / f"{name}.txt")


def main():
    """Makes all environments and prints where they are.

    Returns:
        0, or 2 if one cannot be made.
    """
    console = Console()
    for name in PEERS:
        try:
            with console.status(f"{name} ..."):
                console.print(f"{name}: {peer_python(name)}")
        except PackageError as error:
            console.print(f"{name}: {error}", style="red", markup=False)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
