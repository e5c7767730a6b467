"""Whether Windows is real here. Wine's is, but for some corners that tests of the real thing step on."""

import ctypes
import sys


def in_wine() -> bool:
    """Wine tells by a function of its own, which Windows has not."""
    return sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
