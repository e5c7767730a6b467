"""What only the driver double shows: clients in processes of their own, and how the bindings see them die."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.drivers import DRIVERS
from tests.windows.double import Control, Double, DoubleAdapter
from wiresock_py.filters.ndisapi import Adapter, AdapterMode, Ioctl, NdisApi, PacketBlock

if not any(name.startswith("double") for name in DRIVERS):
    pytest.skip("for other systems: the driver double is loaded by python -m tests.windows", allow_module_level=True)

FRAME = bytes(12) + b"\x88\xb5" + bytes(46)
CLIENT = """
import sys
import time
from wiresock_py.filters.ndisapi import Action, AdapterMode, NdisApi, StaticFilter
api = NdisApi()
adapter = api.find("Ethernet")
api.set_packet_event(adapter, api.create_event())
api.set_filters([StaticFilter(Action.REDIRECT)])
api.set_mode(adapter, AdapterMode.TUNNEL)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def control() -> Iterator[Control]:
    opened = Control()
    yield opened
    opened.reset()
    opened.close()


@pytest.fixture
def ethernet(control: Control) -> DoubleAdapter:
    control.reset()
    return Double(control).add_adapter("Ethernet")


@pytest.fixture
def client(ethernet: DoubleAdapter) -> Iterator["subprocess.Popen[bytes]"]:
    """A client in another process, which tunnels the adapter."""
    with subprocess.Popen([sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline().strip() == b"ready"
        yield running
        running.kill()


def left_behind(api: NdisApi, adapter: Adapter) -> tuple[AdapterMode, int, int]:
    return api.mode(adapter), api.queue_size(adapter), api.filter_count()


def test_a_driver_that_keeps_what_a_dead_client_set_is_restored(
    control: Control, ethernet: DoubleAdapter, client: "subprocess.Popen[bytes]"
) -> None:
    client.kill()
    client.wait(10)
    ethernet.stack_sends(FRAME)
    assert ethernet.network_received() == [], "the plan stays closed"
    with NdisApi() as api:
        adapter = api.find("Ethernet")
        assert left_behind(api, adapter) == (AdapterMode.TUNNEL, 1, 1)
        assert api.restore() == ["removed 1 static filters", f"switched adapter {adapter.name} from mode 0x3 to 0"]
        assert left_behind(api, adapter) == (0, 0, 0)
    ethernet.stack_sends(FRAME)
    assert ethernet.network_received() == [FRAME]


def test_a_driver_that_forgets_a_dead_client_leaves_nothing_to_restore(control: Control) -> None:
    control.reset(resets_on_close=True)
    ethernet = Double(control).add_adapter("Ethernet")
    with subprocess.Popen([sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline().strip() == b"ready"
        ethernet.stack_sends(FRAME)
        assert ethernet.network_received() == []
        client.kill()
    deadline = time.monotonic() + 10
    while not ethernet.network_received() and time.monotonic() < deadline:  # its handles are closed in time
        ethernet.stack_sends(FRAME)
    with NdisApi() as api:
        assert api.restore() == []


def test_two_processes_share_one_adapter(ethernet: DoubleAdapter, client: "subprocess.Popen[bytes]") -> None:
    ethernet.stack_sends(FRAME)
    block = PacketBlock(2)
    with NdisApi() as api:
        adapter = api.find("Ethernet")
        assert api.mode(adapter) == AdapterMode.TUNNEL, "the other's mode"
        assert api.read_packets(adapter, block) == 1, "the other's packet"


def test_an_event_of_this_process_is_set_by_frames_that_another_lets_in(
    ethernet: DoubleAdapter, client: "subprocess.Popen[bytes]"
) -> None:
    with NdisApi() as api, api.event() as event:
        api.set_packet_event(api.find("Ethernet"), event)
        assert api.wait([event], 0) == -1
        ethernet.network_sends(FRAME)
        assert api.wait([event], 5) == 0


def test_a_mode_for_new_adapters_and_a_smaller_mtu_are_read_from_the_registry(control: Control) -> None:
    control.reset()
    with NdisApi() as api:
        try:
            api.mtu_decrement, api.startup_mode = 80, AdapterMode.TUNNEL
            Double(control).add_adapter("new")
            found = api.find("new")
            assert (api.mode(found), found.mtu) == (AdapterMode.TUNNEL, 1420)
        finally:
            api.mtu_decrement, api.startup_mode = 0, AdapterMode.NONE


def test_what_a_dead_handle_counted_stays_known(control: Control, ethernet: DoubleAdapter) -> None:
    double = Double(control)
    with NdisApi() as api:
        api.adapters()
    assert double.issued[Ioctl.GET_TCPIP_INTERFACES] == 1
