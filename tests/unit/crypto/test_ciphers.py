"""What every maker of ciphers promises."""

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from tests.support.datapaths import NOT_BUILT
from wiresock_py.crypto.ciphers import CRYPTOGRAPHY, Ciphers
from wiresock_py.datapath import NATIVE

KEY, NONCE = bytes(range(32)), bytes(4) + bytes(range(1, 9))
EACH = pytest.mark.parametrize(
    "ciphers",
    [
        pytest.param(ciphers, id=name, marks=pytest.mark.skipif(ciphers is None, reason=NOT_BUILT))
        for name, ciphers in (("cryptography", CRYPTOGRAPHY), ("native", NATIVE and NATIVE.ciphers))
    ],
)


@EACH
@given(data=st.binary(max_size=300))
def test_a_sealed_packet_is_the_algorithms_own_and_opens_again(ciphers: Ciphers, data: bytes) -> None:
    sealed = bytearray(len(data) + 16)
    ciphers.sealer(KEY).encrypt_into(NONCE, data, None, sealed)
    assert sealed == ChaCha20Poly1305(KEY).encrypt(NONCE, data, None)
    plain = bytearray(len(data))
    ciphers.opener(KEY).decrypt_into(NONCE, sealed, None, plain)
    assert plain == data


@EACH
def test_a_packet_is_sealed_and_opened_where_it_lies(ciphers: Ciphers) -> None:
    buffer = bytearray(b"head" + b"payload" + bytes(16) + b"tail")
    view = memoryview(buffer)
    ciphers.sealer(KEY).encrypt_into(NONCE, view[4:11], None, view[4:27])
    assert buffer == b"head" + ChaCha20Poly1305(KEY).encrypt(NONCE, b"payload", None) + b"tail"
    ciphers.opener(KEY).decrypt_into(NONCE, view[4:27], None, view[4:11])
    assert buffer[:11] == b"headpayload"


@EACH
@pytest.mark.parametrize("place", [0, 6, 7, 22])
def test_a_changed_packet_does_not_open(ciphers: Ciphers, place: int) -> None:
    sealed = bytearray(ChaCha20Poly1305(KEY).encrypt(NONCE, b"payload", None))
    sealed[place] ^= 1
    with pytest.raises(InvalidTag):
        ciphers.opener(KEY).decrypt_into(NONCE, sealed, None, bytearray(7))


@EACH
def test_a_window_takes_each_counter_once(ciphers: Ciphers) -> None:
    window = ciphers.window()
    assert window.greatest == -1
    assert [window.accept(counter) for counter in (0, 5, 3, 5, 0, 20_000, 5, 20_000 - 8128, 20_000 - 8129)] == [
        True, True, True, False, False, True, False, True, False,
    ]  # fmt: skip
    assert window.greatest == 20_000
    assert window.check(19_999)
    assert not window.check(20_000)
    assert not window.check(2**64 - 2**13 - 1)
