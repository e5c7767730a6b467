"""Single inbound packets that the fast path leaves to the engine."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6ExtHdrDestOpt
from scapy.packet import Packet

from tests.support.datapaths import flow_table
from tests.support.traffic import IPV4, IPV6, MTU, Ends, dissect, slow_sum, tunnelled, vectors
from wiresock_py.datapath import Header, PythonFlow, parse, translate_inbound
from wiresock_py.datapath.flows import SYN_IN, SYN_OUT
from wiresock_py.flow import Route

pytestmark = pytest.mark.usefixtures("datapath")
BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])
INBOUND = [
    case
    for case in vectors("checksums")["packets"]
    if case["rewrite"].startswith("destination") and "embedded" not in case["rewrite"]
]


def read(packet: bytes) -> Header:
    header = parse(packet)
    assert isinstance(header, Header), header
    return header


def odd(ends: Ends, transport: Packet) -> bytes:
    """A packet from the server with headers that are not plain."""
    if ends is IPV4:
        return bytes(IP(src=ends.server, dst=ends.tunnel, options=[IPOption_NOP()] * 4) / transport)
    return bytes(ends.ip(ends.server, ends.tunnel) / IPv6ExtHdrDestOpt() / transport)


@pytest.mark.parametrize("case", INBOUND, ids=lambda case: case["name"])
def test_packets_are_translated_as_the_vectors_say(case: dict[str, str]) -> None:
    packet, after = bytes.fromhex(case["before"]), bytes.fromhex(case["after"])
    inner = read(packet).five_tuple(inbound=True)
    flow = PythonFlow(read(after).five_tuple(inbound=True), Route.TUNNEL, 0.0, inner=inner)
    assert translate_inbound(packet, read(packet), flow, flow_table(), 1.0) == after


def test_the_vectors_hold_inbound_packets_of_both_families() -> None:
    assert {bytes.fromhex(case["before"])[0] >> 4 for case in INBOUND} == {4, 6}


@BOTH
def test_options_and_extension_headers_are_carried_along(ends: Ends) -> None:
    flows = flow_table()
    flow = tunnelled(flows, ends, 17)
    packet = odd(ends, UDP(sport=443, dport=40000) / b"answer")
    header = read(packet)
    translated = translate_inbound(packet + b"padding", header, flow, flows, 9.0)
    assert len(translated) == len(packet)
    assert dissect(translated).dst == ends.host
    addresses = translated[12:20] if ends is IPV4 else translated[8:40]
    datagram = translated[header.transport :]
    assert slow_sum(addresses + bytes((0, 17, 0, len(datagram))) + datagram) == 0xFFFF
    if ends is IPV4:
        assert slow_sum(translated[: header.transport]) == 0xFFFF
    assert (flow.last_in, flow.packets_in, flow.bytes_in) == (9.0, 1, len(packet))


@BOTH
def test_a_syn_ack_is_tracked_and_clamped(ends: Ends) -> None:
    flows = flow_table()
    flow = tunnelled(flows, ends, 6)
    flow.mtu = MTU
    flow.state = SYN_OUT
    packet = odd(ends, TCP(sport=443, dport=40000, flags="SA", options=[("MSS", 9000)]))
    translated = translate_inbound(packet, read(packet), flow, flows, 1.0)
    assert dissect(translated)[TCP].options == [("MSS", 1380 if ends is IPV4 else 1360)]
    assert flow.mss == 9000
    assert flow.state == SYN_OUT | SYN_IN


@settings(deadline=None)
@given(
    st.sampled_from([IPV4, IPV6]),
    st.sampled_from([0, 1, 6, 17, 43, 44, 51, 58, 60, 132, 136]),
    st.binary(max_size=100),
)
def test_whatever_parse_accepts_is_translated(ends: Ends, protocol: int, data: bytes) -> None:
    flows = flow_table()
    flow = tunnelled(flows, ends, 6)
    flow.mtu = MTU
    packet = bytes(ends.ip(ends.server, ends.tunnel, protocol)) + data
    packet = packet[:2] + len(packet).to_bytes(2, "big") + packet[4:] if ends is IPV4 else (
        packet[:4] + len(data).to_bytes(2, "big") + packet[6:]
    )  # fmt: skip
    header = parse(packet)
    if isinstance(header, Header):
        assert len(translate_inbound(packet, header, flow, flows, 1.0)) == len(packet)
