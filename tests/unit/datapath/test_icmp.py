"""ICMP errors: translated about tunnelled packets, and made for the host's own stack."""

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest
from scapy.packet import Packet, Raw

from tests.support.datapaths import flow_table
from tests.support.traffic import (
    IPV4,
    IPV6,
    PEER,
    Ends,
    address,
    assert_sound,
    batch_of,
    dissect,
    slow_sum,
    tunnelled,
    vectors,
)
from wiresock_py.datapath import (
    Header,
    PacketDrop,
    PythonFlow,
    icmp_too_big,
    icmp_unreachable,
    parse,
    parse_embedded,
    translate_batch,
    translate_error,
    translate_inbound,
)
from wiresock_py.flow import FiveTuple, Route

pytestmark = pytest.mark.usefixtures("datapath")
BOTH = pytest.mark.parametrize("ends", [IPV4, IPV6], ids=["ipv4", "ipv6"])
ERRORS = [case for case in vectors("checksums")["packets"] if "embedded" in case["rewrite"]]


def read(packet: bytes, *, embedded: bool = False) -> Header:
    header = parse(packet, embedded=embedded)
    assert isinstance(header, Header), header
    return header


def inside(packet: bytes) -> Header:
    header = parse_embedded(packet, read(packet))
    assert isinstance(header, Header)
    return header


def unreachable(ends: Ends, source: str, destination: str, embedded: bytes) -> bytes:
    """A port unreachable message."""
    message: Packet = ICMP(type=3, code=3) if ends.version == 4 else ICMPv6DestUnreach(code=4)
    return bytes(ends.ip(source, destination) / message / Raw(embedded))


def assert_icmp_sound(packet: bytes) -> None:
    """The ICMP checksum, and the outer IPv4 one, word by word."""
    if packet[0] >> 4 == 4:
        assert slow_sum(packet[:20]) == 0xFFFF
        assert slow_sum(packet[20:]) == 0xFFFF
    else:
        size = len(packet) - 40
        assert slow_sum(packet[8:40] + size.to_bytes(4, "big") + (58).to_bytes(4, "big") + packet[40:]) == 0xFFFF


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case["name"])
def test_inbound_errors_are_translated_as_the_vectors_say(case: dict[str, str]) -> None:
    packet = bytes.fromhex(case["before"])
    key = inside(bytes.fromhex(case["after"])).five_tuple()
    inner = inside(packet).five_tuple()
    flow = PythonFlow(key, Route.TUNNEL, 0.0, inner=inner)
    translated = translate_error(packet, read(packet), flow, outbound=False)
    assert translated is not None
    assert translated.hex() == case["after"]


def test_the_vectors_hold_six_errors() -> None:
    assert len(ERRORS) >= 5


@BOTH
@pytest.mark.parametrize("kept", [8, 12, 18, 20, 60])
@pytest.mark.parametrize("protocol", [socket.IPPROTO_TCP, socket.IPPROTO_UDP])
def test_an_inbound_error_shows_the_stack_the_packet_it_sent(ends: Ends, kept: int, protocol: int) -> None:
    flows = flow_table(ports=lambda _: [50000])
    tunnelled(flows, ends, protocol)
    flow = tunnelled(flows, ends, protocol, local=ends.second)
    assert flow.inner.local_port == 50000  # the port is translated as well
    layer = TCP if protocol == socket.IPPROTO_TCP else UDP
    sent = bytes(ends.ip(ends.second) / layer(sport=40000, dport=443) / bytes(range(60)))
    [in_tunnel], _ = translate_batch(batch_of([sent]), [0], [flow], flows, 1420, 1.0)
    start = 20 if ends is IPV4 else 40
    router = "198.51.100.1" if ends is IPV4 else "2001:db8:ffff::1"
    error = unreachable(ends, router, ends.tunnel, in_tunnel[: start + kept])
    assert flows.find_inner(inside(error).five_tuple()) is flow
    translated = translate_error(error, read(error), flow, outbound=False)
    assert translated is not None
    assert_icmp_sound(translated)
    outer = dissect(translated)
    assert (outer.src, outer.dst) == (router, ends.second)
    assert translated[start + 8 :] == sent[: start + kept]


@BOTH
def test_an_error_from_a_redirected_resolver_comes_from_the_one_asked(ends: Ends) -> None:
    flows = flow_table()
    asked = FiveTuple(17, address(ends.host), 5353, address(ends.resolver), 53)
    flow = flows.add(
        asked, Route.TUNNEL, 0.0, peer=PEER, local=address(ends.tunnel), remote=(address(ends.redirected), 53)
    )
    query = bytes(ends.ip(destination=ends.resolver) / UDP(sport=5353, dport=53) / b"query")
    [sent], _ = translate_batch(batch_of([query]), [0], [flow], flows, 1420, 1.0)
    error = unreachable(ends, ends.redirected, ends.tunnel, sent)
    translated = translate_error(error, read(error), flow, outbound=False)
    assert translated is not None
    assert_icmp_sound(translated)
    assert (dissect(translated).src, dissect(translated).dst) == (ends.resolver, ends.host)
    assert translated.endswith(query)


@BOTH
def test_an_outbound_error_shows_the_sender_the_packet_it_sent(ends: Ends) -> None:
    flows = flow_table(ports=lambda _: [50000])
    tunnelled(flows, ends, 17)
    flow = tunnelled(flows, ends, 17, local=ends.second)
    arrived = bytes(ends.ip(ends.server, ends.tunnel) / UDP(sport=443, dport=50000) / b"answer")
    delivered = translate_inbound(arrived, read(arrived), flow, flows, 1.0)
    error = unreachable(ends, ends.second, ends.server, delivered)
    assert flows.find(inside(error).five_tuple(inbound=True)) is flow
    translated = translate_error(error, read(error), flow, outbound=True)
    assert translated is not None
    assert_icmp_sound(translated)
    assert (dissect(translated).src, dissect(translated).dst) == (ends.tunnel, ends.server)
    assert translated.endswith(arrived)


@BOTH
def test_an_echo_request_is_found_inside_an_error(ends: Ends) -> None:
    flows = flow_table()
    key = FiveTuple(ends.icmp, address(ends.host), 7, address(ends.server), 0)
    flow = flows.add(key, Route.TUNNEL, 0.0, peer=PEER, local=address(ends.tunnel))
    ping = bytes(ends.ip() / (ICMP(id=7) if ends.version == 4 else ICMPv6EchoRequest(id=7)) / b"ping")
    [sent], _ = translate_batch(batch_of([ping]), [0], [flow], flows, 1420, 1.0)
    assert_sound(sent)
    error = unreachable(ends, ends.server, ends.tunnel, sent)
    assert flows.find_inner(inside(error).five_tuple()) is flow
    translated = translate_error(error, read(error), flow, outbound=False)
    assert translated is not None
    assert translated.endswith(ping)
    assert_icmp_sound(translated)


def test_of_an_embedded_later_fragment_only_the_addresses_change() -> None:
    flow = tunnelled(flow_table(), IPV4, 17)
    fragment = bytes(IPV4.ip(IPV4.tunnel, frag=9, proto=17) / bytes(range(16)))
    error = unreachable(IPV4, IPV4.server, IPV4.tunnel, fragment)
    translated = translate_error(error, read(error), flow, outbound=False)
    assert translated is not None
    assert_icmp_sound(translated)
    assert dissect(translated[28:]).src == IPV4.host
    assert translated.endswith(bytes(range(16)))


def test_a_wrong_icmp_checksum_stays_wrong() -> None:
    flows = flow_table()
    flow = tunnelled(flows, IPV4, 17)
    sent = bytes(IPV4.ip(IPV4.tunnel) / UDP(sport=40000, dport=443) / b"x")
    error = bytearray(unreachable(IPV4, IPV4.server, IPV4.tunnel, sent))
    error[22] ^= 0x10
    translated = translate_error(bytes(error), read(bytes(error)), flow, outbound=False)
    assert translated is not None
    assert slow_sum(translated[20:]) != 0xFFFF


def test_what_embeds_nothing_readable_is_not_translated() -> None:
    flow = tunnelled(flow_table(), IPV4, 17)
    error = unreachable(IPV4, IPV4.server, IPV4.tunnel, b"\x45\0\0")
    assert translate_error(error, read(error), flow, outbound=False) is None


def test_an_error_about_a_packet_of_the_other_family_is_not_translated() -> None:
    for ends, others in ((IPV4, IPV6), (IPV6, IPV4)):
        flow = tunnelled(flow_table(), others, 17)
        sent = bytes(others.ip(others.tunnel, others.server) / UDP(sport=40000, dport=443))
        error = unreachable(ends, ends.server, ends.tunnel, sent)
        assert isinstance(parse_embedded(error, read(error)), PacketDrop)
        assert translate_error(error, read(error), flow, outbound=False) is None


@given(st.binary(max_size=80), st.booleans(), st.sampled_from([IPV4, IPV6]), st.sampled_from([1, 6, 17, 44, 58, 136]))
def test_no_embedded_bytes_make_translation_raise(data: bytes, outbound: bool, ends: Ends, protocol: int) -> None:
    flow = tunnelled(flow_table(), ends, 17)
    whole = bytes(ends.ip(protocol=protocol))
    for embedded in (data, whole + data):
        error = unreachable(ends, ends.server, ends.tunnel, embedded)
        translated = translate_error(error, read(error), flow, outbound=outbound)
        if translated is not None:
            assert len(translated) == len(error)
            assert_icmp_sound(translated)


@pytest.mark.parametrize("case", vectors("icmp_too_big"), ids=lambda case: case["name"])
def test_too_big_answers_as_the_vectors_say(case: dict[str, Any]) -> None:
    answer = icmp_too_big(bytes.fromhex(case["original"]), case["mtu"])
    assert (answer.hex() if answer else None) == case["example"]


@BOTH
def test_a_too_big_answer_reaches_the_socket_that_sent(ends: Ends) -> None:
    fields: dict[str, Any] = {"flags": "DF"} if ends is IPV4 else {}
    packet = bytes(ends.ip(**fields) / UDP(sport=40000, dport=443) / bytes(1460))
    answer = icmp_too_big(packet, 1420)
    assert answer is not None
    assert_icmp_sound(answer)
    assert (dissect(answer).src, dissect(answer).dst) == (ends.server, ends.host)
    assert inside(answer).five_tuple() == ends.key(17)
    start = 20 if ends is IPV4 else 40
    assert int.from_bytes(answer[start + 4 : start + 8], "big") == 1420
    assert len(answer) == (56 if ends is IPV4 else 1280)


def test_no_ipv6_sender_is_told_less_than_every_link_carries() -> None:
    answer = icmp_too_big(bytes(IPV6.ip() / UDP() / bytes(1400)), 1200)
    assert answer is not None
    assert int.from_bytes(answer[44:48], "big") == 1280


@BOTH
def test_a_blocked_packet_is_answered_as_prohibited(ends: Ends) -> None:
    packet = bytes(ends.ip() / UDP(sport=40000, dport=443) / b"payload")
    answer = icmp_unreachable(packet)
    assert answer is not None
    assert_icmp_sound(answer)
    start = 20 if ends is IPV4 else 40
    assert tuple(answer[start : start + 2]) == ((3, 13) if ends is IPV4 else (1, 1))
    assert inside(answer).five_tuple() == ends.key(17)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        bytes(IPV4.ip() / ICMP(type=3, code=1) / bytes(28)),
        bytes(IPV4.ip(flags="DF") / ICMP(type=11) / bytes(1500)),
        bytes(IPV6.ip() / ICMPv6DestUnreach() / bytes(1500)),
        bytes(IPV4.ip(flags="DF", frag=10, proto=17) / bytes(64)),
        bytes(IPV4.ip(destination="224.0.0.251", flags="DF") / UDP()),
        bytes(IPV4.ip(destination="255.255.255.255", flags="DF") / UDP()),
        bytes(IPV6.ip(destination="ff02::fb") / UDP()),
        bytes(IPV4.ip(source="0.0.0.0", flags="DF") / UDP()),
        bytes(IPV6.ip(source="::") / UDP()),
        bytes(IPV4.ip(source="239.1.1.1", flags="DF") / UDP()),
    ],
)
def test_some_packets_are_never_answered(packet: bytes) -> None:
    assert icmp_unreachable(packet) is None
    assert icmp_too_big(packet, 1420) is None


@given(st.binary(max_size=100), st.integers(0, 65535))
def test_no_bytes_make_an_answer_raise(data: bytes, mtu: int) -> None:
    for prefix in (b"", b"\x45\0\0\x28\0\0\x40\0\x40", b"\x60\0\0\0\0\x14"):
        icmp_too_big(prefix + data, mtu)
        icmp_unreachable(prefix + data)
