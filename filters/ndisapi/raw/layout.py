"""The raw floor as data, to be compared with the vendor's header on any system."""

import ctypes
from collections.abc import Iterator
from typing import Any

from wiresock_py.filters.ndisapi.raw import constants
from wiresock_py.filters.ndisapi.raw.ioctl import MAY_PEND, Ioctl
from wiresock_py.filters.ndisapi.raw.structures import STRUCTURES

Place = dict[str, int]


def layout() -> dict[str, Any]:
    """Sizes, offsets, constants and control codes, in the form of ``ndisapi-abi.json``."""
    codes = {code.windows_name: code.value for code in Ioctl}
    return {
        "x64": {"pointer_size": 8, "structs": {found.__name__: _structure(found) for found in STRUCTURES}},
        "constants": {name: value for name, value in vars(constants).items() if name.isupper()} | codes,
        "ioctls": {code.windows_name: _ioctl(code) for code in Ioctl},
    }


def _ioctl(code: Ioctl) -> dict[str, Any]:
    return {
        "code": code.value,
        "hex": f"0x{code.value:08X}",
        "function": code.value >> 2 & 0xFFF,
        "may_pend": code in MAY_PEND,
        "since": ".".join(map(str, code.since)) if code.since > (3, 0, 0) else "3.x",
    }


def _structure(structure: type[ctypes.Structure]) -> dict[str, Any]:
    return {"size": ctypes.sizeof(structure), "fields": dict(_fields(structure))}


def _fields(structure: Any, prefix: str = "", start: int = 0) -> Iterator[tuple[str, Place]]:
    """Every field; members of the nameless unions and structures of the header appear in place, as C sees them."""
    for name, kind, *_bits in structure._fields_:
        place = getattr(structure, name)
        offset = start + place.offset
        nameless = kind.__name__.startswith("_")
        if not name.startswith("_"):
            yield prefix + name, {"offset": offset, "size": place.size}
        if nameless:
            yield from _fields(kind, prefix if name.startswith("_") else f"{prefix}{name}.", offset)
