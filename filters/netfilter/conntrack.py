"""The kernel's table of connections: taking the BYPASS bit back, and whether it knows one (nfnetlink_conntrack.h)."""

import socket
import struct
import sys

assert sys.platform == "linux"

from wiresock_py.flow import FiveTuple
from wiresock_py.netlink import ACKNOWLEDGE, REQUEST, Netlink, attribute, attributes

NETLINK_NETFILTER = 12
CT_NEW, CT_GET = 0x100, 0x101
CTA_TUPLE_ORIG, CTA_MARK, CTA_ZONE, CTA_MARK_MASK = 1, 8, 18, 21
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
NESTED = 0x8000
# Requests in one datagram.
CHUNK = 100


def known(key: FiveTuple) -> bool:
    """Whether the table has a connection of these two ends, whoever began it. Raises OSError if it cannot be asked."""
    first = 3 if key.is_ipv6 else 1  # CTA_IP_V6_SRC and _DST, CTA_IP_V4_SRC and _DST
    addresses = attribute(first, key.local) + attribute(first + 1, key.remote)
    ports = attribute(CTA_PROTO_SRC_PORT, key.local_port.to_bytes(2, "big"))
    ports += attribute(CTA_PROTO_DST_PORT, key.remote_port.to_bytes(2, "big"))
    protocol = attribute(CTA_PROTO_NUM, bytes([key.protocol])) + ports
    ends = attribute(CTA_TUPLE_IP | NESTED, addresses) + attribute(CTA_TUPLE_PROTO | NESTED, protocol)
    generic = struct.pack("!BBH", socket.AF_INET6 if key.is_ipv6 else socket.AF_INET, 0, 0)
    with Netlink(NETLINK_NETFILTER) as kernel:
        (found,) = kernel.ask(CT_GET, [generic + attribute(CTA_TUPLE_ORIG | NESTED, ends)])
    return found is not None


def forget(mark: int) -> int:
    """Clear *mark*'s bits on every connection that carries them, leaving other bits; how many there were.

    Raises OSError where the kernel cannot tell (no nf_conntrack_netlink).
    """
    mask = attribute(CTA_MARK_MASK, mark.to_bytes(4, "big"))
    with Netlink(NETLINK_NETFILTER) as kernel:
        generic = struct.pack("!BBH", socket.AF_UNSPEC, 0, 0)
        found = kernel.dump(CT_GET, generic + attribute(CTA_MARK, mark.to_bytes(4, "big")) + mask)
        changes: list[bytes] = []
        for _kind, body in found:
            parts = attributes(body, len(generic))
            # Older kernels do not filter what they dump.
            if int.from_bytes(parts.get(CTA_MARK, b""), "big") & mark and CTA_TUPLE_ORIG in parts:
                zone = attribute(CTA_ZONE, parts[CTA_ZONE]) if CTA_ZONE in parts else b""
                tuple_ = attribute(CTA_TUPLE_ORIG | NESTED, parts[CTA_TUPLE_ORIG])
                changes.append(body[: len(generic)] + tuple_ + zone + attribute(CTA_MARK, bytes(4)) + mask)
        for start in range(0, len(changes), CHUNK):
            kernel.ask(CT_NEW, changes[start : start + CHUNK], REQUEST | ACKNOWLEDGE)
    return len(changes)
