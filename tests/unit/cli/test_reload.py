"""reload: what the client answers, and the exit code."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from wiresock_py.cli import main
from wiresock_py.errors import EXIT_CONFIG, EXIT_CONTROL
from wiresock_py.service.control import ControlServer

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="for other systems: the client is played at a UNIX socket"
)

Reload = Callable[..., Result]


@pytest.fixture
def reload() -> Iterator[Reload]:
    """``wiresock-py reload`` with a client that gives an answer, or without one."""
    # below pytest's own folder the path would be longer than a UNIX socket's may be
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "control.sock"

        def invoke(answer: dict[str, Any] | None = None) -> Result:
            words = ["reload", "--control-socket", str(path)]
            if answer is None:
                return CliRunner().invoke(main, words)
            server = ControlServer(path, lambda request: answer if request == {"command": "reload"} else {})
            server.start()
            try:
                return CliRunner().invoke(main, words)
            finally:
                server.close()

        yield invoke


def test_it_names_the_tunnels_that_go_on(reload: Reload) -> None:
    result = reload({"reloaded": ["work", "home"]})
    assert (result.exit_code, result.stdout) == (0, "reloaded work, home\n")


def test_every_mistake_is_told_with_its_remedy_and_the_exit_code_is_that_of_the_mistake(reload: Reload) -> None:
    refused = [["a.conf:3:1: found 'Adress'", "did you mean Address?"], ["a.conf:7:1: found 'x'", ""]]
    result = reload({"refused": refused, "exit_code": EXIT_CONFIG})
    assert result.exit_code == EXIT_CONFIG
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error: a.conf:3:1: found 'Adress' (did you mean Address?)",
        "error: a.conf:7:1: found 'x'",
    ]


def test_without_a_client_it_says_so(reload: Reload) -> None:
    result = reload()
    assert result.exit_code == EXIT_CONTROL
    assert "no wiresock-py is running" in result.stderr
