"""The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s in both roles (paper 5.4.2, 5.4.3, 5.4.5).

    initiator                                    responder
    initiate() ───────── initiation ──────────>  read_initiation() tells who claims to send it
                                                 .verify() with that peer's DH(S, S): the timestamp
    finish()  <────────── response ────────────  respond()
    Keys                                         Keys

Two rules keep a stranger from breaking a handshake in progress: nothing is committed before the last tag verified, so a
bad response leaves the pending initiation as it was (``finish`` works on a copy); and the transcript hashes ephemeral
keys as received, while only DH masks them.

All functions return None or a :class:`Drop` where the other side's bytes are to blame; none raises.
"""

from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wiresock_py.crypto.constants import CONSTRUCTION, IDENTIFIER
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import PrivateKey, PublicKey
from wiresock_py.crypto.messages import Initiation, Response
from wiresock_py.crypto.primitives import blake2s_hash, dh, kdf, seal, unseal
from wiresock_py.crypto.results import Buffer

_CHAINING_KEY = blake2s_hash(CONSTRUCTION)
_HASH = blake2s_hash(_CHAINING_KEY, IDENTIFIER)


class Identity:
    """A static key pair, the private half held by the cryptographic library."""

    __slots__ = ("private", "public")

    def __init__(self, key: PrivateKey) -> None:
        self.private = X25519PrivateKey.from_private_bytes(bytes(key))
        self.public = PublicKey(self.private.public_key().public_bytes_raw())


class Keys(NamedTuple):
    """A new session's keys, as this side uses them."""

    sending: bytes
    receiving: bytes

    def __repr__(self) -> str:
        return "Keys(hidden)"


class SymmetricState:
    """The running hash and chaining key (Noise 5.2). Every message mixes in what it carries and what it proves."""

    __slots__ = ("chaining_key", "hash")

    def __init__(self, chaining_key: Buffer = _CHAINING_KEY, transcript: bytes = _HASH) -> None:
        self.chaining_key = bytearray(chaining_key)
        self.hash = transcript

    def copy(self) -> "SymmetricState":
        return type(self)(self.chaining_key, self.hash)

    def mix_hash(self, data: Buffer) -> None:
        self.hash = blake2s_hash(self.hash, data)

    def mix_chain(self, data: Buffer) -> None:
        (self.chaining_key[:],) = kdf(1, self.chaining_key, data)

    def mix_key(self, data: Buffer) -> bytes:
        """Mix in a secret; the key for the next field."""
        self.chaining_key[:], key = kdf(2, self.chaining_key, data)
        return key

    def mix_key_and_hash(self, preshared_key: Buffer) -> bytes:
        """Mix in the preshared key, 32 zero bytes where there is none: this step is never left out."""
        self.chaining_key[:], temporary, key = kdf(3, self.chaining_key, preshared_key)
        self.mix_hash(temporary)
        return key

    def seal(self, key: bytes, plaintext: Buffer) -> bytes:
        ciphertext = seal(key, 0, plaintext, self.hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def unseal(self, key: bytes, ciphertext: bytes) -> bytes | None:
        plaintext = unseal(key, 0, ciphertext, self.hash)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The session's keys: the initiator's to send, the responder's to send."""
        first, second = kdf(2, self.chaining_key, b"")
        return first, second

    def erase(self) -> None:
        self.chaining_key[:] = bytes(len(self.chaining_key))
        self.hash = b""


class PendingInitiation:
    """An initiation that waits for its response: what ``finish`` needs. Its contents are secret until erased."""

    __slots__ = ("ephemeral", "local_index", "sent", "state")

    def __init__(self, local_index: int, ephemeral: X25519PrivateKey, state: SymmetricState, sent: float) -> None:
        self.local_index = local_index
        self.ephemeral: X25519PrivateKey | None = ephemeral
        self.state = state
        self.sent = sent

    def erase(self) -> None:
        self.ephemeral = None
        self.state.erase()


def initiate(
    identity: Identity,
    peer: PublicKey,
    static_static: bytes,
    *,
    ephemeral: X25519PrivateKey,
    local_index: int,
    timestamp: bytes,
    now: float,
) -> tuple[Initiation, PendingInitiation] | None:
    """The first message; *static_static* is DH(S_i, S_r). None if the peer's key is of low order."""
    state = SymmetricState()
    state.mix_hash(bytes(peer))
    ephemeral_public = ephemeral.public_key().public_bytes_raw()
    state.mix_hash(ephemeral_public)
    state.mix_chain(ephemeral_public)
    ephemeral_static = dh(ephemeral, bytes(peer))
    if ephemeral_static is None:
        return None
    static = state.seal(state.mix_key(ephemeral_static), bytes(identity.public))
    stamp = state.seal(state.mix_key(static_static), timestamp)
    message = Initiation(local_index, ephemeral_public, static, stamp)
    return message, PendingInitiation(local_index, ephemeral, state, now)


class ReceivedInitiation:
    """An initiation whose sender's static key was decrypted, but whose sender is not proven before ``verify``."""

    __slots__ = ("message", "peer", "state")

    def __init__(self, message: Initiation, peer: PublicKey, state: SymmetricState) -> None:
        self.message = message
        self.peer = peer
        self.state = state

    def verify(self, static_static: bytes) -> bytes | None:
        """The timestamp, if the sender holds the private key of ``peer``; *static_static* is DH(S_r, S_i)."""
        return self.state.unseal(self.state.mix_key(static_static), self.message.timestamp)


def read_initiation(identity: Identity, message: Initiation) -> ReceivedInitiation | Drop:
    """Decrypt who claims to send it: the one DH an initiation costs before the peer is known."""
    state = SymmetricState()
    state.mix_hash(bytes(identity.public))
    state.mix_hash(message.ephemeral)
    state.mix_chain(message.ephemeral)
    ephemeral_static = dh(identity.private, message.ephemeral)
    if ephemeral_static is None:
        return Drop.ZERO_DH
    static = state.unseal(state.mix_key(ephemeral_static), message.static)
    if static is None:
        return Drop.BAD_HANDSHAKE
    return ReceivedInitiation(message, PublicKey(static), state)


def respond(
    received: ReceivedInitiation, preshared_key: Buffer, *, ephemeral: X25519PrivateKey, local_index: int
) -> tuple[Response, Keys] | Drop:
    """The second message, to a verified initiation, and the session's keys. The initiation's state is used up."""
    state = received.state
    initiation = received.message
    ephemeral_public = ephemeral.public_key().public_bytes_raw()
    state.mix_hash(ephemeral_public)
    state.mix_chain(ephemeral_public)
    for public in (initiation.ephemeral, bytes(received.peer)):
        shared = dh(ephemeral, public)
        if shared is None:
            return Drop.ZERO_DH
        state.mix_chain(shared)
    empty = state.seal(state.mix_key_and_hash(preshared_key), b"")
    receiving, sending = state.split()
    state.erase()
    return Response(local_index, initiation.sender, ephemeral_public, empty), Keys(sending, receiving)


def finish(identity: Identity, pending: PendingInitiation, response: Response, preshared_key: Buffer) -> Keys | Drop:
    """The session's keys, if the response is genuine; if not, *pending* is as good as before."""
    if pending.ephemeral is None:
        return Drop.UNKNOWN_HANDSHAKE
    state = pending.state.copy()
    state.mix_hash(response.ephemeral)
    state.mix_chain(response.ephemeral)
    for private in (pending.ephemeral, identity.private):
        shared = dh(private, response.ephemeral)
        if shared is None:
            return Drop.ZERO_DH
        state.mix_chain(shared)
    if state.unseal(state.mix_key_and_hash(preshared_key), response.empty) is None:
        return Drop.BAD_HANDSHAKE
    sending, receiving = state.split()
    state.erase()
    return Keys(sending, receiving)
