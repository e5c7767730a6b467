"""The host's adapters and the driver's, put together."""

from collections.abc import Callable
from ipaddress import ip_network

import pytest

from wiresock_py.errors import BackendError
from wiresock_py.filters import CapturePlan, HostAdapter
from wiresock_py.filters.ndisapi import Ioctl, NdisApi
from wiresock_py.filters.ndisapi.attachments import MEDIUM_WAN, attachments, captured, check_names
from wiresock_py.filters.ndisapi.emulator import EmulatedAdapter, Emulator
from wiresock_py.filters.ndisapi.raw.structures import RAS_LINK_INFO

GATEWAY = bytes((10, 0, 0, 1))
OWN = bytes((100, 64, 0, 7))


class Host:
    """Tells what the test says."""

    def __init__(self, *adapters: HostAdapter) -> None:
        self.known = adapters

    def adapters(self) -> tuple[HostAdapter, ...]:
        return self.known

    def next_hop_mac(self, adapter: int, destination: bytes) -> bytes | None:
        raise AssertionError("nobody asks")

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        raise AssertionError("nobody follows")


def known(plugged: EmulatedAdapter, index: int, *gateways: bytes, mtu: int = 1500, guid: str = "") -> HostAdapter:
    guid = guid or plugged.name.rpartition("\\")[2]
    return HostAdapter(index, guid, plugged.friendly_name, mtu, gateways=gateways)


def link(address: bytes, mtu: int = 1492) -> RAS_LINK_INFO:
    found = RAS_LINK_INFO(MaximumTotalSize=mtu, ProtocolBufferLength=600)
    found.LocalAddress[:] = b"\x02\x50\0\0\0\x01"
    found.ProtocolBuffer[584:588] = address
    return found


def test_only_what_both_sides_know_is_attached() -> None:
    emulator = Emulator()
    ethernet, other = emulator.add_adapter("Ethernet"), emulator.add_adapter("only the driver's")
    elsewhere = HostAdapter(9, "{NOBODY}", "only Windows'", 1500)
    with NdisApi(emulator.open()) as api:
        (found,) = attachments(api, Host(known(ethernet, 3, guid=ethernet.name[8:].lower()), elsewhere))
    assert (found.handle, found.index, found.mac, found.mtu) == (ethernet.handle, 3, ethernet.mac, 1500)
    assert other.handle != found.handle


@pytest.mark.parametrize(
    ("windows", "driver", "expected"), [(1500, 1500, 1500), (1400, 1500, 1400), (9000, 1480, 1480), (9000, 0, 1500)]
)
def test_the_smallest_mtu_counts_and_no_frame_holds_more_than_1500_bytes(
    windows: int, driver: int, expected: int
) -> None:
    emulator = Emulator()
    plugged = emulator.add_adapter(mtu=driver)
    with NdisApi(emulator.open()) as api:
        assert [one.mtu for one in attachments(api, Host(known(plugged, 3, mtu=windows)))] == [expected]


def test_those_with_a_default_route_are_captured_or_those_that_are_named() -> None:
    emulator = Emulator()
    ethernet, wifi = emulator.add_adapter("Ethernet"), emulator.add_adapter("Wi-Fi")
    with NdisApi(emulator.open()) as api:
        found = attachments(api, Host(known(ethernet, 3, GATEWAY), known(wifi, 4)))
    everything = (ip_network("0.0.0.0/0"),)

    def chosen(*names: str) -> list[int]:
        return [attachment.index for attachment in captured(found, CapturePlan(everything, adapters=names))]

    assert chosen() == [3]
    assert chosen("wi-fi") == [4]
    assert chosen(wifi.name, "ETHERNET") == [3, 4]
    assert chosen(wifi.name.rpartition("\\")[2].lower()) == [4]
    with pytest.raises(BackendError, match="has no adapter 'eth0'") as caught:
        check_names(found, CapturePlan(everything, adapters=("Wi-Fi", "eth0")))
    assert "use one of: Ethernet, Wi-Fi" in caught.value.remedy


def test_a_dial_up_connection_is_the_link_that_has_its_address() -> None:
    emulator = Emulator()
    shared = emulator.add_adapter("WAN Miniport (IP)", medium=MEDIUM_WAN)
    shared.ras_links += [link(bytes((100, 64, 0, 9))), link(OWN), link(bytes(4))]
    connection = HostAdapter(12, "{CONNECTION}", "Provider", 1492, (bytes(16), OWN), (bytes(4),))
    with NdisApi(emulator.open()) as api:
        (found,) = attachments(api, Host(connection))
        assert (found.handle, found.index, found.mtu) == (shared.handle, 12, 1492)
        assert found.mac == b"\x02\x50\0\0\0\x01"
        emulator.fail(Ioctl.GET_RAS_LINKS, 87)  # it went since it was listed
        assert attachments(api, Host(connection)) == ()


def test_an_adapter_that_windows_does_not_name_for_the_moment_is_as_it_was() -> None:
    emulator = Emulator()
    plugged = emulator.add_adapter("Ethernet")
    with NdisApi(emulator.open()) as api:
        before = attachments(api, Host(known(plugged, 3, GATEWAY)))
        assert attachments(api, Host()) == ()
        assert attachments(api, Host(), before) == before
        emulator.reattach_adapter(plugged)
        assert attachments(api, Host(), before) == (), "under a new handle it has no mode of ours"
