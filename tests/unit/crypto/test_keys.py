import base64

import pytest

from tests.support.peers import CountingRandom
from wiresock_py.crypto.keys import Key, PresharedKey, PrivateKey, PublicKey

TEXT = base64.b64encode(bytes(range(32))).decode()


def test_a_key_goes_to_text_and_back() -> None:
    assert PrivateKey.from_base64(TEXT).to_base64() == TEXT
    assert bytes(PublicKey.from_base64(TEXT)) == bytes(range(32))


@pytest.mark.parametrize(
    "text",
    ["", "AAAA", TEXT[:-1], TEXT + "=", TEXT[:-2] + "==", " " + TEXT, TEXT.replace("A", "é", 1), TEXT[:-2] + "9="],
)
def test_a_mistyped_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="key") as error:
        PrivateKey.from_base64(text)
    assert not text or text not in str(error.value)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=f"not {size}"):
        Key(bytes(size))


def test_secret_keys_never_show_themselves() -> None:
    secret = bytes(range(32))
    for key in (PrivateKey(secret), PresharedKey(secret)):
        for shown in (repr(key), str(key), f"{key}"):
            assert "hidden" in shown
            assert TEXT not in shown
            assert secret.hex() not in shown


def test_keys_of_different_kinds_are_never_equal() -> None:
    assert PrivateKey(bytes(32)) == PrivateKey(bytes(32))
    assert PrivateKey(bytes(32)) != PresharedKey(bytes(32))
    assert len({PublicKey(bytes(32)), PublicKey(bytes(32)), PrivateKey(bytes(32))}) == 2


def test_a_generated_private_key_is_clamped() -> None:
    raw = bytes(PrivateKey.generate(lambda size: b"\xff" * size))
    assert raw[0] & 7 == 0
    assert raw[31] >> 6 == 1


def test_generated_keys_come_from_the_given_randomness() -> None:
    assert PresharedKey.generate(CountingRandom(5)) == PresharedKey.generate(CountingRandom(5))
    assert PrivateKey.generate() != PrivateKey.generate()


def test_a_private_key_knows_its_public_key() -> None:
    private = PrivateKey(bytes.fromhex("c2b3e1d224beeaee8ef5e0797554b3b75a62475d51f62b532b5317509d9b6c19"))
    assert bytes(private.public_key()).hex() == "7c1261bc400c055d8466c4ed270c6216c90badcbdcf917f9dda5669cf5ef5462"
