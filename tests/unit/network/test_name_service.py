import sys
from pathlib import Path

import pytest

from wiresock_py.network import name_service as module
from wiresock_py.network.name_service import shared_resolver


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n", "systemd-resolved"),
        ("passwd: files\nhosts:  files resolve dns # resolve\n", "systemd-resolved"),
        ("hosts: files mdns4_minimal [NOTFOUND=return] dns\n", ""),
        ("hosts: files dns resolve\n", ""),
        ("hosts: files # resolve\n", ""),
        ("# hosts: resolve\n", ""),
        ("hosts: dns\nhosts: resolve\n", "systemd-resolved"),
        ("", ""),
    ],
)
def test_names_are_asked_of_the_first_source_that_asks_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    (tmp_path / "nsswitch.conf").write_text(text)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(module, "NSSWITCH", tmp_path / "nsswitch.conf")
    assert shared_resolver() == expected


def test_without_the_file_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(module, "NSSWITCH", tmp_path / "none")
    assert shared_resolver() == ""


def test_on_windows_it_is_the_dns_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert shared_resolver() == "Dnscache"
