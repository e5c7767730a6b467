"""The compiled data path does what Python's does: packet by packet, byte by byte, with the same state afterwards."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment

from tests.support.datapaths import NOT_BUILT
from tests.support.differential import KEYS, PORTS, arriving, equal, leaving, session
from tests.support.traffic import IPV4, IPV6, OTHER_PEER, PEER, Ends, partial
from wiresock_py.crypto import Session
from wiresock_py.crypto.constants import REJECT_AFTER_MESSAGES
from wiresock_py.datapath import NATIVE, DataPath, Opened
from wiresock_py.filters.base import MAX_PACKET

pytestmark = pytest.mark.skipif(NATIVE is None, reason=NOT_BUILT)

TIMESTAMPS = [("NOP", None), ("NOP", None), ("Timestamp", (123, 456))]
OPTIONS: list[list[Any]] = [[], TIMESTAMPS, [("MSS", 1440), ("NOP", None), ("WScale", 7)], [("NOP", None)] * 40]
SIZES = st.sampled_from([0, 1, 2, 63, 100, 535, 536, 1200, 1368, 1400, 3001, 9000, 65_000])


def damage(packet: bytes, place: int, change: int, end: int) -> bytes:
    """*packet* with a byte changed, cut short."""
    changed = bytearray(packet)
    if packet:
        changed[place % len(packet)] ^= change
    return bytes(changed[: len(packet) - end])


@st.composite
def outbound_packets(draw: st.DrawFn) -> tuple[bytes, int]:
    """A packet as the stack sends it, most often in order, with its flags."""
    ends = draw(st.sampled_from([IPV4, IPV6]))
    port = draw(st.sampled_from([*PORTS, *PORTS, *PORTS, 1002, 1003, 1004]))
    kind = draw(st.sampled_from(["tcp", "tcp", "tcp", "udp", "ping", "odd"]))
    payload = random.Random(draw(st.integers(0, 99))).randbytes(draw(SIZES))
    fields: dict[str, Any] = {"id": draw(st.sampled_from([0, 0xFFF0])), "tos": 2} if ends is IPV4 else {"tc": 2}
    header = ends.ip(**fields)
    if kind == "tcp":
        letters = draw(st.sampled_from(["A", "PA", "FPA", "S", "SA", "R", "UA", "CA", "F"]))
        options = draw(st.sampled_from(OPTIONS))
        room = 65_535 - 40 - 20 - 40
        sequence = draw(st.sampled_from([0, 1, 0xFFFF_F000]))
        layer = TCP(sport=port, dport=443, flags=letters, seq=sequence, ack=9, options=options)
        packet = header / layer / payload[:room]
    elif kind == "udp":
        chosen: dict[str, Any] = {"chksum": 0} if draw(st.booleans()) else {}
        packet = header / UDP(sport=port, dport=443, **chosen) / payload
    elif kind == "ping":
        ping = ICMP if ends is IPV4 else ICMPv6EchoRequest
        local = draw(st.sampled_from([ends.host, ends.second]))
        packet = ends.ip(local) / ping(id=draw(st.sampled_from([7, 8])), seq=3) / payload[:1000]
    else:
        packet = draw(st.sampled_from(odd(ends, port)))
    data = bytes(packet)
    flags = draw(st.sampled_from([0, 0, 1, 1, 8]))
    if flags & 1 and kind in ("tcp", "udp"):
        data = partial(data)
    if draw(st.integers(0, 9)) == 0:
        data = damage(data, draw(st.integers(0, 79)), draw(st.integers(0, 255)), draw(st.sampled_from([0, 0, 1, 40])))
    return data, flags


def odd(ends: Ends, port: int) -> list[Any]:
    """Packets that are not of the plain kind."""
    udp = UDP(sport=port, dport=443) / b"payload"
    if ends is IPV6:
        return [
            ends.ip() / IPv6ExtHdrDestOpt() / udp,
            ends.ip() / IPv6ExtHdrFragment(m=1) / UDP(sport=port, dport=443, len=900) / bytes(16),
            ends.ip() / ICMPv6EchoReply(id=7),
            ends.ip(nh=47) / bytes(16),
            ends.ip(nh=136) / bytes(udp),
        ]
    return [
        IP(src=ends.host, dst=ends.server, options=[IPOption_NOP()] * 4) / udp,
        IP(src=ends.host, dst=ends.server, flags="MF") / UDP(sport=port, dport=443, len=900) / bytes(16),
        IP(src=ends.host, dst=ends.server, frag=9, proto=17) / bytes(16),
        ends.ip() / ICMP(type=0, id=7),
        ends.ip() / ICMP(type=13, id=7),
        ends.ip(proto=47) / bytes(16),
        ends.ip(proto=136) / bytes(udp),
    ]


@settings(max_examples=150, deadline=None)
@given(
    batches=st.lists(st.lists(outbound_packets(), max_size=8), min_size=1, max_size=3),
    mtu=st.sampled_from([576, 1280, 1299, 1420]),
    mss=st.sampled_from([0, 1, 536, 901, 1400]),
    counter=st.sampled_from([0, 0, 41, REJECT_AFTER_MESSAGES - 3]),
    everything=st.booleans(),
)
def test_what_leaves_is_the_same(
    batches: list[list[tuple[bytes, int]]], mtu: int, mss: int, counter: int, everything: bool
) -> None:
    equal(lambda path: leaving(path, batches, mtu=mtu, mss=mss, counter=counter, everything=everything))


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[str, bytes, int]]:
    """Plain texts with the way they are sent and the session's index: bursts of a few streams, each with an oddity."""
    result = []
    sequences = {(ends, port): draw(st.sampled_from([0, 0xFFFF_F000])) for ends in (IPV4, IPV6) for port in (*PORTS, 9)}
    for _ in range(draw(st.integers(1, 6))):
        ends = draw(st.sampled_from([IPV4, IPV6]))
        port = draw(st.sampled_from([*PORTS, *PORTS, 9]))
        index = draw(st.sampled_from([0, 0, 0, 1, 7])) if port != PORTS[1] else draw(st.sampled_from([1, 1, 0]))
        fields: dict[str, Any] = {
            "flags": draw(st.sampled_from(["A", "A", "PA", "EA"])),
            "ack": draw(st.sampled_from([7, 8])),
            "window": 500,
            "options": draw(st.sampled_from(OPTIONS)),
        }
        size = draw(st.sampled_from([1, 2, 100, 101, 1300, 1368]))
        ip = ends.ip(ends.server, ends.tunnel)
        for _ in range(draw(st.integers(1, 12))):
            header = TCP(sport=443, dport=port, seq=sequences[ends, port], **fields)
            plain = bytes(ip / header / random.Random(sequences[ends, port]).randbytes(size))
            sequences[ends, port] = (sequences[ends, port] + size) & 0xFFFF_FFFF
            result.append(("sealed", plain, index))
        if draw(st.booleans()):
            way = draw(st.sampled_from(["sealed", "forged", "replayed", "limit", "handshake", "nonsense"]))
            result.append((way, draw(st.one_of(strangers(ends, port), st.binary(max_size=90))), index))
    return result


def strangers(ends: Ends, port: int) -> st.SearchStrategy[bytes]:
    """Packets that are no plain data of a stream."""
    ip = ends.ip(ends.server, ends.tunnel)
    pong = ICMP(type=0, id=7) if ends is IPV4 else ICMPv6EchoReply(id=7)
    moved = ICMP(type=0, id=50_000) if ends is IPV4 else ICMPv6EchoReply(id=50_000)
    chosen: list[Any] = [
        *(
            TCP(sport=443, dport=port, flags=flags, options=[("MSS", 1460)])
            for flags in ("A", "S", "SA", "FA", "R", "UA")
        ),
        UDP(sport=443, dport=port) / b"answer",
        UDP(sport=443, dport=port, chksum=0) / b"answer",
        UDP(sport=443, dport=port, len=900) / b"cut short",
        pong,
        moved,
    ]
    whole = [bytes(ip / layer) for layer in chosen] + [b"", bytes(ip)]
    damaged = st.tuples(st.sampled_from(whole), st.integers(0, 79), st.integers(0, 255), st.sampled_from([0, 1, 9]))
    return st.one_of(st.sampled_from(whole), damaged.map(lambda case: damage(*case)))


@settings(max_examples=200, deadline=None)
@given(
    turns=st.lists(arrivals(), min_size=1, max_size=2),
    size=st.sampled_from([0, 64, 130, 1400, 1420, 1428]),
    short=st.sampled_from([0, 0, 1, 16, 60]),
    opening=st.booleans(),
    largest=st.sampled_from([MAX_PACKET, 1500, 3000, 100]),
)
def test_what_arrives_is_the_same(
    turns: list[list[tuple[str, bytes, int]]], size: int, short: int, opening: bool, largest: int
) -> None:
    senders = [
        Session(
            peer, local_index=100, remote_index=index,
            sending_key=KEYS[1], receiving_key=KEYS[0], initiator=False, created=0.0,
        )
        for index, peer in enumerate((PEER, OTHER_PEER))
    ]  # fmt: skip
    buffers = []
    for turn in turns:
        buffer = bytearray()
        for way, plain, index in turn:
            datagram = bytearray(size + 32)
            sender = senders[index % 2]
            if way == "limit":
                before, sender.counter = sender.counter, REJECT_AFTER_MESSAGES - 1
            sender.seal_into(plain[:size].ljust(size, b"\0"), datagram)
            if way == "limit":
                datagram[8:16] = REJECT_AFTER_MESSAGES.to_bytes(8, "little")
                sender.counter = before
            if way == "forged":
                datagram[-1] ^= 1
            elif way in ("handshake", "nonsense"):
                datagram[0] = 1 if way == "handshake" else 9
            if index == 7:
                datagram[4] = 7  # a session that nobody knows
            buffer += datagram * (2 if way == "replayed" else 1)
        del buffer[len(buffer) - min(short, len(buffer)) :]
        buffers.append(buffer)

    equal(lambda path: arriving(path, buffers, size + 32, opening=opening, largest=largest))


@given(st.binary(max_size=400), st.integers(0, 200), st.booleans())
def test_whatever_arrives_is_dropped_alike(data: bytes, step: int, as_transport: bool) -> None:
    if as_transport:
        data = b"\4\0\0\0\1\0\0\0" + data

    def measure(path: DataPath) -> dict[str, object]:
        out = Opened()
        path.open_datagrams(bytearray(data), step, {1: session(path, PEER, 1)}, path.flow_table(), 1.0, out)
        return {"drops": out.drops, "control": out.control, "packets": out.packets, "slow": out.slow}

    equal(measure)
