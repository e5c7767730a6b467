import random
from base64 import b64encode

import pytest

from wiresock_py.config.text import Text, looks_like_key, nearest, shown


@pytest.mark.parametrize(
    "text",
    [
        "chrome",
        "PersistentKeepalive",
        "/usr/lib/chromium/chromium",
        "/home/me/bin/app1",
        "/opt/google/chrome/chrome",
        "0.0.0.0/0,10.0.0.0/8",
        "2001:db8:85a3:8d3:1319:8a2e:370:7348",
        "averylongnamewithoutanycapital.exe",
        "C:\\Program Files\\WindowsApps\\Microsoft.Foo_8wekyb3d8bbwe",
    ],
)
def test_words_paths_and_addresses_do_not_look_like_keys(text: str) -> None:
    assert not looks_like_key(text)
    assert shown(text) == repr(text)


def test_a_key_or_a_good_part_of_one_is_never_shown() -> None:
    chance = random.Random(2)
    for _ in range(500):
        key = b64encode(chance.randbytes(32)).decode()
        for text in (key, key[:-1], key[2:], f"PrivateKey: {key}", f"[{key}]"):
            assert looks_like_key(text), text
            assert key[4:20] not in shown(text)


@pytest.mark.parametrize("between", ["\x1b", "\u200b", "\u00ad"])
def test_nothing_hides_a_key_that_stands_beside_or_inside_it(between: str) -> None:
    chance = random.Random(3)
    for _ in range(100):
        key = b64encode(chance.randbytes(32)).decode()
        for text in ("O" * 200 + key, key[:-1] + "O" * 200, key[:20] + between + key[20:]):
            assert shown(text) == "text that looks like a key (not shown)", text


def test_shown_text_is_short_and_printable() -> None:
    assert shown("a\x00\u200bb") == r"'a\x00\u200bb'"
    assert len(shown("word " * 100)) < 70


def test_the_nearest_word_is_found_whatever_the_case() -> None:
    assert nearest("allowedip", ["AllowedIPs", "Address"]) == "did you mean AllowedIPs?"
    assert nearest("qqq", ["AllowedIPs", "Address"]) == ""


def test_parts_know_their_column() -> None:
    text = Text(" a , bc,", "f", 3, 10)
    assert [(part.text, part.column) for part in text.split(",")] == [("a", 11), ("bc", 15), ("", 18)]
    assert text.strip() == Text("a , bc,", "f", 3, 11)


def test_an_error_names_place_and_key() -> None:
    error = Text("x", "f", 3, 10, "MTU").error("found 'x'", "write a number")
    assert str(error) == "f:3:10: MTU: found 'x'"
    assert error.remedy == "write a number"
