"""Which implementation of the data path is used: the compiled one where it was built, else Python's."""

from wiresock_py.datapath.face import PYTHON, DataPath
from wiresock_py.errors import BackendError

NAMES = ("python", "native")

NATIVE: DataPath | None
MISSING = ""
"""Why there is no compiled one, in one line."""
try:
    from wiresock_py.datapath.native import NATIVE
except ModuleNotFoundError as error:
    if error.name != "wiresock_py._native":
        raise
    NATIVE = None
    MISSING = "it was not built: there was no Rust when wiresock-py was installed (rustup.rs)"
except ImportError as error:  # built for another machine, or damaged
    NATIVE = None
    MISSING = f"it cannot be loaded: {error}"

DEFAULT = NATIVE or PYTHON


def choose(name: str = "") -> DataPath:
    """The data path called *name*; empty: the best there is. Raises BackendError if it is not there."""
    if name == "native" and NATIVE is None:
        raise BackendError(
            f"no native data path: {MISSING}", "install it from source with Rust, or use --datapath python"
        )
    return PYTHON if name == "python" else DEFAULT


def available() -> dict[str, str | None]:
    """Why each data path cannot be used; None if it can."""
    return {"python": None, "native": None if NATIVE else MISSING}
