"""The whole engine between a hostile server and a hostile host: no thread fails, and nothing of a tunnel's app leaves
outside it."""

from collections.abc import Iterator

import pytest

from tests.fuzz import packets
from tests.fuzz.reader import Reader
from tests.support import worlds
from tests.support.traffic import IPV4, IPV6, address
from wiresock_py.datapath import Header, parse
from wiresock_py.filters import PacketFlag

CHROME_ONLY = f"{worlds.EVERYTHING}\nAllowedApps = chrome\nAllowInbound = 80, 443/tcp"
MOST = 12
"""Packets of a case."""
PORTS = 2048
"""Below it all are chrome's."""
_HEADERS = {4: 20, 6: 40}
_SYN_ACK = 0x12
_OWN = {*map(worlds.packed, worlds.HOST.values()), address(IPV4.second), address(IPV6.second)}
# what packets.py writes -> the same end here
_ADDRESSES = {
    address(ends.host): worlds.packed(worlds.HOST[ends.version]) for ends in (IPV4, IPV6)
} | {
    address(ends.tunnel): worlds.packed(worlds.TUNNEL[ends.version]) for ends in (IPV4, IPV6)
} | {
    address(ends.resolver): worlds.packed(worlds.DNS[ends.version]) for ends in (IPV4, IPV6)
}  # fmt: skip


def run(data: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        world = worlds.World(patch, worlds.config(CHROME_ONLY))
        for protocol in (1, 6, 17, 58):
            world.owners.own(worlds.CHROME, protocol, *range(PORTS))
        reader = Reader(data)
        count = 0
        while reader and count < MOST:
            inbound = reader.number() % 2 == 1
            flags = PacketFlag(reader.choose((0, 1, 8)))
            for packet in packets.burst(reader, inbound=inbound):
                count += 1
                for ours, theirs in _ADDRESSES.items():
                    packet = packet.replace(ours, theirs)
                if inbound:
                    _are_for_the_host(world.server_sends(packet))
                elif _is_sent(packet):
                    world.host_sends(packet, flags=flags)
        world.pass_time(1.0, 0.5)
        _are_for_the_host(world.delivered())
        for left in filter(world.backend._matcher.captures, world.outside()):
            header = parse(left)
            assert isinstance(header, Header), f"what left outside is no packet: {left.hex()}"
            assert header.protocol not in (6, 17) or header.source_port >= PORTS, f"chrome's packet left: {left.hex()}"
        assert not world.failures


def _is_sent(packet: bytes) -> bool:
    """Whether a stack sends such a packet at all, and not in answer to a connection from outside, which is let go."""
    header = parse(packet)
    if isinstance(header, Header):
        return header.tcp_flags & _SYN_ACK != _SYN_ACK
    return len(packet) >= _HEADERS.get(packet[0] >> 4 if packet else 0, 1 << 16)


def _are_for_the_host(delivered: list[bytes]) -> None:
    for packet in delivered:
        header = parse(packet)
        assert isinstance(header, Header), f"no packet: {packet.hex()}"
        assert header.length == len(packet)
        assert header.destination in _OWN, f"not for this host: {packet.hex()}"


def seeds() -> Iterator[bytes]:
    outbound = list(packets.seeds(inbound=False))
    inbound = list(packets.seeds(inbound=True))
    for out, back in zip(outbound, inbound, strict=True):
        yield b"\0\0" + out + b"\1\0" + back
