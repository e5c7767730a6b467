"""A host and its networks around the driver: stack, neighbours and routers in Ethernet frames.

The host's stack knows routes and resolves neighbours by ARP and NDP over the driver, as Windows does; the networks
answer. To the backend it is what Windows tells of the host (``filters.host.HostNetwork``); to tests it has the wires'
ends of the memory backend: packets go in and come out, frames are its own business.
"""

import ipaddress
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from tests.support.drivers import Driver, Plugged
from wiresock_py.filters.host import HostAdapter

BROADCAST = b"\xff" * 6
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
ICMPV6, SOLICITATION, ADVERTISEMENT = 58, 135, 136
ECHO_REQUEST = 128
POLL = 0.0005
_ARP = struct.Struct("!HHBBH6s4s6s4s")


@dataclass
class Network:
    """What lies beyond one adapter: a router at the first address of each of the host's subnets, and hosts."""

    interfaces: tuple[IPv4Interface | IPv6Interface, ...]
    """The host's addresses there."""
    default: bool
    """Whether the router leads to the rest of the world."""
    mac: bytes
    """The router's."""
    plugged: Plugged
    index: int
    neighbours: dict[bytes, bytes] = field(default_factory=dict)
    """What the host knows, by address."""
    arrived: deque[bytes] = field(default_factory=deque)
    """Packets that reached the host's stack."""
    left: deque[bytes] = field(default_factory=deque)
    """Packets that left the host."""
    asked: list[bytes] = field(default_factory=list)
    """Addresses that the host asked the network for."""

    def router(self, size: int) -> bytes:
        """Of one family; empty if there is none."""
        return next(
            (
                (interface.network.network_address + 1).packed
                for interface in self.interfaces
                if len(interface.ip.packed) == size
            ),
            b"",
        )

    def mac_of(self, address: bytes) -> bytes:
        """The MAC of a host there."""
        return self.mac if address in (self.router(4), self.router(16)) else b"\x02\x02" + address[-4:]

    def is_local(self, address: bytes) -> bool:
        return any(ip_address(address) in interface.network for interface in self.interfaces)


class EthernetHost:
    """A host with adapters on a system with the driver."""

    def __init__(self, driver: Driver, adapters: Mapping[str, tuple[str, ...]], default: tuple[str, ...]) -> None:
        """*adapters* are addresses with prefix lengths by adapter; *default* names those with a default route."""
        self.driver = driver
        self.turn = threading.RLock()
        """Held while frames are taken: host and network may be played by threads of their own."""
        self.networks: dict[str, Network] = {}
        self._followers: list[Callable[[], None]] = []
        self.local: deque[bytes] = deque()
        """Packets of the host to itself, which no driver sees."""
        for number, (name, addresses) in enumerate(adapters.items(), 2):
            self.networks[name] = Network(
                tuple(map(ipaddress.ip_interface, addresses)),
                name in default,
                b"\x02\x01\0\0\0" + bytes((number,)),
                driver.add_adapter(name),
                number,
            )

    # What Windows tells.

    def adapters(self) -> tuple[HostAdapter, ...]:
        return tuple(
            HostAdapter(
                network.index,
                network.plugged.name.rpartition("\\")[2].upper(),
                name,
                network.plugged.mtu,
                tuple(interface.ip.packed for interface in network.interfaces),
                tuple(filter(None, (network.router(4), network.router(16)))) if network.default else (),
            )
            for name, network in self.networks.items()
        )

    def next_hop_mac(self, adapter: int, destination: bytes) -> bytes | None:
        for network in self.networks.values():
            if network.index == adapter:
                hop = destination if network.is_local(destination) else network.router(len(destination))
                return self._resolve(network, hop)
        return None

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._followers.append(changed)
        return lambda: self._followers.remove(changed)

    def changed(self) -> None:
        """Windows tells that something changed."""
        for follower in list(self._followers):
            follower()

    # The wires' ends.

    def stack_sends(self, packet: bytes, adapter: str = "eth0", *, vlan: int = 0, tags: bytes = b"") -> None:
        """The stack sends a packet by *adapter*, behind *tags* in the frame or with one beside it."""
        network = self.networks[adapter]
        destination = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
        kind = IPV4 if packet[0] >> 4 == 4 else IPV6
        link = self._next_hop(network, destination) + network.plugged.mac + tags + kind.to_bytes(2, "big")
        network.plugged.stack_sends(link + packet, vlan=vlan)

    def network_sends(self, packet: bytes, adapter: str = "eth0") -> None:
        """A packet arrives from the router."""
        network = self.networks[adapter]
        kind = IPV4 if packet[0] >> 4 == 4 else IPV6
        network.plugged.network_sends(network.plugged.mac + network.mac + kind.to_bytes(2, "big") + packet)

    def network_received(self, adapter: str = "eth0", timeout: float = 0.0) -> list[bytes]:
        """Take the packets that left by *adapter*, waiting for the first; ARP and NDP are answered and left out."""
        network = self.networks[adapter]
        return self._take(network.left, lambda: self._serve_network(network), timeout)

    def stack_received(self, adapter: str = "eth0", timeout: float = 0.0) -> list[bytes]:
        """Take the packets that arrived at the stack by *adapter*, waiting for the first."""
        network = self.networks[adapter]
        return self._take(network.arrived, lambda: self._serve_stack(network), timeout)

    def _take(self, packets: deque[bytes], serve: Callable[[], None], timeout: float) -> list[bytes]:
        until = time.monotonic() + timeout
        while True:
            with self.turn:
                serve()
                if packets or time.monotonic() >= until:
                    return [packets.popleft() for _ in range(len(packets))]
            time.sleep(POLL)

    # Stack and network.

    def _next_hop(self, network: Network, destination: bytes) -> bytes:
        if len(destination) == 16 and destination[0] == 0xFF:
            return b"\x33\x33" + destination[-4:]
        if len(destination) == 4 and destination[0] >> 4 == 14:
            return b"\x01\0\x5e" + bytes((destination[1] & 0x7F,)) + destination[2:]
        broadcasts = [i.network.broadcast_address.packed for i in network.interfaces if i.version == 4]
        if destination in (b"\xff" * 4, *broadcasts):
            return BROADCAST
        hop = destination
        if not network.is_local(destination) and (router := network.router(len(destination))):
            hop = router
        mac = self._resolve(network, hop)
        assert mac is not None, f"{ip_address(hop)} is not resolved: its answer did not come back"
        return mac

    def _resolve(self, network: Network, address: bytes) -> bytes | None:
        """As the neighbour cache: ask once, over the driver."""
        with self.turn:
            if address not in network.neighbours:
                network.plugged.stack_sends(_question(network, address))
                self._serve_network(network)
                self._serve_stack(network)
            return network.neighbours.get(address)

    def _serve_network(self, network: Network) -> None:
        for frame in network.plugged.network_received():
            kind = int.from_bytes(frame[12:14], "big")
            if kind in (0x8100, 0x88A8):
                frame = frame[:12] + frame[16:]
                kind = int.from_bytes(frame[12:14], "big")
            packet = frame[14:]
            if kind == ARP:
                *_, operation, asker_mac, asker, _mac, wanted = _ARP.unpack(packet[:28])
                assert operation == 1
                network.asked.append(wanted)
                answer = _ARP.pack(1, IPV4, 6, 4, 2, network.mac_of(wanted), wanted, asker_mac, asker)
                network.plugged.network_sends(asker_mac + network.mac_of(wanted) + b"\x08\x06" + answer)
            elif kind == IPV6 and packet[6] == ICMPV6 and packet[40] == SOLICITATION:
                wanted = packet[48:64]
                network.asked.append(wanted)
                network.plugged.network_sends(
                    frame[6:12] + network.mac_of(wanted) + frame[12:14] + _advertisement(network, packet, wanted)
                )
            elif kind in (IPV4, IPV6):
                assert frame[6:12] == network.plugged.mac, "a frame left under a foreign address"
                network.left.append(packet)

    def _serve_stack(self, network: Network) -> None:
        for frame in network.plugged.stack_received():
            kind, packet = int.from_bytes(frame[12:14], "big"), frame[14:]
            if kind in (0x8100, 0x88A8):
                kind, packet = int.from_bytes(frame[16:18], "big"), frame[18:]
            assert frame[:6] == network.plugged.mac, "no stack takes a frame for another machine"
            if kind == ARP:
                *_, mac, address, _own_mac, _own = _ARP.unpack(packet[:28])
                network.neighbours[address] = mac
            elif kind == IPV6 and packet[6] == ICMPV6 and packet[40] == ADVERTISEMENT:
                network.neighbours[packet[48:64]] = packet[66:72]
            elif kind in (IPV4, IPV6):
                network.arrived.append(packet)


def _question(network: Network, address: bytes) -> bytes:
    """Who has *address*?"""
    own = next(i.ip.packed for i in network.interfaces if len(i.ip.packed) == len(address))
    if len(address) == 4:
        body = _ARP.pack(1, IPV4, 6, 4, 1, network.plugged.mac, own, bytes(6), address)
        return BROADCAST + network.plugged.mac + b"\x08\x06" + body
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:0")[:13] + address[-3:]
    message = bytes((SOLICITATION, 0)) + bytes(6) + address + b"\x01\x01" + network.plugged.mac
    return b"\x33\x33" + group[-4:] + network.plugged.mac + b"\x86\xdd" + _icmpv6(own, group, message)


def _advertisement(network: Network, question: bytes, address: bytes) -> bytes:
    message = bytes((ADVERTISEMENT, 0)) + bytes(2) + b"\x60\0\0\0" + address + b"\x02\x01" + network.mac_of(address)
    return _icmpv6(address, question[8:24], message)


def _icmpv6(source: bytes, destination: bytes, message: bytes) -> bytes:
    total = sum(struct.unpack(f"!{(len(source) + len(destination)) // 2}H", source + destination))
    total += ICMPV6 + len(message) + sum(struct.unpack(f"!{len(message) // 2}H", message))
    message = message[:2] + (-total % 65535).to_bytes(2, "big") + message[4:]
    return struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, 255) + source + destination + message
