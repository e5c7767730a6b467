"""The cable between a Windows host in the lab and its router, with the driver double in the middle.

    client namespace: TAP eth0 ── this process ── TCP ── wire.py under Wine ── the double
    isp namespace:    TAP lan0 ──┘

The host's stack is Linux' own, which Wine's sockets use: what it sends by eth0 arrives here, goes past the driver as
what Windows' stack sends would, and only what the driver lets through reaches the router; the same the other way.
"""

import fcntl
import os
import select
import socket
import struct
import threading

from wiresock_py.filters.ndisapi.raw.constants import PACKET_FLAG_ON_RECEIVE, PACKET_FLAG_ON_SEND
from wiresock_py.lab import Lab, Namespace
from wiresock_py.lab.programs.link import IFF_NO_PI, IFF_TAP, TUNSETIFF

FRAME = struct.Struct("<HH")
SEND, RECEIVE = PACKET_FLAG_ON_SEND, PACKET_FLAG_ON_RECEIVE


class WindowsLab(Lab):
    """The lab, with a cable of which this process holds both ends."""

    def __init__(self) -> None:
        super().__init__(impairment={})
        self.ends: tuple[int, int] = (-1, -1)
        """File descriptors: the host's adapter, the router's."""

    def _start_link(self, impairment: object) -> None:
        self.ends = _tap(self.client, "eth0"), _tap(self.isp, "lan0")
        for end in self.ends:
            self._parts.callback(os.close, end)


def _tap(namespace: Namespace, name: str) -> int:
    def make() -> int:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
        return device

    return namespace.inside(make)


class Cable:
    """Carries frames until closed."""

    def __init__(self, lab: WindowsLab) -> None:
        self._host, self._router = lab.ends
        self._listener = lab.client.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(1)
        self._listener.settimeout(30)
        self.port = self._listener.getsockname()[1]
        """Where wire.py is to connect to."""
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def start(self) -> None:
        """Wait for wire.py and begin."""
        self._connection = self._listener.accept()[0]
        self._thread.start()

    def close(self) -> None:
        """End the connection; wire.py then ends by itself."""
        self._wake.close()
        if self._thread.is_alive():
            self._thread.join()
            self._connection.close()
        self._listener.close()
        self._woken.close()

    def _carry(self) -> None:
        data = b""
        while True:
            connection, woken = self._connection.fileno(), self._woken.fileno()
            ready, _, _ = select.select([self._host, self._router, connection, woken], [], [])
            if woken in ready:
                return
            for device, direction in ((self._host, SEND), (self._router, RECEIVE)):
                if device in ready:
                    self._connection.sendall(_read(device, direction))
            if connection in ready:
                chunk = self._connection.recv(1 << 18)
                if not chunk:
                    return
                data = self._deliver(data + chunk)

    def _deliver(self, data: bytes) -> bytes:
        """Write whole frames to where they go; what is left of the last one."""
        at = 0
        while len(data) - at >= FRAME.size:
            length, direction = FRAME.unpack_from(data, at)
            if len(data) - at - FRAME.size < length:
                break
            at += FRAME.size + length
            try:
                os.write(self._router if direction == SEND else self._host, data[at - length : at])
            except OSError:
                pass  # the device is down, or its queue full: the frame is lost, as on a cable
        return data[at:]


def _read(device: int, direction: int) -> bytes:
    frames = []
    try:
        for _ in range(64):
            frame = os.read(device, 65536)
            if len(frame) <= 1514:
                frames.append(FRAME.pack(len(frame), direction) + frame)
    except OSError:
        pass  # nothing more, or the device is down
    return b"".join(frames)
