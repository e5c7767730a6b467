"""What the driver says of adapters and links."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.filters.ndisapi.adapters import Adapter, read_adapters, read_ras_links
from wiresock_py.filters.ndisapi.raw.constants import ADAPTER_LIST_SIZE, RAS_LINKS_MAX
from wiresock_py.filters.ndisapi.raw.structures import RAS_LINKS, TCP_AdapterList

GUID = "{4D36E972-E325-11CE-BFC1-08002BE10318}"


@pytest.mark.parametrize("name", [f"\\DEVICE\\{GUID}", f"\\Device\\{GUID.lower()}", GUID])
def test_the_guid_is_the_name_without_its_prefix(name: str) -> None:
    assert Adapter(1, name, 0, bytes(6), 1500).guid == GUID


def test_an_adapter_is_read_with_all_it_has() -> None:
    listed = TCP_AdapterList(m_nAdapterCount=2)
    listed.m_szAdapterNameList[1][:5] = b"\\two\0"
    listed.m_nAdapterHandle[1] = 0xFFFF_A000_0000_0010
    listed.m_nAdapterMediumList[1] = 16
    listed.m_czCurrentAddress[1][:] = b"\x02\0\0\0\0\x01"
    listed.m_usMTU[1] = 1400
    assert read_adapters(listed)[1] == Adapter(0xFFFF_A000_0000_0010, "\\two", 16, b"\x02\0\0\0\0\x01", 1400)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=64))
def test_no_answer_of_the_driver_raises(count: int, names: bytes) -> None:
    listed = TCP_AdapterList(m_nAdapterCount=count)
    listed.m_szAdapterNameList[0][: len(names)] = names
    assert len(read_adapters(listed)) == min(count, ADAPTER_LIST_SIZE)


def test_a_ras_link_is_read_in_bits_a_second_with_its_address() -> None:
    links = RAS_LINKS(nNumberOfLinks=1)
    link = links.RasLinks[0]
    link.LinkSpeed, link.MaximumTotalSize, link.ProtocolBufferLength = 1_000_000, 1400, 600
    link.ProtocolBuffer[584:588] = b"\x0a\0\0\x07"
    (found,) = read_ras_links(links)
    assert (found.speed, found.mtu, found.ipv4) == (100_000_000, 1400, IPv4Address("10.0.0.7"))
    assert len(found.protocol_buffer) == 600


def test_a_short_protocol_buffer_holds_no_address() -> None:
    links = RAS_LINKS(nNumberOfLinks=1)
    links.RasLinks[0].ProtocolBufferLength = 585
    links.RasLinks[0].ProtocolBuffer[584:588] = b"\x0a\0\0\x07"
    assert read_ras_links(links)[0].ipv4 is None


def test_more_links_than_there_is_room_for_are_not_believed() -> None:
    assert len(read_ras_links(RAS_LINKS(nNumberOfLinks=100_000))) == RAS_LINKS_MAX
