"""DNS messages as bytes, written out plainly: a second opinion on the code that reads them."""

import struct
from collections.abc import Sequence
from ipaddress import ip_address

A, CNAME, AAAA, TXT = 1, 5, 28, 16
Record = tuple[str, int, int, str]
"""Owner, type, time to live, and the address or alias as text."""


def name_bytes(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def query(name: str, kind: int = A, identifier: int = 7) -> bytes:
    """A query, recursion desired."""
    return struct.pack("!HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + name_bytes(name) + struct.pack("!HH", kind, 1)


def answer(to: bytes, records: Sequence[Record] = (), *, rcode: int = 0) -> bytes:
    """The answer to the query *to*."""
    (identifier,) = struct.unpack_from("!H", to)
    message = struct.pack("!HHHHHH", identifier, 0x8180 | rcode, 1, len(records), 0, 0) + to[12:]
    for owner, kind, ttl, value in records:
        data = name_bytes(value) if kind == CNAME else ip_address(value).packed
        message += name_bytes(owner) + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data
    return message
