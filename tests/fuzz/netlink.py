"""Netlink messages as no sound kernel sends them: sockets, routes and changes are read, or left out."""

import socket
import struct
from collections.abc import Iterator

from wiresock_py.netlink import HEADER, attribute, attributes, error_code, message, messages
from wiresock_py.network.changes import kinds
from wiresock_py.network.routes import parse_default
from wiresock_py.owners.sock_diag import parse_answer

_ROUTE = struct.Struct("=BBBBBBBBI")
NEW_LINK, NEW_ADDRESS, NEW_ROUTE = 16, 20, 24


def run(data: bytes) -> None:
    kinds(data)
    for _kind, _sequence, body in messages(data):
        assert len(body) <= len(data) - HEADER.size
        error_code(body)
        for value in attributes(body, _ROUTE.size).values():
            assert len(value) <= len(body)
        for family in (socket.AF_INET, socket.AF_INET6):
            for route in parse_default(body, family):
                assert route.family == family
        found = parse_answer(body)
        assert found is None or len(found.local) == len(found.remote)


def seeds() -> Iterator[bytes]:
    one = (1).to_bytes(4, "little")
    gateway = attribute(5, bytes((10, 0, 0, 1))) + attribute(4, one) + attribute(6, one)
    several = attribute(9, struct.pack("=HBBI", 16, 0, 0, 1) + attribute(5, bytes((10, 0, 0, 1))))
    for rest in (gateway, several):
        yield message(NEW_ROUTE, 0, 1, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0) + rest)
    yield message(NEW_LINK, 0, 1, bytes(16)) + message(NEW_ADDRESS, 0, 2, bytes(8)) + message(3, 0, 2, bytes(4))
    yield message(20, 2, 1, bytes((socket.AF_INET6, 1)) + bytes(70)) + message(2, 0, 2, b"\xfe\xff\xff\xff")
