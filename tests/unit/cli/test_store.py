import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from wiresock_py.cli import main, store

TEXT = "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nAddress = 10.0.0.2/32\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wg0.conf"
    path.write_bytes(TEXT.encode())
    return path


@pytest.mark.parametrize(("arguments", "name"), [([], "wg0"), (["--name", "home"], "home")])
def test_a_valid_file_is_kept_under_its_name(
    file: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], name: str
) -> None:
    kept: list[tuple[str, bytes]] = []

    def keep(name: str, text: bytes) -> Path:
        kept.append((name, text))
        return Path("kept")

    monkeypatch.setattr(store, "save", keep)
    result = CliRunner().invoke(main, ["import", str(file), *arguments])
    assert result.exit_code == 0
    assert kept == [(name, TEXT.encode())]
    assert f"wiresock-py run {name}" in result.stdout
    assert file.exists()


@pytest.mark.parametrize("name", ["../wg0", "a/b", ""])
def test_a_name_leads_nowhere_else(file: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(store, "save", lambda *_: pytest.fail("kept"))
    assert CliRunner().invoke(main, ["import", str(file), "--name", name]).exit_code == 2


def test_a_faulty_file_is_not_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "save", lambda *_: pytest.fail("kept"))
    file.write_text("[Interface]\nPrivateKey = nonsense\n")
    assert CliRunner().invoke(main, ["import", str(file)]).exit_code == 3


@pytest.mark.skipif(sys.platform == "win32", reason="for other systems: says what they lack")
def test_on_other_systems_it_says_what_to_do_instead(file: Path) -> None:
    result = CliRunner().invoke(main, ["import", str(file)])
    assert result.exit_code == 3
    assert "chmod 600" in result.stderr
