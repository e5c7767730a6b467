"""A system with the emulated driver and two adapters."""

from collections.abc import Iterator

import pytest

from wiresock_py.filters.ndisapi import Adapter, NdisApi
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter, Emulator


@pytest.fixture(params=[31, None], ids=["empty read fails", "empty read succeeds"])
def emulator(request: pytest.FixtureRequest) -> Emulator:
    """What the real driver answers to a read of an empty queue is not documented: both ways must work."""
    return Emulator(pool_size=700, empty_read=request.param)


@pytest.fixture
def ethernet(emulator: Emulator) -> EmulatedAdapter:
    return emulator.add_adapter("Ethernet")


@pytest.fixture
def wifi(emulator: Emulator, ethernet: EmulatedAdapter) -> EmulatedAdapter:
    return emulator.add_adapter("Wi-Fi", medium=16)


@pytest.fixture
def api(emulator: Emulator, ethernet: EmulatedAdapter) -> Iterator[NdisApi]:
    with NdisApi(emulator.open()) as opened:
        yield opened


@pytest.fixture
def adapter(api: NdisApi) -> Adapter:
    return api.find("Ethernet")
