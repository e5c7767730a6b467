"""Many peers behind one private key: whom a datagram is from, where a packet goes."""

from collections.abc import Callable, Iterable
from os import urandom

from wiresock_py.crypto.allowed_ips import Prefix
from wiresock_py.crypto.ciphers import CRYPTOGRAPHY, Ciphers
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.inner import destination_of
from wiresock_py.crypto.keys import PresharedKey, PrivateKey, PublicKey
from wiresock_py.crypto.local import Local
from wiresock_py.crypto.noise import Identity
from wiresock_py.crypto.results import Address, Buffer, Datagram, Ticked
from wiresock_py.crypto.tunnel import Tunnel


class Device(Local):
    """The peers of one private key. Not thread-safe: the caller holds one lock around it.

    ``read`` takes what arrives, ``write`` what leaves, ``tick`` runs the timers. ``sessions`` maps our receiver indices
    to live sessions and stays the same dict; ``route`` is cryptokey routing. ``peers`` is to be read only.
    """

    def __init__(
        self,
        private_key: PrivateKey,
        *,
        wall_clock: Callable[[], int],
        random: Callable[[int], bytes] = urandom,
        ciphers: Ciphers = CRYPTOGRAPHY,
    ) -> None:
        super().__init__(private_key, wall_clock=wall_clock, random=random, ciphers=ciphers)

    def add_peer(
        self,
        public_key: PublicKey,
        allowed_ips: Iterable[Prefix] = (),
        *,
        preshared_key: PresharedKey | None = None,
        persistent_keepalive: float = 0,
        endpoint: Address | None = None,
        mtu: int = 0,
    ) -> Tunnel:
        """Add a peer; a prefix that another peer had moves to this one.

        Raises ValueError for a key that is our own or already a peer's.
        """
        if public_key in self.peers:
            raise ValueError("this public key is a peer's already")
        tunnel = Tunnel.of(self, public_key, preshared_key, persistent_keepalive, endpoint=endpoint, mtu=mtu)
        for prefix in allowed_ips:
            self.routes.insert(prefix, tunnel)
        return tunnel

    def remove_peer(self, public_key: PublicKey) -> None:
        """Remove a peer with its sessions, its keys and its prefixes; unknown peers are none of our business."""
        tunnel = self.peers.get(public_key)
        if tunnel is not None:
            tunnel.close()

    def set_allowed_ips(self, tunnel: Tunnel, allowed_ips: Iterable[Prefix]) -> None:
        """Replace a peer's prefixes, at any time; one that another peer had moves to this one."""
        self.routes.remove_owner(tunnel)
        for prefix in allowed_ips:
            self.routes.insert(prefix, tunnel)

    def set_private_key(self, private_key: PrivateKey) -> None:
        """Use another private key: all handshakes start afresh, live sessions only receive until they expire.

        A peer whose public key is now our own is removed.
        """
        self.identity = Identity(private_key)
        self.gate.set_identity(self.identity.public)
        self.remove_peer(self.identity.public)
        for tunnel in self.peers.values():
            tunnel.identity_changed()

    def route(self, address: bytes) -> Tunnel | None:
        """The peer with the longest prefix for a packed address (4 or 16 bytes)."""
        return self.routes.lookup(address)

    def write(self, packets: Iterable[Buffer], now: float) -> list[Datagram]:
        """Send inner packets to the peers their destinations belong to, in order for each peer."""
        by_peer: dict[Tunnel, list[Buffer]] = {}
        for packet in packets:
            destination = destination_of(packet)
            tunnel = None if destination is None else self.route(destination)
            if tunnel is None:
                self.drops[Drop.MALFORMED if destination is None else Drop.NO_ROUTE] += 1
            else:
                by_peer.setdefault(tunnel, []).append(packet)
        datagrams: list[Datagram] = []
        for tunnel, batch in by_peer.items():
            datagrams += tunnel.write(batch, now)
        return datagrams

    def tick(self, now: float) -> Ticked:
        """Run the timers that are due, of every peer."""
        now = self.clock(now)
        datagrams: list[Datagram] = []
        deadline = float("inf")
        for tunnel in self.peers.values():
            if tunnel.timers.deadline <= now:
                datagrams += tunnel.run_timers(now)
            deadline = min(deadline, tunnel.timers.deadline)
        return Ticked(datagrams, self.take_events(), deadline)

    def up(self, now: float) -> list[Datagram]:
        """Start every peer."""
        return [datagram for tunnel in self.peers.values() for datagram in tunnel.up(now)]

    def down(self) -> None:
        """Stop every peer."""
        for tunnel in self.peers.values():
            tunnel.down()
