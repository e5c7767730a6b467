import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.support.configs import conf
from wiresock_py import __version__
from wiresock_py.cli import main
from wiresock_py.cli.program import COMMANDS, Program
from wiresock_py.errors import BackendError, ConfigError, ControlError, NetworkError, WiresockError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WiresockError("x", "do y"), 1),
        (ConfigError("x", "do y"), 3),
        (BackendError("x", "do y"), 4),
        (NetworkError("x", "do y"), 5),
        (ControlError("x", "do y"), 6),
    ],
)
def test_an_error_is_one_line_on_stderr_and_the_exit_code_of_its_kind(error: WiresockError, code: int) -> None:
    @click.command(cls=Program)
    def program() -> None: ...

    @program.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(program, ["fail"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", "error: x (do y)\n")


def test_every_mistake_of_every_file_is_a_line(tmp_path: Path) -> None:
    for name in ("a.conf", "b.conf"):
        (tmp_path / name).write_text(conf("AllowedIPs = x\nEndpoint = y"))
    result = CliRunner().invoke(main, ["check", str(tmp_path / "a.conf"), str(tmp_path / "b.conf")])
    assert result.exit_code == 3
    assert result.stdout == ""
    assert [Path(line.split(": ")[1]).name for line in result.stderr.splitlines()] == [
        "a.conf:6:14",
        "a.conf:7:12",
        "b.conf:6:14",
        "b.conf:7:12",
    ]


def test_wrong_usage_ends_with_2() -> None:
    assert CliRunner().invoke(main, ["check"]).exit_code == 2
    assert CliRunner().invoke(main, ["chekc"]).exit_code == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_says_what_it_does(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_the_commands_are_listed_with_a_line_each() -> None:
    listed = CliRunner().invoke(main, ["--help"]).stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS) == sorted(COMMANDS)
    assert all(len(line.split()) > 1 for line in listed)


def test_the_module_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wiresock_py", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert __version__ in done.stdout
