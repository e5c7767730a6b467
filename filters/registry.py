"""Backends by name: what there is, what works here, which one is used when the user names none."""

import importlib
import sys
from typing import Any

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import Backend
from wiresock_py.filters.host import HostNetwork

# Where each backend lives. A module is only imported on a system it can work on: the netfilter package speaks netlink,
# which the socket module of other systems does not know.
_CLASSES = {
    "ndisapi": ("wiresock_py.filters.ndisapi.backend", "NdisApiBackend", ("win32",)),
    "windivert": ("wiresock_py.filters.windivert.backend", "WinDivertBackend", ("win32",)),
    "netfilter": ("wiresock_py.filters.netfilter", "NetfilterBackend", ("linux",)),
    "memory": ("wiresock_py.filters.memory", "MemoryBackend", ()),
}
# The first that works is the default; memory carries no real traffic and is never chosen by itself.
_PREFERENCE = ("ndisapi", "windivert", "netfilter")

NAMES = tuple(_CLASSES)
# Those that the compiled data path has a part for.
_COMPILED = ("ndisapi", "netfilter")
_SYSTEMS = {"linux": "Linux", "win32": "Windows"}


def backend_class(name: str) -> type[Backend]:
    """The class behind *name*. Raises BackendError for an unknown name, and for one of another system."""
    if name not in _CLASSES:
        raise BackendError(f"there is no backend {name!r}", f"use one of: {', '.join(NAMES)}")
    module, attribute, platforms = _CLASSES[name]
    if platforms and sys.platform not in platforms:
        systems = " and ".join(_SYSTEMS[platform] for platform in platforms)
        here = _SYSTEMS.get(sys.platform, sys.platform)
        raise BackendError(f"the {name} backend works on {systems} only, this is {here}")
    found: type[Backend] = getattr(importlib.import_module(module), attribute)
    return found


def available() -> dict[str, str | None]:
    """Every backend's name, with None if it works here or else the reason why not, in one line with the remedy."""
    reasons: dict[str, str | None] = {}
    for name in NAMES:
        try:
            reasons[name] = backend_class(name).unavailable_reason()
        except BackendError as error:
            reasons[name] = str(error)
    return reasons


def default_name() -> str:
    """The backend to use when the user names none. Raises BackendError with the reason of each of this system's."""
    reasons = available()
    for name in _PREFERENCE:
        if reasons[name] is None:
            return name
    ours = [name for name in _PREFERENCE if sys.platform in _CLASSES[name][2]] or _PREFERENCE
    causes = "; ".join(f"{name}: {reasons[name]}" for name in ours)
    raise BackendError(f"no interception backend works here: {causes}")


def create(name: str = "", host: HostNetwork | None = None, *, compiled: bool = False, **options: Any) -> Backend:
    """A backend, not yet open; without *name* the system's default. Raises BackendError if it cannot work here.

    *host* answers the backends of Windows about the host's network; the others ask the kernel themselves. *compiled*
    says whether the compiled data path is in use: some backends have a part in it.
    """
    name = name or default_name()
    found = backend_class(name)
    if reason := found.unavailable_reason():
        raise BackendError(f"the {name} backend cannot work here: {reason}")
    if _CLASSES[name][2] == ("win32",):
        options["host"] = host
    if name in _COMPILED:
        options["compiled"] = compiled
    return found(**options)
