"""The worlds that contract tests run in."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest

from tests.backends.worlds import World, memory_world, ndisapi_world
from tests.support.datapaths import NOT_BUILT
from tests.support.drivers import DRIVERS, Driver
from wiresock_py.datapath import NATIVE
from wiresock_py.filters.ndisapi import Version
from wiresock_py.filters.ndisapi.emulator import Emulator

# The ndisapi backend over each driver, and over the emulator as the real one may also be.
NDISAPI: dict[str, Callable[[], AbstractContextManager[Driver]]] = {
    **{f"ndisapi, {name}": make for name, make in DRIVERS.items()},
    "ndisapi, forgets with its last handle": lambda: nullcontext(Emulator(resets_on_close=True)),
    "ndisapi, lists its default action": lambda: nullcontext(Emulator(lists_default=True)),
    "ndisapi, driver 3.4.0": lambda: nullcontext(Emulator(Version(3, 4, 0))),
}

COMPILED = "ndisapi, compiled"
"""With the compiled data path's part in it."""


@pytest.fixture(scope="module")
def namespaces() -> Iterator[tuple[object, object]]:
    """Host and wire, shared by the tests of a module: each opens a backend of its own there and closes it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("backends on a real stack need Linux and root")
    else:
        from tests.backends.namespaces import host_and_wire

        with host_and_wire() as found:
            yield found


KERNEL = ("netfilter", "netfilter-compiled", "windivert")
"""Backends on a real stack; netfilter with its queues read by Python, and by compiled code."""


@pytest.fixture(params=["memory", *NDISAPI, COMPILED, *(pytest.param(name, marks=pytest.mark.root) for name in KERNEL)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A host with a backend that is not yet open. Closed, whatever the test did."""
    if request.param == "memory":
        with memory_world() as in_memory:
            yield in_memory
    elif request.param in NDISAPI:
        with NDISAPI[request.param]() as driver, ndisapi_world(driver) as on_driver:
            yield on_driver
    elif request.param == COMPILED:
        if NATIVE is None:
            pytest.skip(NOT_BUILT)
        with ndisapi_world(Emulator(), compiled=True) as on_driver:
            yield on_driver
    else:
        host, wire = request.getfixturevalue("namespaces")
        compiled = request.param == "netfilter-compiled"
        if compiled and NATIVE is None:
            pytest.skip(NOT_BUILT)
        if sys.platform == "linux":
            from tests.backends.worlds import netfilter_world, windivert_world

            with (
                windivert_world(host, wire)
                if request.param == "windivert"
                else netfilter_world(host, wire, compiled=compiled)
            ) as found:
                yield found
