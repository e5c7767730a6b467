"""WINDIVERT_ADDRESS (windivert.h, 2.2): what WinDivert says of a packet, and must be told of one that is sent.

Of a packet to be sent only direction, interface, the checksum flags and *impostor* count. Sent inwards without the
interface it is to arrive by, it is refused (error 87).
"""

import ctypes

BATCH_MAX = 255
"""Packets of one call (WINDIVERT_BATCH_MAX)."""
LOOPBACK_INDEX = 1
"""The interface index of the loopback, on Windows as on Linux."""


class Address(ctypes.Structure):
    """The form of the network layer; what other layers say in the same place is padding."""

    _fields_ = (
        ("timestamp", ctypes.c_int64),
        ("layer", ctypes.c_uint32, 8),
        ("event", ctypes.c_uint32, 8),
        ("sniffed", ctypes.c_uint32, 1),
        ("outbound", ctypes.c_uint32, 1),
        ("loopback", ctypes.c_uint32, 1),
        ("impostor", ctypes.c_uint32, 1),
        ("ipv6", ctypes.c_uint32, 1),
        ("ip_checksum", ctypes.c_uint32, 1),
        ("tcp_checksum", ctypes.c_uint32, 1),
        ("udp_checksum", ctypes.c_uint32, 1),
        ("reserved", ctypes.c_uint32, 8),
        ("reserved2", ctypes.c_uint32),
        ("interface", ctypes.c_uint32),
        ("subinterface", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 56),
    )


SIZE = ctypes.sizeof(Address)


def address(interface: int, *, outbound: bool, ipv6: bool) -> Address:
    """For a packet of ours, with valid checksums. What goes to the loopback is outbound, as WinDivert sees it."""
    loopback = interface == LOOPBACK_INDEX
    return Address(
        outbound=outbound or loopback,
        loopback=loopback,
        ipv6=ipv6,
        ip_checksum=1,
        tcp_checksum=1,
        udp_checksum=1,
        interface=interface,
    )
