"""Two WireGuard ends in memory, on a virtual clock and with chosen random bytes."""

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from itertools import count

from wiresock_py.crypto.device import Device
from wiresock_py.crypto.keys import PresharedKey, PrivateKey
from wiresock_py.crypto.results import Datagram, Received
from wiresock_py.crypto.tunnel import Tunnel

EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))
CLIENT = ("192.0.2.1", 51820)
SERVER = ("198.51.100.1", 51820)
EPOCH_NS = 1_750_000_000_000_000_000

ALICE = PrivateKey(bytes(range(1, 33)))
BOB = PrivateKey(bytes(range(33, 65)))

PACKET = bytes.fromhex("4500001c12344000401113ed0a4200020a42000100010002000805d4")
"""A small IPv4 UDP packet."""


class WallClock:
    """Nanoseconds since 1970, a second later at each look unless it is set."""

    def __init__(self, now: int = EPOCH_NS, step: int = 1_000_000_000) -> None:
        self.now = now
        self.step = step

    def __call__(self) -> int:
        self.now += self.step
        return self.now


class CountingRandom:
    """Random bytes that are the same in every run, and different in every call."""

    def __init__(self, seed: int = 0) -> None:
        self._numbers = count(seed * 1_000_003 + 1)

    def __call__(self, size: int) -> bytes:
        # An odd multiplier spreads the count over all bits of each 8-byte word.
        words = (next(self._numbers) * 0x9E3779B97F4A7C15 % 2**64 for _ in range(-(-size // 8)))
        return b"".join(word.to_bytes(8, "little") for word in words)[:size]


class ScriptedRandom:
    """Chosen bytes for the next calls of each size; what was not chosen comes from a counting source."""

    def __init__(self, *chosen: bytes, seed: int = 0) -> None:
        self._chosen = list(chosen)
        self._rest = CountingRandom(seed)

    def choose(self, *chosen: bytes) -> None:
        self._chosen += chosen

    def __call__(self, size: int) -> bytes:
        for position, chosen in enumerate(self._chosen):
            if len(chosen) == size:
                return self._chosen.pop(position)
        return self._rest(size)


def device(
    key: PrivateKey,
    *,
    seed: int = 0,
    wall_clock: Callable[[], int] | None = None,
    random: Callable[[int], bytes] | None = None,
) -> Device:
    return Device(key, wall_clock=wall_clock or WallClock(), random=random or CountingRandom(seed))


def pair(
    *, preshared_key: PresharedKey | None = None, persistent_keepalive: float = 0, mtu: int = 0
) -> tuple[Tunnel, Tunnel]:
    """A client that knows where its server is, and the server."""
    client = Tunnel(
        ALICE,
        BOB.public_key(),
        preshared_key,
        persistent_keepalive,
        wall_clock=WallClock(),
        random=CountingRandom(1),
        endpoint=SERVER,
        mtu=mtu,
    )
    server = Tunnel(BOB, ALICE.public_key(), preshared_key, wall_clock=WallClock(), random=CountingRandom(2), mtu=mtu)
    return client, server


def carry(datagrams: Iterable[Datagram], to: Tunnel | Device, source: tuple[str, int], now: float) -> list[Received]:
    return [to.read(datagram.data, source, now) for datagram in datagrams]


def connect(client: Tunnel, server: Tunnel, now: float = 0.0) -> None:
    """A confirmed session, the client its initiator."""
    (initiation,) = client.force_handshake(now)
    (response,) = server.read(initiation.data, CLIENT, now).datagrams
    (confirmation,) = client.read(response.data, SERVER, now).datagrams
    assert server.read(confirmation.data, CLIENT, now).drop is None


def packets_of(received: Iterable[Received]) -> list[bytes]:
    return [bytes(one.packet) for one in received if one.packet is not None]


def datagrams_of(received: Iterable[Received]) -> list[Datagram]:
    return [datagram for one in received for datagram in one.datagrams]


def numbered(count: int) -> list[bytes]:
    """As many packets, each another one."""
    return [PACKET[:-2] + number.to_bytes(2, "big") for number in range(count)]


def kinds(datagrams: Iterable[Datagram]) -> list[int]:
    """The message type of each."""
    return [datagram.data[0] for datagram in datagrams]
