import os
import sys
from pathlib import Path

import pytest

from wiresock_py.config import files, store
from wiresock_py.config.store import SUFFIX, protect, save, stored, unprotect
from wiresock_py.errors import ConfigError

windows = pytest.mark.skipif(sys.platform != "win32", reason="for other systems: only Windows encrypts configurations")
KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
TEXT = f"[Interface]\nPrivateKey = {KEY}\nAddress = 10.0.0.2/32\n"


def test_a_bare_name_means_what_was_imported_unless_there_is_such_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "configs"
    place.mkdir()
    kept = place / f"wg0.conf{SUFFIX}"
    kept.touch()
    assert stored(Path("wg0"), place) == stored(Path("wg0.conf"), place) == kept
    assert stored(Path("wg1"), place) == Path("wg1")
    assert stored(Path("folder", "wg0"), place) == Path("folder", "wg0")
    Path("wg0").touch()
    assert stored(Path("wg0"), place) == Path("wg0")


@pytest.mark.skipif(sys.platform == "win32", reason="for other systems: says what they lack")
def test_other_systems_say_how_to_protect_a_file_instead(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="chmod 600"):
        unprotect(b"x")
    with pytest.raises(ConfigError, match="only Windows") as caught:
        save("wg0", b"x", tmp_path)
    assert "chmod 600" in caught.value.remedy
    assert os.listdir(tmp_path) == []  # noqa: PTH208


@windows
def test_what_is_encrypted_can_be_decrypted_again_and_nothing_else() -> None:
    sealed = protect(TEXT.encode())
    assert unprotect(sealed) == TEXT.encode()
    with pytest.raises(OSError):  # noqa: PT011 - Windows' own words
        unprotect(b"nonsense")


@windows
def test_an_imported_configuration_is_run_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "kept" / "configs"
    monkeypatch.setattr(store, "folder", lambda: place)
    kept = save("wg0", TEXT.encode())
    save("wg0", TEXT.encode())  # again: it is replaced
    assert kept == place / f"wg0.conf{SUFFIX}"
    assert [file.name for file in place.iterdir()] == [kept.name]
    config = files.load("wg0")
    assert (config.name, str(config.interface.addresses[0])) == ("wg0", "10.0.0.2/32")
    kept.write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="cannot be decrypted"):
        files.load("wg0")
