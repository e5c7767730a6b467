"""Hostile IP packets out of a fuzzer's bytes: near enough to the flows of ``support/differential.py`` to meet them."""

import socket
from collections.abc import Iterator
from typing import Any

from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6TimeExceeded, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Packet

from tests.fuzz.reader import Reader, block
from tests.support.traffic import IPV4, IPV6, Ends, address
from wiresock_py.datapath.ip import build

MOST = 4
"""Packets of a burst."""
_SIZES = (0, 0, 0, 1, 536, 1368, 9000, 60_000)
_PROTOCOLS = (6, 6, 6, 17, 17, 1, 58, 136, 44, 0, 60, 43, 51)
_RAW, _OTHER = 0, 0xFF
"""Kinds: bytes as they are; a protocol that the bytes name."""


def burst(reader: Reader, *, inbound: bool) -> Iterator[bytes]:
    """Packets that follow each other in one stream, each with its headers' lengths right unless damaged afterwards."""
    kind = reader.number()
    if kind == _RAW:
        yield reader.block()
        return
    ends = IPV6 if kind & 1 else IPV4
    protocol = reader.number() if kind == _OTHER else _PROTOCOLS[(kind >> 1) % len(_PROTOCOLS)]
    local, remote = _ends(ends, reader.number(), inbound=inbound)
    source, destination = (remote, local) if inbound else (local, remote)
    count = 1 + reader.number() % MOST
    damages = [(reader.number(2), reader.number()) for _ in range(reader.number() % 4)]
    lost = reader.choose((0, 0, 0, 1, 8, 20))
    body = bytearray(reader.block())
    body += bytes(reader.choose(_SIZES))
    header = (body[12] >> 4) * 4 if len(body) > 12 else 0
    for _ in range(count):
        packet = bytearray(build(source, destination, protocol, body))
        for place, change in damages:
            packet[place % len(packet)] ^= change
        yield bytes(packet[: len(packet) - lost])
        if protocol == socket.IPPROTO_TCP and len(body) >= 20:  # the next segment of the stream
            sequence = int.from_bytes(body[4:8], "big") + max(0, len(body) - header)
            body[4:8] = (sequence & 0xFFFF_FFFF).to_bytes(4, "big")


def _ends(ends: Ends, choice: int, *, inbound: bool) -> tuple[bytes, bytes]:
    """This end's address and the far one, most often those of flows."""
    near = (ends.tunnel, ends.tunnel, ends.host, ends.second) if inbound else (ends.host, ends.host, ends.second)
    far = (ends.server, ends.server, ends.server, ends.resolver)
    return address(near[choice % len(near)]), address(far[(choice >> 4) % len(far)])


def seeds(*, inbound: bool) -> Iterator[bytes]:
    """What ``burst`` makes packets of every kind of."""
    for odd, ends in enumerate((IPV4, IPV6)):
        ports: dict[str, Any] = {"sport": 443, "dport": 1000} if inbound else {"sport": 1000, "dport": 443}
        echo = ICMP(id=7, type=0 if inbound else 8) if ends is IPV4 else ICMPv6EchoRequest(id=7, type=129 - inbound)
        errors = [
            (ICMP(type=11) if ends is IPV4 else ICMPv6TimeExceeded())
            / about.ip(about.tunnel, about.server)
            / UDP(sport=1000, dport=443)
            / b"sent"
            for about in (IPV4, IPV6)
        ]
        layers: list[tuple[int, Packet]] = [
            (6, TCP(flags="A", seq=1, ack=9, **ports) / b"segment"),
            (6, TCP(flags="S", seq=1, options=[("MSS", 1460), ("NOP", None), ("WScale", 7)], **ports)),
            (17, UDP(**ports) / b"datagram"),
            (ends.icmp, echo),
            *((ends.icmp, error) for error in errors),
        ]
        if ends is IPV6:
            layers += [
                (60, IPv6ExtHdrDestOpt(nh=17) / UDP(**ports) / b"behind options"),
                (44, IPv6ExtHdrFragment(nh=17, m=1, id=5) / UDP(len=900, **ports) / bytes(16)),
            ]
        for protocol, layer in layers:
            whole = bytes(ends.ip(protocol=protocol) / layer)
            kind = (_PROTOCOLS.index(protocol) << 1) | odd or len(_PROTOCOLS) << 1
            for count in (0, 3):
                yield bytes((kind, 0, count, 0, 0)) + block(whole[40 if odd else 20 :]) + b"\0"
            yield bytes((_RAW,)) + block(whole)
