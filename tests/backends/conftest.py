"""The worlds that contract tests run in."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest

from tests.backends.worlds import World, memory_world, ndisapi_world
from tests.support.drivers import DRIVERS, Driver
from wiresock_py.filters.ndisapi import Version
from wiresock_py.filters.ndisapi.emulator import Emulator

# The ndisapi backend over each driver, and over the emulator as the real one may also be.
NDISAPI: dict[str, Callable[[], AbstractContextManager[Driver]]] = {
    **{f"ndisapi, {name}": make for name, make in DRIVERS.items()},
    "ndisapi, forgets with its last handle": lambda: nullcontext(Emulator(resets_on_close=True)),
    "ndisapi, driver 3.4.0": lambda: nullcontext(Emulator(Version(3, 4, 0))),
}


@pytest.fixture(scope="module")
def namespaces() -> Iterator[tuple[object, object]]:
    """Host and wire, shared by the tests of a module: each opens a backend of its own there and closes it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("the netfilter backend needs Linux and root")
    else:
        from tests.backends.namespaces import host_and_wire

        with host_and_wire() as found:
            yield found


@pytest.fixture(params=["memory", *NDISAPI, pytest.param("netfilter", marks=pytest.mark.root)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A host with a backend that is not yet open. Closed, whatever the test did."""
    if request.param == "memory":
        with memory_world() as in_memory:
            yield in_memory
    elif request.param in NDISAPI:
        with NDISAPI[request.param]() as driver, ndisapi_world(driver) as on_driver:
            yield on_driver
    else:
        host, wire = request.getfixturevalue("namespaces")
        if sys.platform == "linux":
            from tests.backends.worlds import netfilter_world

            with netfilter_world(host, wire) as found:
                yield found
