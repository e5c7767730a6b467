"""What a session computes with: a cipher for each direction and a receive window, of whoever makes the fastest.

The core's own come from ``cryptography`` and ``replay.py``. A compiled data path brings others, which it can use
without the interpreter; they keep the same promises, which ``tests/unit/crypto/test_ciphers.py`` holds of each.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wiresock_py.crypto.replay import ReplayWindow
from wiresock_py.crypto.results import Buffer


class Sealer(Protocol):
    """ChaCha20-Poly1305 with one key, to encrypt."""

    def encrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer | None, buf: bytearray | memoryview, /
    ) -> int:
        """Write cipher text and tag, 16 bytes more than *data*, into *buf*, which may begin where *data* does."""


class Opener(Protocol):
    """ChaCha20-Poly1305 with one key, to decrypt."""

    def decrypt_into(
        self, nonce: Buffer, data: Buffer, associated_data: Buffer | None, buf: bytearray | memoryview, /
    ) -> int:
        """Write the plain text into *buf*, which may begin where *data* does. Raises InvalidTag."""


class Window(Protocol):
    """Which counters were accepted, as :class:`wiresock_py.crypto.replay.ReplayWindow` has it."""

    @property
    def greatest(self) -> int: ...

    def check(self, counter: int, /) -> bool: ...

    def accept(self, counter: int, /) -> bool: ...


class Ciphers(NamedTuple):
    """One maker of the three. A cipher takes its key of 32 bytes once; dropped, it is erased with it."""

    sealer: Callable[[Buffer], Sealer]
    opener: Callable[[Buffer], Opener]
    window: Callable[[], Window]


CRYPTOGRAPHY = Ciphers(ChaCha20Poly1305, ChaCha20Poly1305, ReplayWindow)
