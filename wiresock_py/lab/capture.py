"""What is on a link: an AF_PACKET socket in the link's namespace, and enough decoding to lay frames at a flow's door.

A capture holds the frames' heads (or all of them, for a pcap file). On a veth link large sends of the stack are seen
before they are cut (64 KB "frames", checksums unfinished); on an impaired link, which is made of TAP devices, frames
are what a cable would carry.
"""

import socket
import struct
import sys
import threading
import time
from collections.abc import Container
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

from wiresock_py.lab.namespaces import Namespace

AF_PACKET, ETH_P_ALL = 17, 3  # by number: the name is missing from other systems' socket modules
ETHERTYPES = {0x0800: 4, 0x86DD: 6}
SO_TIMESTAMPNS = 35
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8
RECEIVE_BUFFER = 64 << 20
HEAD = 256
WIREGUARD_TYPES = {1: "initiation", 2: "response", 3: "cookie", 4: "data"}
_HEADERS = {version: bytes(12) + ethertype.to_bytes(2, "big") for ethertype, version in ETHERTYPES.items()}
_EXTENSION_HEADERS = {0, 43, 60}  # hop-by-hop, routing, destination options: (length + 1) * 8 bytes each


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. Ports are 0 where there are none; for ICMP echo *source_port* and *target_port* are the identifier."""

    time: float
    """Monotonic seconds, the clock of the applications' probes."""
    size: int
    """Bytes on the link, Ethernet header included."""
    head: bytes
    ethertype: int
    protocol: int = -1
    source: str = ""
    target: str = ""
    source_port: int = 0
    target_port: int = 0
    payload: bytes = b""
    """The beginning of what the transport carries."""

    @property
    def wireguard(self) -> str:
        """Which WireGuard message this is, by its first word; empty if none."""
        if self.protocol != socket.IPPROTO_UDP or self.payload[1:4] != b"\0\0\0":
            return ""
        return WIREGUARD_TYPES.get(self.payload[0], "")


def decode(data: bytes, when: float = 0.0, size: int = 0) -> Frame:
    """Read a frame's headers; what is not IP keeps only its ethertype, what is cut short only what was read."""
    size = size or len(data)
    ethertype = int.from_bytes(data[12:14], "big")
    version = ETHERTYPES.get(ethertype)
    try:
        if version == 4:
            protocol, start, first = data[23], 14 + (data[14] & 15) * 4, not data[20] & 0x1F and not data[21]
            source, target = data[26:30], data[30:34]
        elif version == 6:
            protocol, start, first = data[20], 54, True
            source, target = data[22:38], data[38:54]
            while protocol in _EXTENSION_HEADERS:
                protocol, start = data[start], start + (data[start + 1] + 1) * 8
            if protocol == socket.IPPROTO_FRAGMENT:
                protocol, first, start = (
                    data[start],
                    not int.from_bytes(data[start + 2 : start + 4], "big") >> 3,
                    start + 8,
                )
        else:
            return Frame(when, size, data, ethertype)
        ends = str(ip_address(source)), str(ip_address(target))
        ports, payload = _transport(data[start:], protocol) if first else ((0, 0), b"")
    except (IndexError, ValueError, struct.error):
        return Frame(when, size, data, ethertype)
    return Frame(when, size, data, ethertype, protocol, *ends, *ports, payload)


def _transport(data: bytes, protocol: int) -> tuple[tuple[int, int], bytes]:
    if protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        start = 8 if protocol == socket.IPPROTO_UDP else (data[12] >> 4) * 4
        return struct.unpack_from(">HH", data), data[start:]
    if (protocol, data[0]) in ((1, 0), (1, 8), (58, 128), (58, 129)):
        (identifier,) = struct.unpack_from(">H", data, 4)
        return (identifier, identifier), data[8:]
    return (0, 0), data


class Capture:
    """Frames on one device of a namespace, in both directions, until its end. *tun*: the device is a TUN one."""

    def __init__(self, namespace: Namespace, device: str, *, whole: bool = False, tun: bool = False) -> None:
        self._tun = tun
        self._length = 1 << 17 if whole else HEAD
        self._raw: list[tuple[bytes, float, int]] = []
        self._decoded: list[Frame] = []
        self._socket = namespace.socket(AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0 hears nothing before bind
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.settimeout(0.05)
        self._socket.bind((device, ETH_P_ALL))
        self.lost = 0
        """Frames the kernel could not hand over; a count of zero frames means something only if this is zero too."""
        self._end = float("inf")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the capture; what was on the link before this call is in :attr:`frames`. May be repeated."""
        if self._end != float("inf"):
            return
        self._end = time.monotonic()
        self._thread.join()
        _, self.lost = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._socket.close()

    @property
    def frames(self) -> list[Frame]:
        """The frames so far, oldest first."""
        while len(self._decoded) < len(self._raw):
            self._decoded.append(decode(*self._raw[len(self._decoded)]))
        return list(self._decoded)

    def of_ports(
        self, ports: Container[int], addresses: Container[str], *, since: float = 0.0, until: float = float("inf")
    ) -> list[Frame]:
        """The frames of flows whose end at one of *addresses* has one of *ports* (or echo identifiers)."""
        return [
            frame
            for frame in self.frames
            if since <= frame.time < until
            and (
                (frame.source in addresses and frame.source_port in ports)
                or (frame.target in addresses and frame.target_port in ports)
            )
        ]

    def write_pcap(self, path: Path) -> None:
        """The frames as a pcap file with the seconds of the wall clock."""
        offset = time.time() - time.monotonic()
        with path.open("wb") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1))
            for data, when, size in list(self._raw):
                seconds, rest = divmod(when + offset, 1)
                file.write(struct.pack("<IIII", int(seconds), int(rest * 1e6), len(data), size) + data)

    def _read(self) -> None:
        if sys.platform == "win32":
            return
        offset = time.time() - time.monotonic()
        while True:
            try:
                data, extra, _, _ = self._socket.recvmsg(self._length, 128)
            except TimeoutError:
                if time.monotonic() > self._end:
                    return
                continue
            when, size = 0.0, len(data)
            for level, kind, value in extra:
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    _, size = struct.unpack_from("II", value)
                else:
                    seconds, nanoseconds = struct.unpack("qq", value)
                    when = seconds + nanoseconds * 1e-9 - offset
            if when > self._end:
                return
            if self._tun:  # packets without a link-layer header get one, so that there is one way to decode
                data, size = _HEADERS.get(data[0] >> 4, b"") + data, size + 14
            self._raw.append((data, when, size))
