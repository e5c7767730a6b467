"""Plain lines on standard error."""

import logging
from collections.abc import Iterator

import pytest

from wiresock_py.errors import ConfigError, NetworkError
from wiresock_py.service.talk import say_error, set_up_logging


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def test_lines_of_the_level_and_above_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("warning")
    logging.getLogger("wiresock_py.engine").info("not told")
    logging.getLogger("wiresock_py.engine").warning("told")
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.endswith("WARNING told")


def test_an_error_is_one_line_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("error")
    say_error(NetworkError("UDP port 5 is in use", "choose another"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("ERROR   UDP port 5 is in use (choose another)")


def test_every_mistake_of_a_file_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("error")
    error = ConfigError("first", "mend it", file="a.conf", line=1)
    error.others = (ConfigError("second", file="a.conf", line=2),)
    say_error(error)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("a.conf:1: first (mend it)")
    assert second.endswith("a.conf:2: second")
