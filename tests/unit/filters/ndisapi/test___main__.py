"""The command that prints the layout."""

import json
import subprocess
import sys

import pytest

from wiresock_py.filters.ndisapi.__main__ import main
from wiresock_py.filters.ndisapi.raw.layout import layout


def test_the_layout_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--layout"]) == 0
    assert json.loads(capsys.readouterr().out) == layout()


def test_the_package_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "wiresock_py.filters.ndisapi", "--layout"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert json.loads(printed)["x64"]["structs"]["STATIC_FILTER"]["size"] == 184


def test_without_an_option_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--layout" in capsys.readouterr().err
