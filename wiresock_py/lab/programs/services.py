"""The services of one lab host: HTTP, DNS and echo. Runs inside a namespace, as a plain script of the standard library.

    python services.py '{"addresses": ["192.168.1.50"], "http": 80, "echo": 7,
                         "dns": ["192.168.1.1"], "names": {"vpn.lab": ["198.51.100.2", "2001:db8:2::2"]}}'

HTTP    GET /            the caller's address, as text
        GET /bytes/N     N bytes that :func:`content` gives as well
        POST             the number of bytes received and their SHA-256, as text
DNS     UDP and TCP. A and AAAA of the given names; ``asker.lab`` and ``resolver.lab``, in the family they have;
        every name below ``probe.lab``; TXT of any of them says who asked whom: "asker=… resolver=… over=udp".
echo    TCP and UDP: what comes goes back, datagram by datagram
"""

import asyncio
import functools
import hashlib
import json
import random
import struct
import sys
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import TypedDict

BLOCK = 1 << 20
A, TXT, AAAA = 1, 16, 28
NAME_ERROR = 3  # RFC 1035 section 4.1.1, RCODE
PROBE_ADDRESS = {A: "192.0.2.99", AAAA: "2001:db8:99::99"}


@functools.cache
def _block() -> bytes:
    return random.Random(2022).randbytes(BLOCK)


async def content(size: int) -> AsyncIterator[bytes]:
    """*size* bytes, always the same ones, in blocks."""
    for offset in range(0, size, BLOCK):
        yield _block()[: min(BLOCK, size - offset)]


def content_sha256(size: int) -> str:
    """The SHA-256 of :func:`content`."""
    digest = hashlib.sha256()
    for offset in range(0, size, BLOCK):
        digest.update(_block()[: min(BLOCK, size - offset)])
    return digest.hexdigest()


async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request a connection."""
    try:
        method, path, _ = (await reader.readline()).decode().split()
        length = 0
        while (line := await reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            if name.lower() == "content-length":
                length = int(value)
        if method == "POST":
            digest = hashlib.sha256()
            left = length
            while left and (chunk := await reader.read(min(left, BLOCK))):
                digest.update(chunk)
                left -= len(chunk)
            await _answer(writer, f"{length - left} {digest.hexdigest()}\n".encode())
        elif path.startswith("/bytes/"):
            size = int(path.removeprefix("/bytes/"))
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
            async for chunk in content(size):
                writer.write(chunk)
                await writer.drain()
        else:
            peer = ip_address(writer.get_extra_info("peername")[0])
            await _answer(writer, f"{getattr(peer, 'ipv4_mapped', None) or peer}\n".encode())
    except (ValueError, OSError):
        pass  # not HTTP, or the caller left
    finally:
        writer.close()


async def _answer(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()


async def serve_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What comes goes back."""
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass  # the caller left
    finally:
        writer.close()


class EchoDatagrams(asyncio.DatagramProtocol):
    """Every datagram goes back as it came."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


class Resolver:
    """The answers of one resolver address."""

    def __init__(self, address: str, names: dict[str, list[str]]) -> None:
        self.address = address
        self.names = names

    def answer(self, question: bytes, asker: str, transport: str) -> bytes:
        """The answer to a DNS message with one question (RFC 1035 section 4)."""
        identifier, flags = struct.unpack_from(">HH", question)
        labels, position = [], 12
        while length := question[position]:
            labels.append(question[position + 1 : position + 1 + length].decode("ascii"))
            position += 1 + length
        kind, _ = struct.unpack_from(">HH", question, position + 1)
        asked = question[12 : position + 5]
        records = self._records(".".join(labels).lower(), kind, asker, transport)
        code = NAME_ERROR if records is None else 0
        # QR, AA, RD as asked, RA; the name of each record points to the question's
        header = struct.pack(">HHHHHH", identifier, 0x8480 | flags & 0x0100 | code, 1, len(records or ()), 0, 0)
        body = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 5, len(data)) + data for data in records or ())
        return header + asked + body

    def _records(self, name: str, kind: int, asker: str, transport: str) -> list[bytes] | None:
        if name == "asker.lab":
            addresses = [asker]
        elif name == "resolver.lab":
            addresses = [self.address]
        elif name.endswith(".probe.lab"):
            addresses = list(PROBE_ADDRESS.values())
        elif name in self.names:
            addresses = self.names[name]
        else:
            return None
        if kind == TXT:
            text = f"asker={asker} resolver={self.address} over={transport}".encode()
            return [bytes([len(text)]) + text]
        packed = [ip_address(address).packed for address in addresses]
        return [data for data in packed if len(data) == {A: 4, AAAA: 16}.get(kind)]

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack(">H", await reader.readexactly(2))
                reply = self.answer(await reader.readexactly(length), writer.get_extra_info("peername")[0], "tcp")
                writer.write(struct.pack(">H", len(reply)) + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError, IndexError, struct.error):
            pass  # the caller left, or it was no question
        finally:
            writer.close()


class ResolverDatagrams(asyncio.DatagramProtocol):
    """A resolver's UDP side."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            reply = self.resolver.answer(data, addr[0], "udp")
        except (IndexError, UnicodeDecodeError, struct.error):
            return  # no question
        self.transport.sendto(reply, addr)


class Wanted(TypedDict):
    """What to serve: HTTP and echo on every one of *addresses*, DNS on its own."""

    addresses: list[str]
    http: int
    echo: int
    dns: list[str]
    names: dict[str, list[str]]


async def main(wanted: Wanted) -> None:
    """Serve what *wanted* names until killed; says "ready" once everything listens."""
    loop = asyncio.get_running_loop()
    for address in wanted["addresses"]:
        await asyncio.start_server(serve_http, address, wanted["http"], backlog=1024)
        await asyncio.start_server(serve_echo, address, wanted["echo"], backlog=1024)
        await loop.create_datagram_endpoint(EchoDatagrams, (address, wanted["echo"]))
    for address in wanted["dns"]:
        resolver = Resolver(address, wanted["names"])
        await asyncio.start_server(resolver.serve_tcp, address, 53, backlog=1024)
        await loop.create_datagram_endpoint(functools.partial(ResolverDatagrams, resolver), (address, 53))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
