"""Real WireGuard ends: somebody's WireGuard (see builds.py) on a TUN device in a namespace, configured by ``wg``."""

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wiresock_py.lab.namespaces import LabError, Namespace, Process
from wiresock_py.lab.topology import INNER_CLIENT, SERVER, TUNNEL_RESOLVER, inner_networks

SOCKETS = Path("/var/run/wireguard")
PORT = 51820
MTU = 1420


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A static key pair, in base64 as ``wg`` writes them."""

    private: str = field(repr=False)
    public: str

    @classmethod
    def generate(cls) -> "KeyPair":
        key = X25519PrivateKey.generate()
        return cls(_text(key.private_bytes_raw()), _text(key.public_key().public_bytes_raw()))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


@dataclass(frozen=True, slots=True)
class Peer:
    """A client as its server knows it, with the private key that the client is to have."""

    keys: KeyPair
    addresses: tuple[str, ...] = (f"{INNER_CLIENT.v4}/32", f"{INNER_CLIENT.v6}/128")
    preshared_key: str = field(default="", repr=False)
    endpoint: str = ""
    """Where the server sends its own first handshake; empty: it waits for the client's."""
    keepalive: int = 0
    """The server's PersistentKeepalive; with *endpoint* it makes the server the initiator."""


@dataclass(frozen=True, slots=True)
class PeerState:
    """What ``wg show`` says of a peer; *handshake* in seconds since the epoch, 0 for none yet."""

    public_key: str
    endpoint: str
    handshake: int
    received: int
    sent: int


class WireGuard:
    """One WireGuard with its TUN device. The device's name must be unique on the machine: its socket's is."""

    def __init__(self, namespace: Namespace, executable: Path, interface: str, log: Path) -> None:
        self.namespace = namespace
        self.executable = executable
        self.interface = interface
        self._log = log
        self._process: Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int:
        """Its process id. Raises LabError before :meth:`start`."""
        if self._process is None:
            raise LabError(f"{self.interface} has not been started")
        return self._process.pid

    def start(self, settings: str, *addresses: str, mtu: int = MTU) -> None:
        """Start it, give it *settings* (``wg setconf``) and its addresses, and raise the device."""
        # WG_SUDO: or those in Rust give up their rights to whoever logged in, which may be nobody
        command = self.namespace.command("env", "WG_SUDO=true", str(self.executable), "-f", self.interface)
        self._process = Process(command, log=self._log)
        self._process.wait_for((SOCKETS / f"{self.interface}.sock").exists, "serving as wireguard-go")
        self.configure(settings)
        self.namespace.ip(
            *(f"address add {address} dev {self.interface} nodad" for address in addresses if ":" in address),
            *(f"address add {address} dev {self.interface}" for address in addresses if ":" not in address),
            f"link set {self.interface} mtu {mtu} up",
        )

    def configure(self, settings: str, *, command: str = "setconf") -> None:
        """``wg setconf``, or ``addconf``, ``syncconf``; the keys go through a pipe, never onto a command line."""
        self.namespace.run("wg", command, self.interface, "/dev/stdin", stdin=settings)

    def peers(self) -> list[PeerState]:
        """The state of each peer."""
        rows = [line.split("\t") for line in self.namespace.run("wg", "show", self.interface, "dump").splitlines()[1:]]
        # public key, preshared key, endpoint, allowed ips, latest handshake, received, sent, keepalive
        return [PeerState(row[0], row[2], int(row[4]), int(row[5]), int(row[6])) for row in rows]

    def stop(self) -> None:
        """End it; sessions and counters are lost, as when a server restarts. May be repeated."""
        if self._process is not None:
            self._process.stop()
        (SOCKETS / f"{self.interface}.sock").unlink(missing_ok=True)


class Endpoint:
    """A server as its clients' configurations name it: a public key and a port of the ``server`` host."""

    def __init__(self, port: int = PORT) -> None:
        self.keys = KeyPair.generate()
        self.port = port

    def client_config(
        self,
        peer: Peer,
        *,
        allowed_apps: str = "",
        disallowed_apps: str = "",
        allowed_ips: str = "0.0.0.0/0, ::/0",
        disallowed_ips: str = "",
        addresses: str = "",
        dns: str = f"{TUNNEL_RESOLVER.v4}, {TUNNEL_RESOLVER.v6}",
        mtu: int = MTU,
        listen_port: int = 0,
        keepalive: int = 0,
        endpoint: str = "",
    ) -> str:
        """The text of the client's wg0.conf. *endpoint* defaults to this server over IPv4."""
        interface = {
            "PrivateKey": peer.keys.private,
            "Address": addresses or ", ".join(peer.addresses),
            "DNS": dns,
            "MTU": str(mtu) if mtu else "",
            "ListenPort": str(listen_port) if listen_port else "",
        }
        section = {
            "PublicKey": self.keys.public,
            "PresharedKey": peer.preshared_key,
            "AllowedIPs": allowed_ips,
            "Endpoint": endpoint or SERVER.endpoint(4, self.port),
            "PersistentKeepalive": str(keepalive) if keepalive else "",
            "AllowedApps": allowed_apps,
            "DisallowedApps": disallowed_apps,
            "DisallowedIPs": disallowed_ips,
        }
        return _section("Interface", interface) + "\n" + _section("Peer", section)

    def wireguard_config(self, peer: Peer) -> str:
        """The same for another WireGuard, in the words that ``wg setconf`` knows; everything goes to this server."""
        section = {
            "PublicKey": self.keys.public,
            "PresharedKey": peer.preshared_key,
            "AllowedIPs": "0.0.0.0/0, ::/0",
            "Endpoint": "" if peer.endpoint else SERVER.endpoint(4, self.port),  # it waits where the server calls
        }
        interface = {"PrivateKey": peer.keys.private}
        if peer.endpoint:
            interface["ListenPort"] = peer.endpoint.rpartition(":")[2]
        return _section("Interface", interface) + _section("Peer", section)


class Server(Endpoint):
    """The lab's WireGuard server: a :class:`WireGuard` with keys, peers, and configurations for its clients."""

    def __init__(self, namespace: Namespace, executable: Path, interface: str, log: Path, site: int = 0) -> None:
        """Of several servers each has a *site* of its own: a port, and inner networks."""
        super().__init__(PORT + site)
        self._networks = inner_networks(site)
        self.wireguard = WireGuard(namespace, executable, interface, log)
        self._peers: list[Peer] = []

    def start(self) -> None:
        """Start, or start again, with the peers added so far."""
        addresses = [network.replace("::/", "::1/").replace(".0/", ".1/") for network in self._networks]
        own = f"[Interface]\nPrivateKey = {self.keys.private}\nListenPort = {self.port}\n"
        self.wireguard.start(own + "".join(map(_peer_section, self._peers)), *addresses)

    def stop(self) -> None:
        self.wireguard.stop()

    def add_peer(self, *, preshared: bool = False, endpoint: str = "", keepalive: int = 0, number: int = 2) -> Peer:
        """Make a client known, with its keys; *number* is the last part of its inner addresses."""
        addresses = tuple(
            f"{network.split('/')[0].removesuffix('0')}{number:{form}}{length}"
            for network, form, length in zip(self._networks, "dx", ("/32", "/128"), strict=True)
        )
        secret = _text(os.urandom(32)) if preshared else ""
        peer = Peer(KeyPair.generate(), addresses, secret, endpoint, keepalive)
        self._peers.append(peer)
        if self.wireguard.running:
            self.wireguard.configure(_peer_section(peer), command="addconf")
        return peer

    def state(self, peer: Peer) -> PeerState:
        return next(state for state in self.wireguard.peers() if state.public_key == peer.keys.public)


def _section(name: str, values: dict[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items() if value)


def _peer_section(peer: Peer) -> str:
    return _section(
        "Peer",
        {
            "PublicKey": peer.keys.public,
            "PresharedKey": peer.preshared_key,
            "AllowedIPs": ", ".join(peer.addresses),
            "Endpoint": peer.endpoint,
            "PersistentKeepalive": str(peer.keepalive) if peer.keepalive else "",
        },
    )
