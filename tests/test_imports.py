"""What the processes of a run load: each module is memory that both may have to themselves, and time at the start."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("code", "unused"),
    [
        # until the worker is started, then what the supervisor and the worker are made of
        ("from wiresock_py.cli import run", ["wiresock_py.config", "wiresock_py.crypto", "rich"]),
        ("from wiresock_py.cli import run; from wiresock_py.service import supervisor", ["rich", "wiresock_py.lab"]),
        ("from wiresock_py.service import worker", ["rich", "click", "wiresock_py.cli"]),
        ("from wiresock_py.config import load_settings", ["yaml"]),
        ("from wiresock_py import datapath", ["numpy"]),
        ("from wiresock_py.cli import main; main(['genkey'], standalone_mode=False)", ["rich", "wiresock_py.config"]),
    ],
)
def test_what_is_not_used_is_not_loaded(code: str, unused: list[str]) -> None:
    code = f"{code}\nimport sys\nprint('modules', *sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = done.stdout.splitlines()[-1].split()
    assert "wiresock_py" in loaded
    assert [name for name in unused if name in loaded] == []
