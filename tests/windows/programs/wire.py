"""On Windows: the adapter's two ends. What the host's stack sends and what arrives from the network comes in by a TCP
connection and goes past the driver double; what the driver lets through goes back.

    python -m tests.windows.programs.wire ADAPTER PORT

A frame on the connection is its length, its direction (PACKET_FLAG_ON_SEND, …_RECEIVE), and its bytes.
"""

import itertools
import socket
import struct
import sys
import threading

from tests.windows.double import NETWORK, STACK, Control
from wiresock_py.filters.ndisapi.device import open_device
from wiresock_py.network.windows.adapters import adapters

FRAME = struct.Struct("<HH")
POOL = 2048


def main() -> None:
    name, port = sys.argv[1], int(sys.argv[2])
    found = next(adapter for adapter in adapters() if adapter.name == name)
    control = Control()
    control.reset(pool_size=POOL)
    handle = control.add(f"\\DEVICE\\{found.guid.upper()}", found.mac, found.mtu)
    connection = socket.create_connection(("127.0.0.1", port))
    threading.Thread(target=come_out, args=(handle, connection), daemon=True).start()
    go_in(control, handle, connection)
    control.close()


def go_in(control: Control, handle: int, connection: socket.socket) -> None:
    """Frames of the connection, past the driver, until the connection ends."""
    data = b""
    while chunk := connection.recv(1 << 18):
        data += chunk
        frames, at = [], 0
        while len(data) - at >= FRAME.size:
            length, direction = FRAME.unpack_from(data, at)
            if len(data) - at - FRAME.size < length:
                break
            at += FRAME.size + length
            frames.append((direction, data[at - length : at]))
        data = data[at:]
        for direction, group in itertools.groupby(frames, lambda frame: frame[0]):
            control.frames(handle, direction, [frame for _, frame in group])


def come_out(handle: int, connection: socket.socket) -> None:
    """What the driver lets through, onto the connection."""
    control, device = Control(), open_device()
    event = device.create_event()
    control.set_onward_event(event)
    while True:
        device.wait([event], 1.0)
        device.reset_event(event)
        while some := control.take(handle, NETWORK | STACK):
            connection.sendall(b"".join(FRAME.pack(len(frame), direction) + frame for direction, frame in some))


if __name__ == "__main__":
    main()
