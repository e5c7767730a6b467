"""One peer: its sessions, its handshakes, its timers and the packets that wait for a session.

Sans-I/O: time, randomness and wall clock come in, datagrams go out. Faces first; the bodies follow.
"""

from collections.abc import Callable, Iterable
from os import urandom

from wiresock_py.crypto.keys import PresharedKey, PrivateKey, PublicKey
from wiresock_py.crypto.results import Address, Buffer, Datagram, Received, Stats, Ticked
from wiresock_py.crypto.session import Session


class Tunnel:
    """A peer. ``now`` is always monotonic seconds of a clock that counts sleep; a step back is taken as no time passing.

    *wall_clock* returns nanoseconds since 1970 (``time.time_ns``) and is asked only for the handshake's timestamp.
    """

    endpoint: Address | None
    """Where the peer is; follows authentic datagrams. May be set at any time."""
    mtu: int
    """The tunnel's MTU, the cap of padding in ``write``; 0: none."""
    public_key: PublicKey

    def __init__(
        self,
        private_key: PrivateKey,
        peer_public_key: PublicKey,
        preshared_key: PresharedKey | None = None,
        persistent_keepalive: float = 0,
        *,
        wall_clock: Callable[[], int],
        random: Callable[[int], bytes] = urandom,
        endpoint: Address | None = None,
        mtu: int = 0,
    ) -> None:
        raise NotImplementedError

    def up(self, now: float) -> list[Datagram]:
        """Start; with a persistent keepalive this sends one at once, hence a handshake."""
        raise NotImplementedError

    def down(self, now: float) -> None:
        """Stop: erase sessions, handshake and waiting packets, stop the timers. Endpoint and timestamps stay."""
        raise NotImplementedError

    def write(self, packets: Iterable[Buffer], now: float) -> list[Datagram]:
        """Seal inner IP packets, or stage them and start a handshake if there is no session to send on."""
        raise NotImplementedError

    def read(self, datagram: Buffer, source: Address, now: float) -> Received:
        """Take a datagram of any type."""
        raise NotImplementedError

    def tick(self, now: float) -> Ticked:
        """Run the timers that are due."""
        raise NotImplementedError

    def force_handshake(self, now: float) -> list[Datagram]:
        """Start a handshake now, unless one was started or answered within REKEY_TIMEOUT."""
        raise NotImplementedError

    def stats(self, now: float) -> Stats:
        raise NotImplementedError

    # For the data path, which seals and opens batches by itself

    def sending_session(self, now: float) -> Session | None:
        """The session to seal on, if there is one that may send; None: give the packets to ``write``."""
        raise NotImplementedError

    def sealed(self, now: float, packets: int, size: int, data: bool) -> list[Datagram]:
        """Tell that *packets* were sealed on ``sending_session``: *size* UDP payload bytes in all, *data* if any was
        not empty. Returns what must be sent after them (a rekey's initiation)."""
        raise NotImplementedError

    def opened(
        self, session: Session, source: Address, packets: int, size: int, data: bool, now: float
    ) -> list[Datagram]:
        """Tell that *packets* authentic, fresh packets arrived on *session* from *source*. Returns what must be sent
        in answer: staged packets that the confirmation released, a rekey's initiation."""
        raise NotImplementedError
