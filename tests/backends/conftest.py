"""The worlds that contract tests run in."""

import os
import sys
from collections.abc import Iterator

import pytest

from tests.backends.worlds import World, memory_world


@pytest.fixture(scope="module")
def namespaces() -> Iterator[tuple[object, object]]:
    """Host and wire, shared by the tests of a module: each opens a backend of its own there and closes it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("the netfilter backend needs Linux and root")
    else:
        from tests.backends.namespaces import host_and_wire

        with host_and_wire() as found:
            yield found


@pytest.fixture(params=["memory", pytest.param("netfilter", marks=pytest.mark.root)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A host with a backend that is not yet open. Closed, whatever the test did."""
    if request.param == "memory":
        with memory_world() as in_memory:
            yield in_memory
    else:
        host, wire = request.getfixturevalue("namespaces")
        if sys.platform == "linux":
            from tests.backends.worlds import netfilter_world

            with netfilter_world(host, wire) as found:
                yield found
