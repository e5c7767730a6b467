"""A host and a wire in namespaces, for what only the real kernel can answer. Collected on Linux only."""

import os
import sys
from collections.abc import Iterator

import pytest

if sys.platform == "linux":
    from tests.backends.namespaces import Namespace, host_and_wire
    from tests.backends.worlds import NetfilterWorld, netfilter_world

    @pytest.fixture
    def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
        """Host and wire, new for each test."""
        if os.geteuid() != 0:
            pytest.skip("namespaces need root")
        with host_and_wire() as found:
            yield found

    @pytest.fixture
    def world(namespaces: tuple[Namespace, Namespace]) -> Iterator[NetfilterWorld]:
        """A host with a netfilter backend that is not yet open; the test runs inside the host's namespace."""
        with netfilter_world(*namespaces) as found:
            yield found

else:
    collect_ignore_glob = ["test_*.py"]
