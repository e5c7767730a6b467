import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.crypto.messages import CookieReply, Initiation, Response, first_index, message_type

EXACT = {1: 148, 2: 92, 3: 64}


@pytest.mark.parametrize(("kind", "size"), EXACT.items())
def test_handshake_messages_have_exactly_one_length(kind: int, size: int) -> None:
    for length in (size - 1, size, size + 1):
        assert message_type(bytes([kind, 0, 0, 0]) + bytes(length - 4)) == (kind if length == size else 0)


def test_a_transport_datagram_has_at_least_32_bytes() -> None:
    assert message_type(b"\4\0\0\0" + bytes(27)) == 0
    assert message_type(b"\4\0\0\0" + bytes(28)) == 4
    assert message_type(b"\4\0\0\0" + bytes(65_531)) == 4


@pytest.mark.parametrize("position", [1, 2, 3])
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_reserved_bytes_must_be_zero(kind: int, position: int) -> None:
    datagram = bytearray(bytes([kind, 0, 0, 0]) + bytes(EXACT.get(kind, 32) - 4))
    datagram[position] = 1
    assert message_type(datagram) == 0


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(datagram: bytes) -> None:
    kind = message_type(datagram)
    assert kind in (0, 1, 2, 3, 4)
    if kind in EXACT:
        assert len(datagram) == EXACT[kind]


def test_messages_keep_their_fields() -> None:
    initiation = Initiation(0xFFFFFFFF, b"e" * 32, b"s" * 48, b"t" * 28)
    assert Initiation.parse(initiation.pack() + bytes(32)) == initiation
    assert first_index(initiation.pack()) == 0xFFFFFFFF
    response = Response(1, 2, b"e" * 32, b"n" * 16)
    assert Response.parse(response.pack() + bytes(32)) == response
    reply = CookieReply(0, b"n" * 24, b"c" * 32)
    assert CookieReply.parse(reply.pack()) == reply
    assert [len(message.pack()) for message in (initiation, response, reply)] == [116, 60, 64]
