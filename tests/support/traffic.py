"""Packets, batches and session pairs for tests of the data path, and scapy as the second opinion on every checksum."""

import ipaddress
import json
import socket
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from tests.support.datapaths import classify, current, datagram_buffer, open_datagrams, seal
from wiresock_py.crypto.session import Session
from wiresock_py.datapath import Classified, DatagramBuffer, Flow, FlowTable, Opened
from wiresock_py.filters.base import MAX_PACKET, PacketBatch, PacketFlag, Verdict
from wiresock_py.flow import FiveTuple, Route

VECTORS = Path(__file__).parents[1] / "vectors" / "wireguard-vectors.json"
MTU = 1420


class NamedPeer:
    """Stands for a tunnel: the data path only asks whether it is the same one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


PEER: Any = NamedPeer("peer")
OTHER_PEER: Any = NamedPeer("other peer")


@cache
def vectors(section: str) -> Any:
    """A section of the vector file."""
    return json.loads(VECTORS.read_text())[section]


def address(text: str) -> bytes:
    """A packed address."""
    return ipaddress.ip_address(text).packed


class Ends:
    """One family's addresses: the host's own, the tunnel's, a second of the host's, the server and the resolvers."""

    def __init__(self, host: str, tunnel: str, second: str, server: str, resolver: str, redirected: str) -> None:
        self.host, self.tunnel, self.second, self.server = host, tunnel, second, server
        self.resolver, self.redirected = resolver, redirected
        self.version = ipaddress.ip_address(host).version

    def ip(
        self, source: str | None = None, destination: str | None = None, protocol: int | None = None, **fields: Any
    ) -> Packet:
        """A scapy IP header, outbound unless told otherwise; the payload says the protocol if nobody else does."""
        layer = IP if self.version == 4 else IPv6
        if protocol is not None:
            fields["proto" if self.version == 4 else "nh"] = protocol
        return layer(src=source or self.host, dst=destination or self.server, **fields)

    @property
    def icmp(self) -> int:
        return socket.IPPROTO_ICMP if self.version == 4 else socket.IPPROTO_ICMPV6

    def key(self, protocol: int, port: int = 40000, remote_port: int = 443, *, local: str | None = None) -> FiveTuple:
        """A five-tuple from the host to the server."""
        return FiveTuple(protocol, address(local or self.host), port, address(self.server), remote_port)


IPV4 = Ends("192.168.1.5", "10.66.66.2", "192.168.7.5", "93.184.216.34", "8.8.8.8", "94.140.14.14")
IPV6 = Ends("2001:db8:1::5", "fd42:42:42::2", "2001:db8:7::5", "2606:2800:220:1::34", "2001:4860::88", "2a10::1")


def tunnelled(flows: FlowTable, ends: Ends, protocol: int, *, peer: Any = PEER, **key: Any) -> Flow:
    """A flow of the host to the server that goes through the tunnel."""
    return flows.add(ends.key(protocol, **key), Route.TUNNEL, 0.0, peer=peer, local=address(ends.tunnel))


def batch_of(packets: Iterable[bytes], flags: int = PacketFlag.NONE) -> PacketBatch:
    """The packets as a backend shows them."""
    return flagged_batch([(packet, flags) for packet in packets])


def flagged_batch(packets: Sequence[tuple[bytes, int]]) -> PacketBatch:
    """Packets with flags of their own, with a few stray bytes between them as in a backend's buffer."""
    buffer = bytearray(b"\xee" * 3)
    batch = PacketBatch(memoryview(b""))
    for number, (packet, flags) in enumerate(packets):
        batch.offset.append(len(buffer))
        batch.length.append(len(packet))
        batch.flags.append(int(flags))
        batch.adapter.append(2)
        batch.token.append(number)
        batch.verdict.append(int(Verdict.DROP))
        buffer += packet + b"\xee" * 5
    batch.data = memoryview(buffer)
    return batch


def session_pair(peer: Any = PEER, *, near_index: int = 1, far_index: int = 2) -> tuple[Session, Session]:
    """Both ends of a session; each opens what the other seals."""
    keys = bytes(range(32)), bytes(range(32, 64))
    near = Session(
        peer, local_index=near_index, remote_index=far_index,
        sending_key=keys[0], receiving_key=keys[1], initiator=True, created=0.0, ciphers=current().ciphers,
    )  # fmt: skip
    far = Session(
        peer, local_index=far_index, remote_index=near_index,
        sending_key=keys[1], receiving_key=keys[0], initiator=False, created=0.0, ciphers=current().ciphers,
    )  # fmt: skip
    return near, far


def seal_all(
    packets: Iterable[bytes],
    flows: FlowTable,
    session: Session,
    *,
    flags: int = PacketFlag.NONE,
    mtu: int = MTU,
    now: float = 1.0,
) -> tuple[DatagramBuffer, list[int], Classified]:
    """Classify and seal *packets*; returns the datagrams, the oversized indices and what classify found."""
    batch = batch_of(packets, flags)
    classified, out = Classified(), datagram_buffer(256)
    classify(batch, flows, now, classified)
    oversized = []
    for indices in classified.tunnel.values():
        oversized += seal(batch, indices, classified.flow, flows, session, mtu, now, out)
    return out, oversized, classified


def datagrams(out: DatagramBuffer) -> list[bytes]:
    """The datagrams of all runs, one by one."""
    return [
        bytes(out.view[at : min(at + segment, end)])
        for start, end, segment in out.runs
        for at in range(start, end, segment)
    ]


def unseal(out: DatagramBuffer, session: Session) -> list[bytes]:
    """The plain texts, padding included, as the far end's own session opens them."""
    plain = []
    for datagram in datagrams(out):
        buffer = bytearray(len(datagram) - 32)
        size = session.open_into(datagram, buffer)
        assert isinstance(size, int), size
        plain.append(bytes(buffer[:size]))
    return plain


def inner_packets(out: DatagramBuffer, session: Session) -> list[bytes]:
    """The inner packets without their padding."""
    return [trimmed(plain) for plain in unseal(out, session)]


def trimmed(plain: bytes) -> bytes:
    """A plain text without its padding, which is checked to be zero."""
    size = int.from_bytes(plain[2:4], "big") if plain[0] >> 4 == 4 else 40 + int.from_bytes(plain[4:6], "big")
    assert not any(plain[size:])
    return plain[:size]


def open_all(
    plaintexts: Iterable[bytes],
    flows: FlowTable,
    *,
    peer: Any = PEER,
    now: float = 1.0,
    segment: int | None = None,
    largest: int = MAX_PACKET,
) -> Opened:
    """Open what a peer sealed out of *plaintexts*, each as a datagram of its own, or all in one buffer.

    TCP is merged up to *largest* bytes.
    """
    near, far = session_pair(peer)
    sealed = []
    for plain in plaintexts:
        buffer = bytearray(len(plain) + 32)
        far.seal_into(plain, buffer)
        sealed.append(buffer)
    opened = Opened()
    opened.largest = largest
    if segment is None:
        for datagram in sealed:
            open_datagrams(datagram, 0, {1: near}, flows, now, opened)
    else:
        open_datagrams(bytearray().join(sealed), segment + 32, {1: near}, flows, now, opened)
    return opened


def joined(opened: Opened) -> list[bytes]:
    """The packets for the stack in one piece each."""
    return [b"".join(pieces) for pieces in opened.packets]


def dissect(packet: bytes) -> Packet:
    """The packet as scapy reads it."""
    return (IPv6 if packet[0] >> 4 == 6 else IP)(packet)


def assert_sound(packet: bytes) -> Packet:
    """Every checksum and length of a whole packet is what scapy computes; returns it dissected."""
    read = dissect(packet)
    again = dissect(packet)
    layer = again
    while layer and not isinstance(layer, Raw):
        for field in ("chksum", "cksum", "len", "plen"):
            if field in layer.fields and not (isinstance(layer, UDP) and field == "chksum" and layer.chksum == 0):
                delattr(layer, field)
        layer = layer.payload
    assert bytes(again) == packet, f"{read.summary()}: expected {bytes(again).hex()}, got {packet.hex()}"
    return read


def partial(packet: bytes) -> bytes:
    """*packet* with the pseudo-header's sum in place of its TCP or UDP checksum, as offload leaves it."""
    read = dissect(packet)
    ipv6 = read.version == 6
    start = 40 if ipv6 else 20
    addresses = packet[8:40] if ipv6 else packet[12:20]
    protocol = packet[6] if ipv6 else packet[9]
    total = slow_sum(addresses) + protocol + len(packet) - start
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    place = start + (16 if protocol == socket.IPPROTO_TCP else 6)
    return packet[:place] + total.to_bytes(2, "big") + packet[place + 2 :]


def slow_sum(data: bytes) -> int:
    """The ones-complement sum as RFC 1071 writes it down, word by word."""
    data += bytes(len(data) % 2)
    total = 0
    for at in range(0, len(data), 2):
        total += (data[at] << 8) | data[at + 1]
        total = (total & 0xFFFF) + (total >> 16)
    return total
