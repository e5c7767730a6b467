"""Fragments of tunnelled datagrams: only the first names its flow, the later ones follow it by their identification."""

from collections import Counter
from collections.abc import Hashable

from wiresock_py.datapath.drops import PacketDrop
from wiresock_py.datapath.flows import Flow
from wiresock_py.datapath.headers import Header

TIMEOUT = 30.0  # Linux' ipfrag_time; RFC 791 suggests 15 s, RFC 8200 60 s
MAX_DATAGRAMS = 1024
MAX_HELD_BYTES = 1 << 20

Fragment = tuple[bytes, Header]
_Key = tuple[Hashable, bytes, bytes, int, int]


class _Datagram:
    """A datagram whose fragments pass: its flow once the first one came, until then those that came before it."""

    __slots__ = ("early", "expires", "flow")

    def __init__(self, expires: float) -> None:
        self.expires = expires
        self.flow: Flow | None = None
        self.early: list[Fragment] = []


class Fragments:
    """Which flow the fragments of a datagram belong to, for inbound packets; bounded in time, number and bytes.

    Datagrams are kept apart by the peer they came from, so that no peer can add to another's.
    """

    def __init__(self) -> None:
        self.drops: Counter[PacketDrop] = Counter()
        self._datagrams: dict[_Key, _Datagram] = {}  # in the order they will expire in
        self._held = 0

    def follow(
        self, packet: bytes, header: Header, flow: Flow | None, peer: Hashable, now: float
    ) -> list[tuple[bytes, Header, Flow]]:
        """Take a fragment from *peer*; returns the fragments that may go on now, each with its flow.

        *flow* is that of a first fragment, None if it has none; of a later one it is ignored. A later fragment that
        comes before the first waits for it.
        """
        self.expire(now)
        key = (peer, header.source, header.destination, header.protocol, header.identification)
        datagram = self._datagrams.get(key)
        if not header.is_later_fragment:
            if flow is None:  # the caller counts it; what waits for it may go as well
                self._forget(key)
                return []
            if datagram is None:
                datagram = self._enter(key, now)
            datagram.flow = flow
            early, datagram.early = datagram.early, []
            self._held -= sum(len(held) for held, _ in early)
            return [(packet, header, flow), *((held, its_header, flow) for held, its_header in early)]
        if datagram is not None and datagram.flow is not None:
            if datagram.flow.live:
                return [(packet, header, datagram.flow)]
            self.drops[PacketDrop.FRAGMENT_ORPHAN] += 1
        elif self._held + len(packet) > MAX_HELD_BYTES:
            self.drops[PacketDrop.FRAGMENT_ORPHAN] += 1
        else:
            (datagram or self._enter(key, now)).early.append((packet, header))
            self._held += len(packet)
        return []

    def expire(self, now: float) -> None:
        """Forget datagrams that took too long, and count what was held of them."""
        while self._datagrams:
            key, datagram = next(iter(self._datagrams.items()))
            if datagram.expires > now:
                return
            self._forget(key)

    def _enter(self, key: _Key, now: float) -> _Datagram:
        if len(self._datagrams) >= MAX_DATAGRAMS:
            self._forget(next(iter(self._datagrams)))
        datagram = self._datagrams[key] = _Datagram(now + TIMEOUT)
        return datagram

    def _forget(self, key: _Key) -> None:
        datagram = self._datagrams.pop(key, None)
        if datagram is not None:
            self._held -= sum(len(held) for held, _ in datagram.early)
            self.drops[PacketDrop.FRAGMENT_ORPHAN] += len(datagram.early)
