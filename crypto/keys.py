"""Keys as values that cannot be printed by accident (paper section 5: Curve25519 pairs and the preshared key)."""

import base64
import binascii
import hmac
import os
from collections.abc import Callable
from typing import Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

KEY_LENGTH = 32


class Key:
    """A 32-byte key. ``repr`` and ``str`` never show a secret one; ``to_base64`` is the only way to its text."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_LENGTH:
            raise ValueError(f"a key has {KEY_LENGTH} bytes, not {len(raw)}")
        self._raw = bytes(raw)

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """Read the 44 characters that ``wg`` prints. Raises ValueError, which says what is wrong but never *text*."""
        try:
            raw = base64.b64decode(text.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise ValueError("a key is 44 characters of base64 ending in '='") from None
        if len(raw) != KEY_LENGTH:
            raise ValueError(f"a key has {KEY_LENGTH} bytes (44 characters of base64), this one has {len(raw)}")
        if base64.b64encode(raw).decode("ascii") != text:
            raise ValueError("the last characters of this key carry bits that belong to no byte; it was mistyped")
        return cls(raw)

    def to_base64(self) -> str:
        return base64.b64encode(self._raw).decode("ascii")

    def __bytes__(self) -> bytes:
        return self._raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and type(self) is type(other) and hmac.compare_digest(self._raw, other._raw)

    def __hash__(self) -> int:
        return hash((type(self), self._raw))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hidden)"


class PrivateKey(Key):
    """A static private key; stored as given, clamped by X25519 itself."""

    __slots__ = ()

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> Self:
        """A new key, clamped (RFC 7748 section 5) as ``wg genkey`` prints it."""
        raw = bytearray(random(KEY_LENGTH))
        raw[0] &= 248
        raw[31] = raw[31] & 127 | 64
        return cls(bytes(raw))

    def public_key(self) -> "PublicKey":
        return PublicKey(X25519PrivateKey.from_private_bytes(self._raw).public_key().public_bytes_raw())


class PresharedKey(Key):
    """The optional symmetric key; 32 zero bytes mean none (paper section 5.2)."""

    __slots__ = ()

    @classmethod
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> Self:
        return cls(random(KEY_LENGTH))


class PublicKey(Key):
    """A static public key: not a secret, shown shortened as ``wg`` users know it."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.to_base64()

    def __repr__(self) -> str:
        return f"PublicKey({self.to_base64()[:8]}…)"
