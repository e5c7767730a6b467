"""Static filters: rules that the driver itself applies, so that other traffic never leaves the kernel.

The first filter that matches decides; what none matches follows the adapter's mode. They count only on adapters that
have a mode. A filter matches a packet if everything given matches; what is not given matches anything.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

from wiresock_py.filters.ndisapi.adapters import Direction
from wiresock_py.filters.ndisapi.raw import constants as c
from wiresock_py.filters.ndisapi.raw.structures import (
    BYTE_RANGE,
    ETH_802_3_FILTER,
    ETHER_ADDR,
    IP_ADDRESS_V4,
    IP_ADDRESS_V6,
    PORT_RANGE,
    STATIC_FILTER,
)


class Action(IntEnum):
    """What becomes of a packet that a filter matches."""

    PASS = c.FILTER_PACKET_PASS
    DROP = c.FILTER_PACKET_DROP
    REDIRECT = c.FILTER_PACKET_REDIRECT
    """Queued for us instead of going on."""
    PASS_AND_COPY = c.FILTER_PACKET_PASS_RDR
    DROP_AND_COPY = c.FILTER_PACKET_DROP_RDR


class AddressRange(NamedTuple):
    """From *first* to *last*, both included."""

    first: IPv4Address | IPv6Address
    last: IPv4Address | IPv6Address


class Span(NamedTuple):
    """A range of ports, ICMP types or codes, both ends included."""

    first: int
    last: int


class FilterStatistics(NamedTuple):
    """What the driver counted; *since* in seconds from 1 January 1980."""

    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0
    since: int = 0


Addresses = IPv4Network | IPv6Network | AddressRange


@dataclass(frozen=True, slots=True)
class StaticFilter:
    """One rule. Raises ValueError for what no packet can match or the driver cannot express."""

    action: Action
    _: KW_ONLY
    direction: Direction = Direction.BOTH
    adapter: int = 0
    """An adapter's handle; 0 for every adapter."""
    source_mac: bytes | None = None
    destination_mac: bytes | None = None
    ethertype: int | None = None
    version: int = 0
    """Of IP, 4 or 6; follows from the addresses if there are some. 0: any packet, also none of IP."""
    source: Addresses | None = None
    destination: Addresses | None = None
    protocol: int | None = None
    """IPv4 protocol or IPv6 next header; needs the version."""
    source_ports: Span | None = None
    destination_ports: Span | None = None
    tcp_flags: int | None = None
    """Whether the driver wants just these flags or at least these is not documented."""
    icmp_types: Span | None = None
    icmp_codes: Span | None = None
    statistics: FilterStatistics = field(default=FilterStatistics(), compare=False)
    """Filled by ``NdisApi.filters``; what is given here is not sent to the driver."""

    def __post_init__(self) -> None:
        versions = {_version(addresses) for addresses in (self.source, self.destination) if addresses is not None}
        if self.version:
            versions.add(self.version)
        if len(versions) > 1 or not versions <= {4, 6}:
            raise ValueError(f"a filter is for IPv4 or IPv6, not for versions {sorted(versions)}")
        if versions:
            object.__setattr__(self, "version", versions.pop())
        if self.protocol is not None and not self.version:
            raise ValueError("a filter for a protocol needs the IP version")
        ports = self.source_ports, self.destination_ports, self.tcp_flags
        if any(part is not None for part in ports) and (self.icmp_types or self.icmp_codes):
            raise ValueError("a filter is for TCP and UDP, or for ICMP, not for both")
        self._check_ranges()

    def _check_ranges(self) -> None:
        for mac in (self.source_mac, self.destination_mac):
            if mac is not None and len(mac) != c.ETHER_ADDR_LENGTH:
                raise ValueError(f"a MAC address has {c.ETHER_ADDR_LENGTH} bytes, not {len(mac)}")
        for name, number, limit in (
            ("EtherType", self.ethertype, 0xFFFF),
            ("protocol", self.protocol, 0xFF),
            ("set of TCP flags", self.tcp_flags, 0xFF),
        ):
            if number is not None and not 0 <= number <= limit:
                raise ValueError(f"there is no {name} {number}")
        for span, limit in (
            (self.source_ports, 0xFFFF),
            (self.destination_ports, 0xFFFF),
            (self.icmp_types, 0xFF),
            (self.icmp_codes, 0xFF),
        ):
            if span is not None and not 0 <= span.first <= span.last <= limit:
                raise ValueError(f"the range {span.first} to {span.last} is not within 0 to {limit}")
        for addresses in (self.source, self.destination):
            if isinstance(addresses, AddressRange) and not int(addresses.first) <= int(addresses.last):
                raise ValueError(f"the range {addresses.first} to {addresses.last} is empty")

    def with_adapter(self, handle: int) -> "StaticFilter":
        """The same filter for one adapter, or after its handle changed."""
        return replace(self, adapter=handle)


def pack(rule: StaticFilter) -> STATIC_FILTER:
    """The driver's form of a filter, counters at 0."""
    raw = STATIC_FILTER(m_Adapter=rule.adapter, m_dwDirectionFlags=int(rule.direction), m_FilterAction=int(rule.action))
    if any(part is not None for part in (rule.source_mac, rule.destination_mac, rule.ethertype)):
        raw.m_ValidFields |= c.DATA_LINK_LAYER_VALID
        raw.m_DataLinkFilter.m_dwUnionSelector = c.ETH_802_3
        _pack_link(rule, raw.m_DataLinkFilter.m_Eth8023Filter)
    if rule.version:
        raw.m_ValidFields |= c.NETWORK_LAYER_VALID
        raw.m_NetworkFilter.m_dwUnionSelector = c.IPV4 if rule.version == 4 else c.IPV6
        _pack_network(rule, raw.m_NetworkFilter.m_IPv4 if rule.version == 4 else raw.m_NetworkFilter.m_IPv6)
    if any(part is not None for part in (rule.source_ports, rule.destination_ports, rule.tcp_flags)):
        raw.m_ValidFields |= c.TRANSPORT_LAYER_VALID
        raw.m_TransportFilter.m_dwUnionSelector = c.TCPUDP
        _pack_ports(rule, raw.m_TransportFilter.m_TcpUdp)
    elif rule.icmp_types is not None or rule.icmp_codes is not None:
        raw.m_ValidFields |= c.TRANSPORT_LAYER_VALID
        raw.m_TransportFilter.m_dwUnionSelector = c.ICMP
        _pack_icmp(rule, raw.m_TransportFilter.m_Icmp)
    return raw


@lru_cache(maxsize=8192)
def packed(rule: StaticFilter) -> bytes:
    """The bytes of ``pack``; remembered, because a table is written far more often than its filters change."""
    return bytes(pack(rule))


def unpack(raw: STATIC_FILTER) -> StaticFilter:
    """A filter of the driver's, also one that another program made. Raises ValueError for one that is not sound."""
    parts: dict[str, Any] = {}
    valid = raw.m_ValidFields
    if valid & c.DATA_LINK_LAYER_VALID:
        parts |= _unpack_link(raw.m_DataLinkFilter.m_Eth8023Filter)
    if valid & c.NETWORK_LAYER_VALID:
        v4 = raw.m_NetworkFilter.m_dwUnionSelector == c.IPV4
        part = raw.m_NetworkFilter.m_IPv4 if v4 else raw.m_NetworkFilter.m_IPv6
        parts |= _unpack_network(part, 4 if v4 else 6)
    if valid & c.TRANSPORT_LAYER_VALID:
        transport = raw.m_TransportFilter
        found = (
            _unpack_ports(transport.m_TcpUdp)
            if transport.m_dwUnionSelector == c.TCPUDP
            else _unpack_icmp(transport.m_Icmp)
        )
        if not any(part is not None for part in found.values()):
            raise ValueError("the filter tests the transport layer, but nothing in it")
        parts |= found
    return StaticFilter(
        Action(raw.m_FilterAction),
        direction=Direction(raw.m_dwDirectionFlags),
        adapter=raw.m_Adapter,
        statistics=FilterStatistics(raw.m_PacketsIn, raw.m_BytesIn, raw.m_PacketsOut, raw.m_BytesOut, raw.m_LastReset),
        **parts,
    )


def _version(addresses: Addresses) -> int:
    if isinstance(addresses, AddressRange):
        if addresses.first.version != addresses.last.version:
            raise ValueError(f"the range {addresses.first} to {addresses.last} mixes IPv4 and IPv6")
        return addresses.first.version
    return addresses.version


def _pack_link(rule: StaticFilter, link: ETH_802_3_FILTER) -> None:
    if rule.source_mac is not None:
        link.m_ValidFields |= c.ETH_802_3_SRC_ADDRESS
        link.m_SrcAddress = ETHER_ADDR(*rule.source_mac)
    if rule.destination_mac is not None:
        link.m_ValidFields |= c.ETH_802_3_DEST_ADDRESS
        link.m_DestAddress = ETHER_ADDR(*rule.destination_mac)
    if rule.ethertype is not None:
        link.m_ValidFields |= c.ETH_802_3_PROTOCOL
        link.m_Protocol = rule.ethertype


def _unpack_link(link: ETH_802_3_FILTER) -> dict[str, Any]:
    valid = link.m_ValidFields
    return {
        "source_mac": bytes(link.m_SrcAddress) if valid & c.ETH_802_3_SRC_ADDRESS else None,
        "destination_mac": bytes(link.m_DestAddress) if valid & c.ETH_802_3_DEST_ADDRESS else None,
        "ethertype": link.m_Protocol if valid & c.ETH_802_3_PROTOCOL else None,
    }


# The flags of both families have the same values: 1 source, 2 destination, 4 protocol.


def _pack_network(rule: StaticFilter, network: Any) -> None:
    if rule.source is not None:
        network.m_ValidFields |= c.IP_V4_FILTER_SRC_ADDRESS
        _pack_addresses(rule.source, network.m_SrcAddress)
    if rule.destination is not None:
        network.m_ValidFields |= c.IP_V4_FILTER_DEST_ADDRESS
        _pack_addresses(rule.destination, network.m_DestAddress)
    if rule.protocol is not None:
        network.m_ValidFields |= c.IP_V4_FILTER_PROTOCOL
        network.m_Protocol = rule.protocol


def _unpack_network(network: Any, version: int) -> dict[str, Any]:
    valid = network.m_ValidFields
    return {
        "version": version,
        "source": _unpack_addresses(network.m_SrcAddress) if valid & c.IP_V4_FILTER_SRC_ADDRESS else None,
        "destination": _unpack_addresses(network.m_DestAddress) if valid & c.IP_V4_FILTER_DEST_ADDRESS else None,
        "protocol": network.m_Protocol if valid & c.IP_V4_FILTER_PROTOCOL else None,
    }


def _pack_addresses(addresses: Addresses, raw: IP_ADDRESS_V4 | IP_ADDRESS_V6) -> None:
    if isinstance(addresses, AddressRange):
        raw.m_AddressType = c.IP_RANGE_V4_TYPE
        pair = addresses.first.packed, addresses.last.packed
    else:
        raw.m_AddressType = c.IP_SUBNET_V4_TYPE
        pair = addresses.network_address.packed, addresses.netmask.packed
    if isinstance(raw, IP_ADDRESS_V4):
        # both members of the union are two words that hold the addresses' bytes as they are on the wire
        raw.m_IpSubnet.m_Ip, raw.m_IpSubnet.m_IpMask = (int.from_bytes(part, "little") for part in pair)
    else:
        raw.m_IpSubnet.m_Ip[:], raw.m_IpSubnet.m_IpMask[:] = pair


def _unpack_addresses(raw: IP_ADDRESS_V4 | IP_ADDRESS_V6) -> Addresses:
    read: Callable[[Any], bytes] = (
        (lambda word: word.to_bytes(4, "little")) if isinstance(raw, IP_ADDRESS_V4) else bytes
    )
    first, second = read(raw.m_IpSubnet.m_Ip), read(raw.m_IpSubnet.m_IpMask)
    if raw.m_AddressType == c.IP_RANGE_V4_TYPE:
        return AddressRange(ip_address(first), ip_address(second))
    prefix = int.from_bytes(second, "big").bit_count()
    found = ip_network((first, prefix), strict=False)
    if found.netmask.packed != second:
        raise ValueError(f"the mask {ip_address(second)} has holes: it is no prefix")
    return found


def _pack_ports(rule: StaticFilter, ports: Any) -> None:
    if rule.source_ports is not None:
        ports.m_ValidFields |= c.TCPUDP_SRC_PORT
        ports.m_SourcePort = PORT_RANGE(*rule.source_ports)
    if rule.destination_ports is not None:
        ports.m_ValidFields |= c.TCPUDP_DEST_PORT
        ports.m_DestPort = PORT_RANGE(*rule.destination_ports)
    if rule.tcp_flags is not None:
        ports.m_ValidFields |= c.TCPUDP_TCP_FLAGS
        ports.m_TCPFlags = rule.tcp_flags


def _unpack_ports(ports: Any) -> dict[str, Any]:
    valid = ports.m_ValidFields
    return {
        "source_ports": _span(ports.m_SourcePort) if valid & c.TCPUDP_SRC_PORT else None,
        "destination_ports": _span(ports.m_DestPort) if valid & c.TCPUDP_DEST_PORT else None,
        "tcp_flags": ports.m_TCPFlags if valid & c.TCPUDP_TCP_FLAGS else None,
    }


def _pack_icmp(rule: StaticFilter, icmp: Any) -> None:
    if rule.icmp_types is not None:
        icmp.m_ValidFields |= c.ICMP_TYPE
        icmp.m_TypeRange = BYTE_RANGE(*rule.icmp_types)
    if rule.icmp_codes is not None:
        icmp.m_ValidFields |= c.ICMP_CODE
        icmp.m_CodeRange = BYTE_RANGE(*rule.icmp_codes)


def _unpack_icmp(icmp: Any) -> dict[str, Any]:
    valid = icmp.m_ValidFields
    return {
        "icmp_types": _span(icmp.m_TypeRange) if valid & c.ICMP_TYPE else None,
        "icmp_codes": _span(icmp.m_CodeRange) if valid & c.ICMP_CODE else None,
    }


def _span(raw: PORT_RANGE | BYTE_RANGE) -> Span:
    return Span(raw.m_StartRange, raw.m_EndRange)
