"""The bytes are in the vectors (``handshakes``); here is what a failed step leaves behind, and what shows."""

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.peers import ALICE, BOB
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.keys import PublicKey
from wiresock_py.crypto.messages import Initiation, Response
from wiresock_py.crypto.noise import (
    Identity,
    Keys,
    PendingInitiation,
    ReceivedInitiation,
    finish,
    initiate,
    read_initiation,
    respond,
)
from wiresock_py.crypto.primitives import dh

NO_PSK = bytes(32)
STAMP = b"timestamp 12"
LOW_ORDER = [bytes(32), b"\x01" + bytes(31)]


def ephemeral(number: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def shared() -> bytes:
    result = dh(Identity(ALICE).private, bytes(BOB.public_key()))
    assert result is not None
    return result


def initiated() -> tuple[Initiation, PendingInitiation]:
    result = initiate(
        Identity(ALICE), BOB.public_key(), shared(), ephemeral=ephemeral(7), local_index=1, timestamp=STAMP, now=0.0
    )
    assert result is not None
    return result


def responded(message: Initiation, psk: bytes = NO_PSK) -> tuple[Response, Keys]:
    received = read_initiation(Identity(BOB), message)
    assert isinstance(received, ReceivedInitiation)
    assert received.peer == ALICE.public_key()
    assert received.verify(shared()) == STAMP
    result = respond(received, psk, ephemeral=ephemeral(8), local_index=2)
    assert not isinstance(result, Drop)
    return result


def test_both_ends_come_to_the_same_keys_crosswise() -> None:
    message, pending = initiated()
    response, theirs = responded(message)
    ours = finish(Identity(ALICE), pending, response, NO_PSK)
    assert isinstance(ours, Keys)
    assert (ours.sending, ours.receiving) == (theirs.receiving, theirs.sending)
    assert ours.sending != ours.receiving


def test_another_preshared_key_fails_at_the_initiator_alone() -> None:
    message, pending = initiated()
    response, _ = responded(message, bytes([1]) * 32)
    assert finish(Identity(ALICE), pending, response, NO_PSK) is Drop.BAD_HANDSHAKE
    assert isinstance(finish(Identity(ALICE), pending, response, bytes([1]) * 32), Keys)


def test_bad_responses_leave_the_pending_initiation_as_it_was() -> None:
    message, pending = initiated()
    response, _ = responded(message)
    for bad in (
        response._replace(empty=bytes(16)),
        response._replace(ephemeral=bytes([9]) * 32),
        response._replace(ephemeral=bytes(32)),
    ):
        before = (bytes(pending.state.chaining_key), pending.state.hash)
        assert isinstance(finish(Identity(ALICE), pending, bad, NO_PSK), Drop)
        assert (bytes(pending.state.chaining_key), pending.state.hash) == before
    assert isinstance(finish(Identity(ALICE), pending, response, NO_PSK), Keys)


def test_low_order_keys_are_refused_on_every_way_in() -> None:
    message, pending = initiated()
    response, _ = responded(message)
    for low in LOW_ORDER:
        assert read_initiation(Identity(BOB), message._replace(ephemeral=low)) is Drop.ZERO_DH
        assert finish(Identity(ALICE), pending, response._replace(ephemeral=low), NO_PSK) is Drop.ZERO_DH
        peer = PublicKey(low)
        assert (
            initiate(Identity(ALICE), peer, shared(), ephemeral=ephemeral(7), local_index=1, timestamp=STAMP, now=0.0)
            is None
        )
        received = read_initiation(Identity(BOB), message)
        assert isinstance(received, ReceivedInitiation)
        received.peer = peer
        assert respond(received, NO_PSK, ephemeral=ephemeral(8), local_index=2) is Drop.ZERO_DH


def test_a_sender_without_the_static_private_key_is_not_believed() -> None:
    message, _ = initiated()
    received = read_initiation(Identity(BOB), message._replace(timestamp=bytes(28)))
    assert isinstance(received, ReceivedInitiation)
    assert received.verify(shared()) is None


def test_erasing_overwrites_the_chaining_key() -> None:
    _, pending = initiated()
    key = pending.state.chaining_key
    pending.erase()
    assert key == bytes(32)
    assert pending.ephemeral is None
    message, _ = initiated()
    assert finish(Identity(ALICE), pending, responded(message)[0], NO_PSK) is Drop.UNKNOWN_HANDSHAKE


def test_a_response_uses_up_the_state_it_came_from() -> None:
    received = read_initiation(Identity(BOB), initiated()[0])
    assert isinstance(received, ReceivedInitiation)
    received.verify(shared())
    respond(received, NO_PSK, ephemeral=ephemeral(8), local_index=2)
    assert received.state.chaining_key == bytes(32)


def test_session_keys_do_not_show_themselves() -> None:
    assert repr(Keys(b"s" * 32, b"r" * 32)) == "Keys(hidden)"
