"""The programs we meet: wireguard-go as packaged and as new as can be, and BoringTun; each on a TUN device.

A program has one TUN device and many peers, each of them one of our ends. Behind the device stands an application: a
UDP socket whose datagrams travel through the tunnel.
"""

import itertools
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from tests.interop.end import End, Host, Place, Setup
from wiresock_py.crypto import PresharedKey, PublicKey
from wiresock_py.lab import KeyPair, LabError, PeerState, WireGuard
from wiresock_py.lab.builds import program, version

ECHO = 7
MTU = 1420
RESPONDER, INITIATOR = "responder", "initiator"
"""What the peer is in the handshake."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Program:
    name: str
    version: str
    executable: Path


def find_programs(cache: Path) -> tuple[list[Program], dict[str, str]]:
    """The programs, built into *cache* where need be, and why others cannot be had here."""
    kinds = {"wireguard-go (Debian)": "debian", "wireguard-go (head)": "head", "BoringTun": "boringtun"}
    programs, missing = [], {}
    for name, kind in kinds.items():
        try:
            found = program(kind, cache)
            programs.append(Program(name, version(found), found))
        except LabError as error:
            missing[name] = f"{error}; {error.remedy}" if error.remedy else str(error)
    return programs, missing


class Instance:
    """A program at work, on a port of the namespace's loopback."""

    def __init__(self, host: Host, chosen: Program, folder: Path) -> None:
        self.host = host
        self.program = chosen
        self.number = next(_numbers)
        self.keys = KeyPair.generate()
        self.port = 20_000 + self.number
        self._ends = itertools.count(2)
        name = f"wi{os.getpid()}-{self.number}"
        self.wireguard = WireGuard(host.namespace, chosen.executable, name, folder / f"{name}.log")

    def start(self) -> None:
        self.wireguard.start(
            f"[Interface]\nPrivateKey = {self.keys.private}\nListenPort = {self.port}\n",
            f"10.77.{self.number}.1/24",
            f"fd77:{self.number}::1/64",
            mtu=MTU,
        )

    def stop(self) -> None:
        self.wireguard.stop()

    @property
    def place(self) -> Place:
        return ("127.0.0.1", self.port)

    def listen_on(self, port: int) -> None:
        """The program moves to another port."""
        self.host.namespace.run("wg", "set", self.wireguard.interface, "listen-port", str(port))
        self.port = port

    def meet(
        self,
        role: str,
        *,
        preshared_key: PresharedKey | None = None,
        their_preshared_key: PresharedKey | None = None,
        keepalive: int = 0,
        their_keepalive: int = 0,
        random: Callable[[int], bytes] = os.urandom,
    ) -> "Meeting":
        """Make a new end of ours, and the program know it; only who is to begin knows the other's place."""
        endpoint = self.place if role == RESPONDER else None
        end = End(
            self.host,
            Setup(
                PublicKey.from_base64(self.keys.public),
                endpoint,
                preshared_key,
                keepalive,
                MTU,
                random=random,
            ),
        )
        meeting = Meeting(self, end, role, next(self._ends))
        lines = [f"PublicKey = {meeting.public}", f"AllowedIPs = {meeting.inner[4]}/32, {meeting.inner[6]}/128"]
        theirs = their_preshared_key or preshared_key
        if theirs is not None:
            lines.append(f"PresharedKey = {theirs.to_base64()}")
        if role == INITIATOR:
            lines.append("Endpoint = {}:{}".format(*end.place))
        if their_keepalive:
            lines.append(f"PersistentKeepalive = {their_keepalive}")
        self.wireguard.configure("[Peer]\n" + "\n".join(lines) + "\n", command="addconf")
        return meeting


class Meeting:
    """One of our ends and a program that know each other, and an application behind the program."""

    def __init__(self, instance: Instance, end: End, role: str, number: int) -> None:
        self.instance = instance
        self.end = end
        self.role = role
        self.public = end.device.identity.public.to_base64()
        self.inner = {4: f"10.77.{instance.number}.{number}", 6: f"fd77:{instance.number}::{number:x}"}
        self.there = {4: f"10.77.{instance.number}.1", 6: f"fd77:{instance.number}::1"}
        self.apps: dict[int, socket.socket] = {}
        for family, kind in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            app = instance.host.namespace.socket(kind, socket.SOCK_DGRAM)
            app.bind((self.there[family], 0))
            app.settimeout(3)
            self.apps[family] = app

    def close(self) -> None:
        for app in self.apps.values():
            app.close()

    def connect(self, seconds: float = 3.0) -> None:
        """A handshake, begun by whoever is to begin it; with an answered datagram of the application's."""
        if self.role == RESPONDER:
            self.end.handshake()
            self.end.until(lambda: self.end.connections, seconds, "a response to our initiation")
        self.app_sends(b"hello")
        self.end.until(lambda: self.payloads() == [b"hello"], seconds, "the application's first datagram")
        assert self.app_receives() == b"hello"
        self.end.until(lambda: self.end.connections, 1, "a completed handshake")

    def packet(self, payload: bytes, version: int = 4) -> bytes:
        """An inner packet from our end to the application."""
        header = (IP if version == 4 else IPv6)(src=self.inner[version], dst=self.there[version])
        return bytes(header / UDP(sport=ECHO, dport=self.apps[version].getsockname()[1]) / Raw(payload))

    def app_sends(self, payload: bytes, version: int = 4) -> None:
        self.apps[version].sendto(payload, (self.inner[version], ECHO))

    def app_receives(self, version: int = 4) -> bytes:
        """The next datagram for the application; AssertionError after three seconds without."""
        try:
            return self.apps[version].recv(65535)
        except TimeoutError:
            raise AssertionError("nothing reached the application within 3 s") from None

    def app_hears_nothing_more(self, version: int = 4, seconds: float = 0.3) -> None:
        app = self.apps[version]
        app.settimeout(seconds)
        try:
            unexpected = app.recv(65535)
        except TimeoutError:
            return
        finally:
            app.settimeout(3)
        raise AssertionError(f"the application received {unexpected[:20]!r} once more")

    def payloads(self) -> list[bytes]:
        """The payloads of the inner packets our end got, oldest first."""
        return [packet[28 if packet[0] >> 4 == 4 else 48 :] for packet in self.end.packets]

    def state(self) -> PeerState:
        """What ``wg show`` says of our end."""
        return next(state for state in self.instance.wireguard.peers() if state.public_key == self.public)

    def app_hears_out(self) -> None:
        """Whatever still lies at the application is not waited for any more."""
        for app in self.apps.values():
            app.settimeout(0.1)
            with suppress(TimeoutError):
                while True:
                    app.recv(65535)
            app.settimeout(3)
