"""A system with the driver and two adapters."""

from collections.abc import Iterator

import pytest

from tests.support.captures import ADAPTERS
from tests.support.drivers import DRIVERS, Driver, Plugged
from tests.support.ethernet import EthernetHost
from wiresock_py.filters.ndisapi import Adapter, NdisApi
from wiresock_py.filters.ndisapi.backend import NdisApiBackend
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter, Emulator


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """For tests of behaviour that every driver shows."""
    with DRIVERS[request.param]() as found:
        yield found


@pytest.fixture
def emulator(driver: Driver) -> Emulator:
    """For tests that look into the emulator, or make it do what no driver can be told to do."""
    if not isinstance(driver, Emulator):
        pytest.skip("for other systems: looks into the emulator")
    return driver


@pytest.fixture
def ethernet(driver: Driver) -> Plugged:
    return driver.add_adapter("Ethernet")


@pytest.fixture
def wifi(driver: Driver, ethernet: Plugged) -> Plugged:
    return driver.add_adapter("Wi-Fi", medium=16)


@pytest.fixture
def emulated(emulator: Emulator, ethernet: EmulatedAdapter) -> EmulatedAdapter:
    """The adapter "Ethernet", from the emulator's inside."""
    return ethernet


@pytest.fixture
def api(driver: Driver, ethernet: Plugged) -> Iterator[NdisApi]:
    with NdisApi(driver.open()) as opened:
        yield opened


@pytest.fixture
def adapter(api: NdisApi) -> Adapter:
    return api.find("Ethernet")


@pytest.fixture
def host(driver: Driver) -> EthernetHost:
    return EthernetHost(driver, ADAPTERS, default=("eth0",))


@pytest.fixture
def backend(driver: Driver, host: EthernetHost) -> Iterator[NdisApiBackend]:
    made = NdisApiBackend(host, driver.open)
    yield made
    made.close()


@pytest.fixture
def inside(host: EthernetHost, emulator: Emulator) -> EmulatedAdapter:
    """The adapter of the default route, from the emulator's inside."""
    plugged = host.networks["eth0"].plugged
    assert isinstance(plugged, EmulatedAdapter)
    return plugged
