"""Whether a static filter matches a frame, on the driver's own structures.

Fields are tested as the vendor's headers and programs read; where those are silent: TCP flags must be equal, IPv6
extension headers are not followed, and a frame with an 802.1Q tag in it is no IP packet.
"""

import struct
from typing import Any, NamedTuple

from wiresock_py.filters.ndisapi.raw import constants as c
from wiresock_py.filters.ndisapi.raw.structures import STATIC_FILTER

ETHERTYPE_IPV4, ETHERTYPE_IPV6 = 0x0800, 0x86DD
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
_PORTS = struct.Struct("!HH").unpack_from


class Frame(NamedTuple):
    """A frame taken apart; what it does not have is empty, 0 or -1."""

    destination_mac: bytes
    source_mac: bytes
    ethertype: int
    version: int = 0
    source: bytes = b""
    destination: bytes = b""
    protocol: int = -1
    transport: bytes = b""
    """Up to 14 bytes of the transport header; empty in later fragments."""
    fragment: tuple[bytes, bytes, int, int] | None = None
    """What all fragments of a datagram share, for IPv4 fragments."""
    first_fragment: bool = True


def dissect(frame: bytes) -> Frame:
    """Never raises: what is cut off is missing."""
    ethertype = int.from_bytes(frame[12:14], "big") if len(frame) >= 14 else -1
    link = frame[0:6], frame[6:12], ethertype
    if ethertype == ETHERTYPE_IPV4 and len(frame) >= 34 and frame[14] >> 4 == 4:
        source, destination, protocol = frame[26:30], frame[30:34], frame[23]
        word = int.from_bytes(frame[20:22], "big")  # flags and offset: 0x2000 is "more fragments"
        start = 14 + (frame[14] & 15) * 4
        fragment = None
        if word & 0x3FFF:
            fragment = source, destination, protocol, int.from_bytes(frame[18:20], "big")
        first = not word & 0x1FFF
        transport = frame[start : start + 14] if first else b""
        return Frame(*link, 4, source, destination, protocol, transport, fragment, first)
    if ethertype == ETHERTYPE_IPV6 and len(frame) >= 54 and frame[14] >> 4 == 6:
        return Frame(*link, 6, frame[22:38], frame[38:54], frame[20], frame[54:68])
    return Frame(*link)


def matches(rule: STATIC_FILTER, frame: Frame, direction: int, adapter: int) -> bool:
    """Whether *rule* is for this frame, going in *direction* through the adapter with that handle."""
    if rule.m_Adapter not in (0, adapter) or not rule.m_dwDirectionFlags & direction:
        return False
    valid = rule.m_ValidFields
    return (
        (not valid & c.DATA_LINK_LAYER_VALID or _link(rule.m_DataLinkFilter, frame))
        and (not valid & c.NETWORK_LAYER_VALID or _network(rule.m_NetworkFilter, frame))
        and (not valid & c.TRANSPORT_LAYER_VALID or _transport(rule.m_TransportFilter, frame))
    )


def _link(layer: Any, frame: Frame) -> bool:
    part = layer.m_Eth8023Filter
    valid = part.m_ValidFields
    return (
        layer.m_dwUnionSelector == c.ETH_802_3
        and (not valid & c.ETH_802_3_SRC_ADDRESS or bytes(part.m_SrcAddress) == frame.source_mac)
        and (not valid & c.ETH_802_3_DEST_ADDRESS or bytes(part.m_DestAddress) == frame.destination_mac)
        and (not valid & c.ETH_802_3_PROTOCOL or part.m_Protocol == frame.ethertype)
    )


def _network(layer: Any, frame: Frame) -> bool:
    if layer.m_dwUnionSelector == c.IPV4:
        part, version = layer.m_IPv4, 4
    elif layer.m_dwUnionSelector == c.IPV6:
        part, version = layer.m_IPv6, 6
    else:
        return False
    valid = part.m_ValidFields
    return (
        frame.version == version
        and (not valid & c.IP_V4_FILTER_SRC_ADDRESS or _address(part.m_SrcAddress, frame.source))
        and (not valid & c.IP_V4_FILTER_DEST_ADDRESS or _address(part.m_DestAddress, frame.destination))
        and (not valid & c.IP_V4_FILTER_PROTOCOL or part.m_Protocol == frame.protocol)
    )


def _address(wanted: Any, address: bytes) -> bool:
    raw = bytes(wanted)[4:]  # behind the type: two addresses as they are on the wire
    first, second = raw[: len(address)], raw[len(address) : 2 * len(address)]
    if wanted.m_AddressType == c.IP_RANGE_V4_TYPE:
        return first <= address <= second
    mask = int.from_bytes(second, "big")
    return int.from_bytes(address, "big") & mask == int.from_bytes(first, "big") & mask


def _transport(layer: Any, frame: Frame) -> bool:
    if layer.m_dwUnionSelector == c.TCPUDP:
        return _ports(layer.m_TcpUdp, frame)
    return layer.m_dwUnionSelector == c.ICMP and _icmp(layer.m_Icmp, frame)


def _ports(part: Any, frame: Frame) -> bool:
    if frame.protocol not in (TCP, UDP) or len(frame.transport) < 4:
        return False
    source, destination = _PORTS(frame.transport)
    valid = part.m_ValidFields
    flags = frame.transport[13] if frame.protocol == TCP and len(frame.transport) == 14 else -1
    return (
        (not valid & c.TCPUDP_SRC_PORT or _within(part.m_SourcePort, source))
        and (not valid & c.TCPUDP_DEST_PORT or _within(part.m_DestPort, destination))
        and (not valid & c.TCPUDP_TCP_FLAGS or part.m_TCPFlags == flags)
    )


def _icmp(part: Any, frame: Frame) -> bool:
    if frame.protocol != (ICMP if frame.version == 4 else ICMPV6) or len(frame.transport) < 2:
        return False
    valid = part.m_ValidFields
    return (not valid & c.ICMP_TYPE or _within(part.m_TypeRange, frame.transport[0])) and (
        not valid & c.ICMP_CODE or _within(part.m_CodeRange, frame.transport[1])
    )


def _within(span: Any, number: int) -> bool:
    return bool(span.m_StartRange <= number <= span.m_EndRange)
