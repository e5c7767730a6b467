"""On Windows: a program that uses the network. Its executable bears the name that rules match.

    chrome.exe app.py TABLE

Each line on standard input is a JSON list, a verb and its arguments; each is answered by a line. TABLE is a file that
tells who has which port: Wine does not know before a socket has been used.
"""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 20.0


def opened(kind: socket.SocketKind, source: str) -> socket.socket:
    """A socket whose port is in the table before anything is sent."""
    found = socket.socket(socket.AF_INET, kind)
    found.settimeout(TIMEOUT)
    found.bind((source, 0))
    with Path(sys.argv[1]).open("a") as table:
        table.write(f"{int(kind)} {found.getsockname()[1]} {os.getpid()}\n")
    return found


def http(source: str, address: str) -> str:
    """What the web server says: the address it sees us come from."""
    with opened(socket.SOCK_STREAM, source) as connection:
        connection.connect((address, 80))
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer.partition(b"\r\n\r\n")[2].decode().strip()


def udp(source: str, address: str, port: int, text: str) -> str:
    """What an echo server sends back."""
    with opened(socket.SOCK_DGRAM, source) as sock:
        sock.sendto(text.encode(), (address, port))
        return sock.recv(65536).decode()


def transfer(source: str, address: str, port: int, size: int) -> list[str]:
    """Send *size* bytes to an echo server and take them back: the hashes of both."""
    block = bytes(range(256)) * 256
    sent, received = hashlib.sha256(), hashlib.sha256()
    with opened(socket.SOCK_STREAM, source) as connection:
        connection.connect((address, port))
        left = size
        while left:
            part = block[: min(left, len(block))]
            connection.sendall(part)
            sent.update(part)
            left -= len(part)
            back = len(part)
            while back:
                chunk = connection.recv(back)
                if not chunk:
                    return [sent.hexdigest(), received.hexdigest()]
                received.update(chunk)
                back -= len(chunk)
    return [sent.hexdigest(), received.hexdigest()]


VERBS: dict[str, Callable[..., object]] = {"http": http, "udp": udp, "transfer": transfer}


def main() -> None:
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        try:
            print(json.dumps(["ok", VERBS[verb](*arguments)]), flush=True)
        except OSError as error:
            print(json.dumps(["failed", f"{type(error).__name__}: {error}"]), flush=True)


if __name__ == "__main__":
    main()
