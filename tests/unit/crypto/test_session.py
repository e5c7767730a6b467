import pytest

from tests.support.peers import PACKET, connect, pair
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.session import Session


def sessions() -> tuple[Session, Session]:
    client, server = pair()
    connect(client, server)
    assert client.slots.current is not None
    assert server.slots.current is not None
    return client.slots.current, server.slots.current


def seal(session: Session, plaintext: bytes) -> bytearray:
    out = bytearray(len(plaintext) + 32)
    assert session.seal_into(plaintext, out) == len(out)
    return out


def test_what_one_end_seals_the_other_opens() -> None:
    ours, theirs = sessions()
    datagram = seal(ours, PACKET)
    out = bytearray(2000)
    assert theirs.open_into(datagram, out) == len(PACKET)
    assert out[: len(PACKET)] == PACKET


def test_sealing_leaves_the_rest_of_a_larger_buffer_alone() -> None:
    ours, _ = sessions()
    out = bytearray(b"\xaa" * 200)
    size = ours.seal_into(PACKET, out)
    assert out[size:] == b"\xaa" * (200 - size)


def test_a_buffer_too_small_is_refused_before_a_counter_is_used() -> None:
    ours, _ = sessions()
    counter = ours.counter
    with pytest.raises(ValueError, match="takes 60, the buffer has 59"):
        ours.seal_into(PACKET, bytearray(59))
    assert ours.counter == counter


def test_the_header_is_type_and_remote_index_and_then_comes_the_counter() -> None:
    ours, theirs = sessions()
    ours.counter = 0x0102030405060708
    datagram = seal(ours, b"")
    assert datagram[:4] == b"\4\0\0\0"
    assert int.from_bytes(datagram[4:8], "little") == theirs.local_index == ours.remote_index
    assert datagram[8:16] == bytes([8, 7, 6, 5, 4, 3, 2, 1])
    assert ours.counter == 0x0102030405060709


def test_a_bad_tag_marks_nothing_in_the_window() -> None:
    ours, theirs = sessions()
    datagram = seal(ours, PACKET)
    damaged = bytearray(datagram)
    damaged[20] ^= 1
    out = bytearray(100)
    assert theirs.open_into(damaged, out) is Drop.BAD_TAG
    assert theirs.open_into(datagram, out) == len(PACKET)
    assert theirs.open_into(datagram, out) is Drop.REPLAY


def test_a_counter_at_the_limit_is_neither_sealed_nor_opened() -> None:
    ours, theirs = sessions()
    ours.counter = 2**64 - 2**13 - 2
    last = seal(ours, PACKET)
    with pytest.raises(ValueError, match="used up"):
        seal(ours, PACKET)
    beyond = bytearray(last)
    beyond[8:16] = (2**64 - 2**13 - 1).to_bytes(8, "little")
    assert theirs.open_into(beyond, bytearray(100)) is Drop.COUNTER_LIMIT
    assert theirs.open_into(last, bytearray(100)) == len(PACKET)


def test_an_erased_session_seals_nothing_and_opens_nothing() -> None:
    ours, theirs = sessions()
    datagram = seal(ours, PACKET)
    sealer, opener = ours.sealer, theirs.opener
    ours.erase()
    theirs.erase()
    assert ours.sealer is not sealer
    assert theirs.opener is not opener
    assert theirs.open_into(datagram, bytearray(100)) is Drop.BAD_TAG
    with pytest.raises(ValueError, match="used up"):
        seal(ours, PACKET)
    # what a batch that still runs would seal with the cipher it looked up again, nobody can read
    late, readable = bytearray(len(PACKET) + 16), bytearray(len(PACKET) + 16)
    ours.sealer.encrypt_into(bytes(12), PACKET, None, late)
    sealer.encrypt_into(bytes(12), PACKET, None, readable)
    assert late != readable


def test_it_expires_180_seconds_after_its_creation() -> None:
    ours, _ = sessions()
    assert not ours.expired(179.999)
    assert ours.expired(180.0)


def test_its_repr_shows_no_key() -> None:
    ours, _ = sessions()
    assert repr(ours).startswith("Session(0x")
    assert "initiator" in repr(ours)
