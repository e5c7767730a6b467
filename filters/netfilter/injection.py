"""Raw sockets that put complete IP packets into the host's own stack, or out on the wire past the capture.

IPPROTO_RAW takes a packet with its IP header (raw(7), ipv6(7)). A packet whose destination is an address of this host
is routed to the loopback device and arrives as any other would; because its route is already decided on the way out,
rp_filter and the check for loopback addresses do not apply, so no sysctl has to change. Sockets bound to a device get
it too: the kernel files it under the device that has the address.
"""

import errno
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

assert sys.platform == "linux"

from wiresock_py.errors import BackendError
from wiresock_py.filters.base import Buffer

SO_SNDBUFFORCE = 32
SEND_BUFFER = 4 * 1024 * 1024
IP_PKTINFO = 8
IPV6_PKTINFO = 50
# in_pktinfo: interface index, source, (unused) header destination; in6_pktinfo: source, interface index.
PKTINFO4 = struct.Struct("=i4s4x")
PKTINFO6 = struct.Struct("=16si")
# Sending never waits: what the device does not take now is counted and lost, as on any network.
FLAGS = socket.MSG_DONTWAIT
MAX_REMEMBERED = 1024

_REFUSALS = {
    errno.EPERM: "refused_by_firewall",
    errno.EACCES: "refused_by_firewall",
    errno.EMSGSIZE: "too_big",
    errno.ENOBUFS: "no_buffer",
    errno.EAGAIN: "no_buffer",
    errno.ENETUNREACH: "no_route",
    errno.EHOSTUNREACH: "no_route",
    errno.ENETDOWN: "no_route",
    errno.EADDRNOTAVAIL: "no_route",
    errno.ENODEV: "no_route",
}

Address = tuple[str, int] | tuple[str, int, int, int]
# (IPv4 socket, IPv6 socket or -1, packets) -> (index, error) of those not taken; no error where Python is to try.
Inject = Callable[[int, int, Sequence[Sequence[Buffer]]], list[tuple[int, int]]]


class Injector:
    """Sends complete IP packets of both families with one mark. May be used by several threads."""

    def __init__(self, mark: int, *, compiled: bool = False) -> None:
        """Raises BackendError without the rights for it. A host without IPv6 gets none.

        *compiled*: whether there is the compiled ``inject``, which sends many packets in one call.
        """
        self._inject: Inject | None = None
        if compiled:
            from wiresock_py import _native  # only here is it known to be there

            self._inject = _native.inject
        self.refusals: Counter[str] = Counter()
        self._addresses: dict[bytes, Address] = {}
        self._ipv4 = _raw_socket(socket.AF_INET, mark)
        self._ipv6: socket.socket | None
        try:
            self._ipv6 = _raw_socket(socket.AF_INET6, mark)
        except BackendError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EAFNOSUPPORT:
                self._ipv4.close()
                raise
            self._ipv6 = None

    def close(self) -> None:
        self._ipv4.close()
        if self._ipv6 is not None:
            self._ipv6.close()

    def send(self, packets: Sequence[Sequence[Buffer]], adapter: int = -1) -> int:
        """Send each packet (buffers that together are one IP packet); how many were taken, the rest is counted.

        With *adapter* >= 0 they leave as from their own source address, by that interface (0: as routed).
        """
        sent = 0
        if self._inject is not None and adapter < 0:
            packets, sent = self._sent_compiled(self._inject, packets)
        for packet in packets:
            head = packet[0]
            try:
                if head[0] >> 4 == 4:
                    self._send4(packet, bytes(head[12:20]), adapter)
                else:
                    self._send6(packet, bytes(head[8:40]), adapter)
                sent += 1
            except OSError as error:
                self.refusals[_REFUSALS.get(error.errno or 0, "not_sent")] += 1
            except (IndexError, ValueError):
                self.refusals["malformed"] += 1
        return sent

    def _sent_compiled(self, inject: Inject, packets: Sequence[Sequence[Buffer]]) -> tuple[list[Sequence[Buffer]], int]:
        """The packets that are left for Python to send, and how many were taken."""
        left: list[Sequence[Buffer]] = []
        refused = inject(self._ipv4.fileno(), self._ipv6.fileno() if self._ipv6 is not None else -1, packets)
        for index, error in refused:
            if error:
                self.refusals[_REFUSALS.get(error, "not_sent")] += 1
            else:
                left.append(packets[index])
        return left, len(packets) - len(refused)

    def _send4(self, packet: Sequence[Buffer], ends: bytes, adapter: int) -> None:
        address = self._addresses.get(ends) or self._remember(ends, (socket.inet_ntop(socket.AF_INET, ends[4:]), 0))
        if adapter < 0:
            self._ipv4.sendmsg(packet, (), FLAGS, address)
        else:
            info = PKTINFO4.pack(adapter, ends[:4])
            self._ipv4.sendmsg(packet, ((socket.IPPROTO_IP, IP_PKTINFO, info),), FLAGS, address)

    def _send6(self, packet: Sequence[Buffer], ends: bytes, adapter: int) -> None:
        if self._ipv6 is None:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        address = self._addresses.get(ends) or self._remember(ends, _address6(ends[16:]))
        if adapter < 0:
            self._ipv6.sendmsg(packet, (), FLAGS, address)
        else:
            info = PKTINFO6.pack(ends[:16], adapter)
            self._ipv6.sendmsg(packet, ((socket.IPPROTO_IPV6, IPV6_PKTINFO, info),), FLAGS, address)

    def _remember(self, ends: bytes, address: Address) -> Address:
        """A flow's packets all go to one place; making the text of an address costs more than looking it up."""
        if len(self._addresses) >= MAX_REMEMBERED:
            self._addresses.clear()
        self._addresses[ends] = address
        return address


def _raw_socket(family: int, mark: int) -> socket.socket:
    opened = None
    try:
        opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        opened.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
    except OSError as error:
        if opened is not None:
            opened.close()
        raise BackendError(f"no raw socket for injection: {error.strerror}", "run as root") from error
    return opened


def _address6(destination: bytes) -> Address:
    text = socket.inet_ntop(socket.AF_INET6, destination)
    scope = _own_link(destination) if destination[0] == 0xFE and destination[1] & 0xC0 == 0x80 else 0
    return text, 0, 0, scope


def _own_link(address: bytes) -> int:
    """The interface index that carries this link-local address of ours, which the packet itself does not say."""
    for line in Path("/proc/thread-self/net/if_inet6").read_text(encoding="ascii").splitlines():
        digits, index = line.split()[:2]
        if bytes.fromhex(digits) == address:
            return int(index, 16)
    return 0
