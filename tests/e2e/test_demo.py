"""The demo as users start it: whole in the lab, whole in memory, and interrupted."""

import io
import signal
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from wiresock_py.demo import Story, perform
from wiresock_py.demo.memory import MemoryStage
from wiresock_py.lab import leftovers
from wiresock_py.lab.namespaces import NETNS_FOLDER, SCRATCH
from wiresock_py.lab.wiresock import executable

LAB_STEPS = 18
SIZE = 5_000_000


def left_by(pid: int) -> list[Path]:
    """Namespaces and files of the lab that process *pid* made."""
    folders = [folder for folder in (NETNS_FOLDER, SCRATCH) if folder.exists()]
    return [path for folder in folders for path in folder.glob(f"wiresock-lab-{pid}-*")]


@pytest.mark.lab
@pytest.mark.timeout(150)
def test_the_demo_shows_everything_in_the_lab_and_leaves_nothing() -> None:
    demo = subprocess.Popen([executable(), "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    shown, told = demo.communicate(timeout=120)
    assert demo.returncode == 0, shown + told
    assert "FAILED" not in shown
    assert shown.count(" ok │") == LAB_STEPS
    assert told.count("handshake with 198.51.100.2:51820 done") >= 2  # the client's own words
    assert "first TCP packet goes into the tunnel: AllowedApps = chrome" in told
    assert not left_by(demo.pid)


@pytest.mark.lab
@pytest.mark.timeout(90)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(number: signal.Signals) -> None:
    demo = subprocess.Popen([executable(), "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    for line in demo.stderr:
        if line.startswith("ok") and "start the client" in line:
            break
    assert left_by(demo.pid)
    demo.send_signal(number)
    _, told = demo.communicate(timeout=30)
    assert demo.returncode == 1
    assert "interrupted: everything was taken down" in told
    assert not left_by(demo.pid)
    assert not [name for name in leftovers() if f"-{demo.pid}-" in name]


def test_the_demo_shows_the_same_in_memory() -> None:
    stage = MemoryStage()
    output = io.StringIO()
    story = Story(Console(file=output), stage.said)
    perform(stage, story, size=SIZE)
    assert story.ok, output.getvalue()
    assert len(story.evidence) == LAB_STEPS - 1  # one load instead of two
