"""Taking the BYPASS bit back from connections (linux/netfilter/nfnetlink_conntrack.h)."""

import socket
import struct
import sys

assert sys.platform == "linux"

from wiresock_py.netlink import ACKNOWLEDGE, REQUEST, Netlink, attribute, attributes

NETLINK_NETFILTER = 12
CT_NEW, CT_GET = 0x100, 0x101
CTA_TUPLE_ORIG, CTA_MARK, CTA_ZONE, CTA_MARK_MASK = 1, 8, 18, 21
NESTED = 0x8000
# Requests in one datagram.
CHUNK = 100


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
