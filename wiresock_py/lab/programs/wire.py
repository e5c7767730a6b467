"""The few messages that the programs of the lab write and read by hand: DNS questions and answers, ICMP echoes."""

import socket
import struct

KINDS = {"A": 1, "TXT": 16, "AAAA": 28}
CODES = {2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def question(name: str, kind: str, identifier: int) -> bytes:
    """A DNS message with one question (RFC 1035 section 4.1)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", identifier, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, KINDS[kind], 1)


def answers(message: bytes, asked: bytes) -> list[str]:
    """The data of the answer's records as text; the name of the error if it is one."""
    flags, _, count = struct.unpack_from(">HHH", message, 2)
    if flags & 15:
        return [CODES.get(flags & 15, f"error {flags & 15}")]
    position, found = len(asked), []
    for _ in range(count):
        kind, _, _, length = struct.unpack_from(">HHIH", message, position + 2)  # the name is a pointer: two bytes
        data = message[position + 12 : position + 12 + length]
        if kind == KINDS["TXT"]:
            found.append(data[1:].decode())
        else:
            found.append(socket.inet_ntop(socket.AF_INET if kind == KINDS["A"] else socket.AF_INET6, data))
        position += 12 + length
    return found


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    return ~(int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 65535) & 0xFFFF


def ping_socket(family: int, raw: bool) -> socket.socket:
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    return socket.socket(family, socket.SOCK_RAW if raw else socket.SOCK_DGRAM, protocol)


def echo_request(family: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """An ICMP echo request; for ICMPv6 and ping sockets the kernel fills the checksum in."""
    kind = 128 if family == socket.AF_INET6 else 8
    message = struct.pack(">BBHHH", kind, 0, 0, identifier, sequence) + payload
    if family == socket.AF_INET:
        message = message[:2] + struct.pack(">H", checksum(message)) + message[4:]
    return message
