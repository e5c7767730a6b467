"""Many peers behind one private key: who a datagram is for, where a packet goes. Faces first; the bodies follow."""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network
from os import urandom

from wiresock_py.crypto.keys import PresharedKey, PrivateKey, PublicKey
from wiresock_py.crypto.results import Address, Buffer, Datagram, Received, Ticked
from wiresock_py.crypto.session import Session
from wiresock_py.crypto.tunnel import Tunnel


class Device:
    """The peers of one private key. Not thread-safe: the caller holds one lock around it."""

    sessions: dict[int, Session]
    """Every live session by our receiver index; the same dict for the life of the device."""
    peers: dict[PublicKey, Tunnel]

    def __init__(
        self,
        private_key: PrivateKey,
        *,
        wall_clock: Callable[[], int],
        random: Callable[[int], bytes] = urandom,
    ) -> None:
        raise NotImplementedError

    def add_peer(
        self,
        public_key: PublicKey,
        allowed_ips: Iterable[IPv4Network | IPv6Network] = (),
        *,
        preshared_key: PresharedKey | None = None,
        persistent_keepalive: float = 0,
        endpoint: Address | None = None,
        mtu: int = 0,
    ) -> Tunnel:
        """Add a peer; a prefix that another peer had moves to this one."""
        raise NotImplementedError

    def remove_peer(self, public_key: PublicKey) -> None:
        raise NotImplementedError

    def route(self, address: bytes) -> Tunnel | None:
        """The peer with the longest allowed prefix for a packed address (4 or 16 bytes)."""
        raise NotImplementedError

    def write(self, packets: Iterable[Buffer], now: float) -> list[Datagram]:
        """Route inner packets by destination, then as ``Tunnel.write``."""
        raise NotImplementedError

    def read(self, datagram: Buffer, source: Address, now: float) -> Received:
        """Take a datagram of any type from anywhere."""
        raise NotImplementedError

    def tick(self, now: float) -> Ticked:
        """Run the timers of every peer that are due."""
        raise NotImplementedError

    def set_private_key(self, private_key: PrivateKey, now: float) -> None:
        raise NotImplementedError

    def up(self, now: float) -> list[Datagram]:
        raise NotImplementedError

    def down(self, now: float) -> None:
        raise NotImplementedError
