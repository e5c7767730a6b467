"""The inside of a lab application: does what it is told on standard input, one JSON object a line.

    {"id": 1, "verb": "http", "arguments": {"url": "http://203.0.113.10/"}}   ->   {"id": 1, "result": …}

A plain script of the standard library: it is run by a copy of the Python interpreter that bears the application's name
(``chrome``), and whose ``/proc/PID/exe`` is therefore what the rules match. Each request has a thread of its own, so
that a held session or a long download does not keep the next one waiting. Sockets that outlive a request (sessions,
listeners) have names.
"""

import errno
import hashlib
import http.client
import json
import os
import random
import select
import socket
import struct
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

# neighbours in this folder, which is where a script finds its modules
from probes import ProbeRun  # type: ignore[import-not-found]
from wire import answers, echo_request, family_of, ping_socket, question  # type: ignore[import-not-found]

UDP_SEGMENT = 103  # linux/udp.h
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2  # linux/in.h
IPV6_MTU_DISCOVER = 23
SO_REUSEPORT = 15  # asm-generic/socket.h
BLOCK = 1 << 20

sessions: dict[str, socket.socket] = {}
received: dict[int, list[str]] = {}
probe_runs: dict[str, ProbeRun] = {}


def connect(
    address: str,
    port: int,
    timeout: float,
    kind: int = socket.SOCK_STREAM,
    source: str = "",
    source_port: int = 0,
) -> socket.socket:
    """A connected socket, from the local address *source* (and port) if one is given."""
    sock = socket.socket(family_of(address), kind)
    sock.settimeout(timeout)
    try:
        if source:
            if source_port and kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)  # it may be a port that listens, too
            sock.bind((source, source_port))
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def read_exactly(sock: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        if not part:
            raise ConnectionError(f"closed by the other side after {len(parts)} of {size} bytes")
        parts += part
    return parts


# -- one-shot requests -------------------------------------------------------------------------------------------------


def http_request(
    method: str, url: str, timeout: float, body: bytes | None = None, source: str = ""
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port or 80, timeout=timeout, source_address=(source, 0) if source else None
    )
    connection.request(method, parts.path or "/", body=body)
    return connection, connection.getresponse()


def http_get(url: str, source: str = "", timeout: float = 10.0) -> str:
    """The body of a small document."""
    connection, response = http_request("GET", url, timeout, source=source)
    try:
        return response.read().decode().strip()
    finally:
        connection.close()


def download(url: str, timeout: float = 60.0) -> dict[str, object]:
    """Size, SHA-256 and duration of a document."""
    started = time.monotonic()
    connection, response = http_request("GET", url, timeout)
    digest, size = hashlib.sha256(), 0
    try:
        while chunk := response.read(BLOCK):
            digest.update(chunk)
            size += len(chunk)
    finally:
        connection.close()
    return {"size": size, "sha256": digest.hexdigest(), "seconds": time.monotonic() - started}


def upload(url: str, size: int, seed: int = 0, timeout: float = 60.0) -> dict[str, object]:
    """Post *size* random bytes; what the server says it got, and what was sent."""
    body = random.Random(seed).randbytes(size)
    started = time.monotonic()
    connection, response = http_request("POST", url, timeout, body)
    try:
        got, digest = response.read().decode().split()
    finally:
        connection.close()
    same = int(got) == size and digest == hashlib.sha256(body).hexdigest()
    return {"size": int(got), "intact": same, "seconds": time.monotonic() - started}


def udp_echo(
    address: str,
    port: int,
    sizes: list[int],
    source: str = "",
    source_port: int = 0,
    timeout: float = 3.0,
    tries: int = 1,
) -> list[int]:
    """Send one datagram of each size, one after the other's echo; the sizes that came back whole.

    Where a path's MTU has still to be learnt, by either side, a datagram is eaten and, at best, the socket told so
    ("message too long"): *tries* says how often each is sent.
    """
    back = []
    with connect(address, port, timeout, socket.SOCK_DGRAM, source, source_port) as sock:
        for size in sizes:
            data = random.Random(size).randbytes(size)
            for _ in range(tries):
                try:
                    sock.send(data)
                    if sock.recv(65535) == data:
                        back.append(size)
                    break
                except TimeoutError:
                    continue
                except OSError as error:
                    if error.errno != errno.EMSGSIZE:
                        raise
    return back


def set_dont_fragment(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)


def udp_segments(address: str, port: int, segment: int, total: int, timeout: float = 3.0) -> list[int]:
    """Send *total* bytes in one call with UDP_SEGMENT; the sizes of the datagrams whose echoes came back, sorted."""
    with connect(address, port, timeout, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
        sock.send(random.Random(total).randbytes(total))
        sizes: list[int] = []
        try:
            while sum(sizes) < total:
                sizes.append(len(sock.recv(65535)))
        except TimeoutError:
            pass  # what is missing is seen in the list
    return sorted(sizes, reverse=True)


def count_echoes(address: str, port: int, count: int, wait: float = 0.5) -> int:
    """Send *count* datagrams at once; how many come back until none has for *wait* seconds, repeated ones included."""
    back = 0
    with connect(address, port, wait, socket.SOCK_DGRAM) as sock:
        for number in range(count):
            sock.send(b"datagram %d" % number)
        try:
            while sock.recv(65535):
                back += 1
        except TimeoutError:
            return back
    return back


def system_resolver() -> str:
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("nameserver"))


def dns(name: str, kind: str = "A", server: str = "", tcp: bool = False, timeout: float = 3.0) -> list[str]:
    """Ask a resolver, by default the system's."""
    asked = question(name, kind, random.randrange(65536))
    with connect(server or system_resolver(), 53, timeout, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        if tcp:
            sock.sendall(struct.pack(">H", len(asked)) + asked)
            message = read_exactly(sock, struct.unpack(">H", read_exactly(sock, 2))[0])
        else:
            sock.send(asked)
            message = sock.recv(65535)
    if message[:2] != asked[:2]:
        raise ConnectionError("the answer belongs to another question")
    found: list[str] = answers(message, asked)
    return found


def resolve(name: str) -> list[str]:
    """What the C library's resolver says."""
    return sorted({entry[4][0] for entry in socket.getaddrinfo(name, None)})  # type: ignore[misc]


def ping(
    address: str, count: int = 1, size: int = 56, raw: bool = False, dont_fragment: bool = False, timeout: float = 2.0
) -> dict[str, object]:
    """Echo requests one after the other: how many were answered whole, and what the kernel said of the others."""
    family = family_of(address)
    identifier = os.getpid() & 0xFFFF
    answered, errors = 0, []
    with ping_socket(family, raw) as sock:
        if dont_fragment:
            set_dont_fragment(sock)
        for sequence in range(1, count + 1):
            payload = random.Random(sequence).randbytes(size)
            try:
                sock.sendto(echo_request(family, identifier, sequence, payload), (address, 0))
                answered += await_reply(sock, payload, raw and family == socket.AF_INET, timeout)
            except OSError as error:
                errors.append(error.strerror or str(error))
    return {"answered": answered, "errors": errors}


def await_reply(sock: socket.socket, payload: bytes, with_header: bool, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            message = sock.recv(65535)
            message = message[(message[0] & 15) * 4 :] if with_header else message
            if message[0] in (0, 129) and message[8:] == payload:
                return True
    return False


# -- sockets with a name -----------------------------------------------------------------------------------------------


def open_session(
    name: str, address: str, port: int, timeout: float = 5.0, source: str = "", source_port: int = 0
) -> list[object]:
    """Open a TCP session and keep it; its local address."""
    sessions[name] = connect(address, port, timeout, source=source, source_port=source_port)
    return list(sessions[name].getsockname()[:2])


def exchange(name: str, text: str, timeout: float = 5.0) -> str:
    """Send text over a kept session and wait for as many bytes of echo."""
    sock = sessions[name]
    sock.settimeout(timeout)
    data = text.encode()
    sock.sendall(data)
    return read_exactly(sock, len(data)).decode()


def wait_for_end(name: str, timeout: float = 5.0) -> str:
    """Wait, sending nothing, until a kept session ends: the name of the error, or "closed"."""
    sock = sessions.pop(name)
    sock.settimeout(timeout)
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return "still open"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    finally:
        sock.close()
    return "closed"


def close_session(name: str) -> None:
    sessions.pop(name).close()


def listen(port: int, address: str = "::") -> None:
    """Answer TCP and UDP on a port with an echo, and note who came (:func:`visitors`)."""
    family = family_of(address)
    both = address == "::"
    # reuse_port: an application may also connect from the port it listens on
    stream = socket.create_server((address, port), family=family, dualstack_ipv6=both, backlog=64, reuse_port=True)
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    if both:
        datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    datagrams.bind((address, port))
    received[port] = []

    def accept() -> None:
        while True:
            sock, peer = stream.accept()
            received[port].append(f"tcp {peer[0]}")
            threading.Thread(target=echo, args=(sock,), daemon=True).start()

    def echo(sock: socket.socket) -> None:
        try:
            while data := sock.recv(65536):
                sock.sendall(data)
        except OSError:
            pass  # the caller left
        finally:
            sock.close()

    def receive() -> None:
        while True:
            data, peer = datagrams.recvfrom(65535)
            received[port].append(f"udp {peer[0]}")
            datagrams.sendto(data, peer)

    for work in (accept, receive):
        threading.Thread(target=work, daemon=True).start()


def visitors(port: int) -> list[str]:
    """Who has come to a port since :func:`listen`."""
    return list(received[port])


# -- the loop ----------------------------------------------------------------------------------------------------------


def start_probes(name: str, **options: object) -> None:
    """Start a stream of probes (see probes.py for the options)."""
    probe_runs[name] = ProbeRun(**options)


def stop_probes(name: str) -> list[dict[str, object]]:
    """End a stream of probes; what became of each."""
    result: list[dict[str, object]] = probe_runs.pop(name).finish()
    return result


def cast(probes: list[dict[str, object]], hold: float = 1.0) -> list[str]:
    """Send one packet for each probe, hold the sockets, close them; the error of each, empty where there was none.

    A probe has protocol (tcp, udp, icmp), address, port, source_port (for ICMP the identifier) and, but for tcp,
    payload.
    """
    errors, sockets = [], []
    for probe in probes:
        address, port, own = str(probe["address"]), int(str(probe["port"])), int(str(probe["source_port"]))
        family = family_of(address)
        try:
            if probe["protocol"] == "icmp":
                sock = ping_socket(family, raw=False)
            else:
                sock = socket.socket(family, socket.SOCK_STREAM if probe["protocol"] == "tcp" else socket.SOCK_DGRAM)
            sockets.append(sock)
            sock.setblocking(False)
            if probe["protocol"] == "tcp":  # an earlier probe's connection may still be in TIME_WAIT
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", own))
            if probe["protocol"] == "tcp":
                # ended by a reset: a closed connection would keep its port for a minute
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                error = sock.connect_ex((address, port))
                errors.append("" if error == errno.EINPROGRESS else errno.errorcode.get(error, str(error)))
                continue
            payload = bytes.fromhex(str(probe["payload"]))
            if probe["protocol"] == "icmp":
                payload, port = echo_request(family, own, 1, payload), 0
            sock.sendto(payload, (address, port))
            errors.append("")
        except OSError as error:
            errors.append(errno.errorcode.get(error.errno or 0, str(error)))
    time.sleep(hold)
    for sock in sockets:
        sock.close()
    return errors


VERBS: dict[str, Callable[..., object]] = {
    "http": http_get,
    "download": download,
    "upload": upload,
    "udp_echo": udp_echo,
    "udp_segments": udp_segments,
    "count_echoes": count_echoes,
    "dns": dns,
    "resolve": resolve,
    "ping": ping,
    "open_session": open_session,
    "exchange": exchange,
    "wait_for_end": wait_for_end,
    "close_session": close_session,
    "listen": listen,
    "visitors": visitors,
    "cast": cast,
    "start_probes": start_probes,
    "stop_probes": stop_probes,
}


def main() -> None:
    """Carry out requests until standard input ends."""
    lock = threading.Lock()

    def carry_out(request: dict[str, object]) -> None:
        reply: dict[str, object] = {"id": request["id"]}
        try:
            reply["result"] = VERBS[str(request["verb"])](**request["arguments"])  # type: ignore[arg-type]
        except Exception as error:
            reply["error"] = f"{type(error).__name__}: {error}"
        with lock:
            print(json.dumps(reply), flush=True)

    print(json.dumps({"id": 0, "result": str(Path("/proc/self/exe").readlink())}), flush=True)
    for line in sys.stdin:
        threading.Thread(target=carry_out, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    main()
