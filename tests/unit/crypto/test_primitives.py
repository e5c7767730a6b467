"""The functions themselves are in the vectors; here is what they do where a library lacks something."""

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import algorithms
from hypothesis import given
from hypothesis import strategies as st

from wiresock_py.crypto import primitives


def test_hchacha20_falls_back_to_python_without_the_raw_cipher(monkeypatch: pytest.MonkeyPatch) -> None:
    key, nonce = bytes(range(32)), bytes(range(16))
    expected = primitives.hchacha20(key, nonce)

    def missing(*_: object) -> None:
        raise UnsupportedAlgorithm("no raw ChaCha20 here")

    monkeypatch.setattr(algorithms, "ChaCha20", missing)
    assert primitives.hchacha20(key, nonce) == expected


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16))
def test_both_ways_to_hchacha20_agree(key: bytes, nonce: bytes) -> None:
    assert primitives.hchacha20(key, nonce) == primitives.hchacha20_plain(key, nonce)


def test_unsealing_what_is_damaged_gives_none() -> None:
    key = bytes(32)
    sealed = primitives.xseal(key, bytes(24), b"cookie", b"mac1")
    assert primitives.xunseal(key, bytes(24), sealed, b"mac1") == b"cookie"
    assert primitives.xunseal(key, bytes(24), sealed, b"mac2") is None
    assert primitives.xunseal(key, bytes(24), b"", b"mac1") is None
    assert primitives.unseal(key, 0, b"", b"") is None


def test_hash_takes_its_parts_as_one() -> None:
    assert primitives.blake2s_hash(b"ab", b"", b"c") == primitives.blake2s_hash(b"abc")
