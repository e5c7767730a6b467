"""The layout of the four messages (paper 5.4.2 - 5.4.7). All integers are little-endian.

Type and three reserved bytes are read as one word, as every implementation does, so non-zero reserved bytes are an
unknown type. Lengths are exact but for transport datagrams. The MACs end the two handshake messages and are computed
over what stands before them (``cookie.py``).
"""

import struct
from typing import NamedTuple, Self

from wiresock_py.crypto.constants import (
    COOKIE_REPLY_SIZE,
    INITIATION_SIZE,
    RESPONSE_SIZE,
    TRANSPORT_MIN_SIZE,
    TYPE_COOKIE_REPLY,
    TYPE_INITIATION,
    TYPE_RESPONSE,
    TYPE_TRANSPORT,
)
from wiresock_py.crypto.results import Buffer

MAC_SIZE = 16

_WORD = struct.Struct("<I")
_INDEX = struct.Struct("<4xI")
_INITIATION = struct.Struct("<II32s48s28s")
_RESPONSE = struct.Struct("<III32s16s")
_COOKIE_REPLY = struct.Struct("<II24s32s")
_EXACT_SIZES = {
    TYPE_INITIATION: INITIATION_SIZE,
    TYPE_RESPONSE: RESPONSE_SIZE,
    TYPE_COOKIE_REPLY: COOKIE_REPLY_SIZE,
}


def message_type(datagram: Buffer) -> int:
    """Which of the four messages a datagram is by type and length; 0 for none."""
    size = len(datagram)
    if size < _WORD.size:
        return 0
    (word,) = _WORD.unpack_from(datagram)
    if word == TYPE_TRANSPORT:
        return TYPE_TRANSPORT if size >= TRANSPORT_MIN_SIZE else 0
    return word if _EXACT_SIZES.get(word) == size else 0


def first_index(datagram: Buffer) -> int:
    """The index after the type: the sender's in handshake messages, the receiver's in the other two."""
    index: int = _INDEX.unpack_from(datagram)[0]
    return index


class Initiation(NamedTuple):
    """The first message, without its MACs."""

    sender: int
    ephemeral: bytes
    """The ephemeral public key as it was sent: the transcript hashes these very bytes, canonical or not."""
    static: bytes
    timestamp: bytes

    @classmethod
    def parse(cls, datagram: Buffer) -> Self:
        return cls(*_INITIATION.unpack_from(datagram)[1:])

    def pack(self) -> bytes:
        return _INITIATION.pack(TYPE_INITIATION, *self)


class Response(NamedTuple):
    """The second message, without its MACs."""

    sender: int
    receiver: int
    ephemeral: bytes
    empty: bytes

    @classmethod
    def parse(cls, datagram: Buffer) -> Self:
        return cls(*_RESPONSE.unpack_from(datagram)[1:])

    def pack(self) -> bytes:
        return _RESPONSE.pack(TYPE_RESPONSE, *self)


class CookieReply(NamedTuple):
    """What a responder under load sends instead of working."""

    receiver: int
    nonce: bytes
    cookie: bytes

    @classmethod
    def parse(cls, datagram: Buffer) -> Self:
        return cls(*_COOKIE_REPLY.unpack_from(datagram)[1:])

    def pack(self) -> bytes:
        return _COOKIE_REPLY.pack(TYPE_COOKIE_REPLY, *self)
