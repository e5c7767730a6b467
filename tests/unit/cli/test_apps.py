"""apps: who talks now, and what the rules say about it."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.configs import EVERYTHING, conf
from tests.support.worlds import CHROME, FIREFOX, HOST, REMOTE, packed
from wiresock_py import owners
from wiresock_py.cli import main
from wiresock_py.errors import EXIT_CONFIG
from wiresock_py.flow import App, FiveTuple


def connection(port: int, remote: str = REMOTE[4]) -> FiveTuple:
    return FiveTuple(socket.IPPROTO_TCP, packed(HOST[4]), port, packed(remote), 443)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[tuple[FiveTuple, App]] = [
        (connection(5002), FIREFOX),
        (connection(5000), CHROME),
        (connection(5001), CHROME),
        (connection(5003, "192.168.1.50"), CHROME),
    ]

    class Talking:
        def connections(self) -> list[tuple[FiveTuple, App]]:
            return found

    monkeypatch.setattr(owners, "SocketOwners", Talking)
    file, settings = tmp_path / "wg0.conf", tmp_path / "settings.yaml"
    file.write_text(conf(f"{EVERYTHING}\nAllowedApps = chrome\nDisallowedIPs = 192.168.1.0/24"))
    settings.write_text("")
    return [str(file), "--settings", str(settings)]


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, ["apps", *words])


def test_without_connections_it_says_so(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners.SocketOwners, "connections", lambda _: [])
    assert "no open connections" in invoke(*files).stdout
    assert json.loads(invoke("--json", *files).stdout) == []


def test_each_app_is_listed_with_where_it_goes_and_why(files: list[str]) -> None:
    rows = json.loads(invoke("--json", *files).stdout)
    assert [(row["app"], row["pid"], row["connections"], row["route"]) for row in rows] == [
        ("chrome", 100, 1, "direct"),
        ("chrome", 100, 2, "tunnel"),
        ("firefox", 200, 1, "direct"),
    ]
    assert "DisallowedIPs = 192.168.1.0/24" in rows[0]["reason"]
    assert "AllowedApps" in rows[2]["reason"]


def test_the_table_says_the_same(files: list[str]) -> None:
    result = invoke(*files)
    assert result.exit_code == 0
    assert "chrome" in result.stdout
    assert "firefox" in result.stdout
    assert "tunnel" in result.stdout
    assert "…" not in result.stdout  # the file's path is long, and broken rather than cut off


def test_a_faulty_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.conf").write_text("[Peer]\n")
    assert invoke(str(tmp_path / "bad.conf")).exit_code == EXIT_CONFIG
