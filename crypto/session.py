"""A transport session: a pair of keys, a send counter and a receive window (paper 5.4.6).

The data path reads ``header``, ``sealer``, ``opener``, ``counter`` and ``replay`` directly and moves ``counter``
itself: a batch must not pay a method call a packet. It then reports to the tunnel (``Tunnel.sealed``,
``Tunnel.opened``), which keeps the timers. The methods here do the same for one packet.
"""

import struct
from os import urandom
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from wiresock_py.crypto.ciphers import CRYPTOGRAPHY, Ciphers
from wiresock_py.crypto.constants import (
    REJECT_AFTER_MESSAGES,
    REJECT_AFTER_TIME,
    TAG_SIZE,
    TRANSPORT_HEADER_SIZE,
    TYPE_TRANSPORT,
)
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import KEY_LENGTH
from wiresock_py.crypto.results import Buffer

if TYPE_CHECKING:
    from wiresock_py.crypto.tunnel import Tunnel

_HEADER = struct.Struct("<II")
_COUNTER = struct.Struct("<Q")
# The nonce: four zero bytes and the counter, little-endian.
_NONCE = struct.Struct("<xxxxQ")


class Session:
    """One direction-pair of keys with a peer. Whoever holds it may seal and open; nobody else knows the keys."""

    __slots__ = (
        "_ciphers",
        "counter",
        "created",
        "header",
        "initiator",
        "local_index",
        "opener",
        "peer",
        "received",
        "remote_index",
        "replay",
        "sealer",
    )

    def __init__(
        self,
        peer: "Tunnel",
        *,
        local_index: int,
        remote_index: int,
        sending_key: Buffer,
        receiving_key: Buffer,
        initiator: bool,
        created: float,
        ciphers: Ciphers = CRYPTOGRAPHY,
    ) -> None:
        self.peer = peer
        """The tunnel it belongs to."""
        self.local_index = local_index
        """The receiver index in datagrams to us."""
        self.remote_index = remote_index
        """The receiver index in datagrams to the peer."""
        self.header = _HEADER.pack(TYPE_TRANSPORT, remote_index)
        """The first 8 bytes of every datagram to the peer; the counter, 8 bytes little-endian, follows."""
        self._ciphers = ciphers
        self.sealer = ciphers.sealer(sending_key)
        self.opener = ciphers.opener(receiving_key)
        self.counter = 0
        """The counter of the next packet to seal. Whoever seals moves it; none may be used twice."""
        self.replay = ciphers.window()
        self.received = 0
        """Authentic packets received, for the loss estimate."""
        self.created = created
        """The monotonic second at which the keys came to be."""
        self.initiator = initiator
        """Whether we sent the initiation: the side that rekeys by age."""

    def expired(self, now: float) -> bool:
        """Whether it may neither send nor receive any more."""
        return now >= self.created + REJECT_AFTER_TIME

    def seal_into(self, plaintext: Buffer, out: bytearray | memoryview) -> int:
        """Seal one packet, padded already, into *out*, and return the datagram's size: 32 more than the plaintext.

        The caller has made sure that the counter is below REJECT_AFTER_MESSAGES. Raises ValueError if *out* is too
        small.
        """
        size = TRANSPORT_HEADER_SIZE + len(plaintext) + TAG_SIZE
        if len(out) < size:
            raise ValueError(f"sealing {len(plaintext)} bytes takes {size}, the buffer has {len(out)}")
        counter = self.counter
        if counter >= REJECT_AFTER_MESSAGES:
            raise ValueError("the session has used up its counters")
        self.counter = counter + 1
        view = memoryview(out)
        view[:8] = self.header
        view[8:16] = _COUNTER.pack(counter)
        self.sealer.encrypt_into(_NONCE.pack(counter), plaintext, None, view[TRANSPORT_HEADER_SIZE:size])
        return size

    def open_into(self, datagram: Buffer, out: bytearray | memoryview) -> "int | Drop":
        """Open one transport datagram of this session into *out*; returns the plaintext's size or why it was dropped.

        *datagram* has at least 32 bytes, *out* room for 32 less than it has; on a drop the contents of *out* are
        undefined. The replay window is marked only after the tag verified.
        """
        view = memoryview(datagram)
        (counter,) = _COUNTER.unpack_from(view, 8)
        if counter >= REJECT_AFTER_MESSAGES:
            return Drop.COUNTER_LIMIT
        if not self.replay.check(counter):
            return Drop.REPLAY
        size = len(view) - TRANSPORT_HEADER_SIZE - TAG_SIZE
        try:
            self.opener.decrypt_into(_NONCE.pack(counter), view[TRANSPORT_HEADER_SIZE:], None, memoryview(out)[:size])
        except InvalidTag:
            return Drop.BAD_TAG
        self.replay.accept(counter)
        return size

    def erase(self) -> None:
        """Forget the keys. What still holds the session seals what nobody can read, and opens nothing.

        The ciphers are replaced by ones with random keys that are forgotten at once: an attribute that vanished would
        raise in the middle of a batch, and a fixed key would let a late packet out readable.
        """
        self.sealer = self._ciphers.sealer(urandom(KEY_LENGTH))
        self.opener = self._ciphers.opener(urandom(KEY_LENGTH))
        self.counter = REJECT_AFTER_MESSAGES

    def __repr__(self) -> str:
        role = "initiator" if self.initiator else "responder"
        return f"Session({self.local_index:#010x} -> {self.remote_index:#010x}, {role}, created {self.created:.3f})"
