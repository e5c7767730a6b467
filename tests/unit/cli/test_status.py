"""status, backends and reset."""

import json
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from wiresock_py.cli import main, status
from wiresock_py.datapath import choice
from wiresock_py.errors import EXIT_BACKEND, EXIT_CONTROL, BackendError
from wiresock_py.service.control import ControlServer

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="for other systems: the client is played at a UNIX socket"
)

STATUS: dict[str, Any] = {
    "pid": 5,
    "backend": "netfilter",
    "datapath": "native",
    "kill_switch": "app",
    "tunnels": [
        {
            "name": "wg0",
            "via": None,
            "peers": [
                {
                    "configured_endpoint": "vpn.example.net:51820",
                    "endpoint": "192.0.2.1:51820",
                    "handshake_age": 12.5,
                    "handshake_rtt": 0.031,
                    "tx_bytes": 1000,
                    "rx_bytes": 5_000_000,
                    "loss": 0.004,
                }
            ],
        }
    ],
    "flows": {"direct": 2, "tunnel": 3, "block": 0},
}


@pytest.fixture
def path() -> Iterator[Path]:
    # below pytest's own folder the path would be longer than a UNIX socket's may be
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "control.sock"


@pytest.fixture
def running(path: Path) -> Iterator[ControlServer]:
    server = ControlServer(path, lambda request: STATUS if request == {"command": "status"} else {"error": "what?"})
    server.start()
    yield server
    server.close()


def invoke(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_status_of_a_running_client_is_a_table(running: ControlServer, path: Path) -> None:
    result = invoke("status", "--control-socket", path)
    assert result.exit_code == 0
    for words in ("wg0", "12 s ago", "4.8 MiB", "31 ms", "2 direct, 3 in the tunnel"):
        assert words in result.stdout


def test_the_status_as_json_is_what_the_client_said(running: ControlServer, path: Path) -> None:
    assert json.loads(invoke("status", "--json", "--control-socket", path).stdout) == STATUS


def test_without_a_client_status_says_so_with_the_remedy(path: Path) -> None:
    result = invoke("status", "--control-socket", path)
    assert result.exit_code == EXIT_CONTROL
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: no wiresock-py is running here")
    assert "wiresock-py run" in line


@pytest.fixture
def reasons(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    reasons: dict[str, str | None] = {"netfilter": None, "memory": None}
    monkeypatch.setattr(status, "available", lambda: reasons)

    def default() -> str:
        if reasons["netfilter"]:
            raise BackendError(f"no interception backend works here: netfilter: {reasons['netfilter']}")
        return "netfilter"

    monkeypatch.setattr(status, "default_name", default)
    return reasons


def test_backends_are_listed_with_the_default_and_the_reason_why_not(reasons: dict[str, str | None]) -> None:
    backends, paths = invoke("backends").stdout.split("data path")
    assert "used by default" in backends
    assert paths.count("used by default") == 1
    reasons["netfilter"] = "run as root"
    backends, _ = invoke("backends").stdout.split("data path")
    assert "run as root" in backends
    assert "used by default" not in backends


def test_backends_as_json_are_names_with_reasons(reasons: dict[str, str | None]) -> None:
    reasons["netfilter"] = "run as root"
    assert json.loads(invoke("backends", "--json").stdout) == {
        "backends": {"netfilter": "run as root", "memory": None},
        "datapaths": choice.available(),
    }


class Left:
    """Stands for a backend's class; resetting removes these lines."""

    def __init__(self, *lines: str) -> None:
        self._lines = lines

    def reset(self) -> list[str]:
        return list(self._lines)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> dict[str, Left]:
    left = {"netfilter": Left("the IPv4 rules", "the IPv6 rules"), "memory": Left()}
    monkeypatch.setattr(status, "backend_class", left.__getitem__)
    return left


def test_reset_tells_what_it_removed(reasons: object, left: dict[str, Left], path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    result = invoke("reset", "--control-socket", path)
    assert (result.exit_code, result.stdout.splitlines()) == (0, ["the IPv4 rules", "the IPv6 rules"])
    assert not path.exists()


def test_reset_tells_that_nothing_was_left(reasons: object, left: dict[str, Left], path: Path) -> None:
    left["netfilter"] = Left()
    assert invoke("reset", "--control-socket", path).stdout == "nothing was left behind\n"


def test_reset_removes_nothing_that_is_no_socket(reasons: object, left: dict[str, Left], path: Path) -> None:
    path.write_text("somebody's file")
    assert invoke("reset", "--control-socket", path).exit_code == 0
    assert path.read_text() == "somebody's file"
    assert invoke("reset", "--control-socket", path.parent).exit_code == 0


def test_reset_without_the_right_to_look_does_not_say_that_nothing_was_left(
    reasons: dict[str, str | None], left: dict[str, Left], path: Path
) -> None:
    reasons["netfilter"] = "run as root"
    result = invoke("reset", "--control-socket", path)
    assert (result.exit_code, result.stdout) == (EXIT_BACKEND, "")
    assert "run as root" in result.stderr


def test_reset_leaves_a_running_client_alone_unless_forced(
    reasons: object, left: dict[str, Left], running: ControlServer, path: Path
) -> None:
    result = invoke("reset", "--control-socket", path)
    assert result.exit_code == EXIT_CONTROL
    assert "--force" in result.stderr
    assert path.exists()
    assert invoke("reset", "--force", "--control-socket", path).exit_code == 0
