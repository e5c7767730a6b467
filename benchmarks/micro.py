"""Section "micro": single steps, measured by pytest-benchmark.

python -m pytest benchmarks/micro.py
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.growth import config
from benchmarks.results import Run
from wiresock_py.config import format_config, parse
from wiresock_py.crypto import Device, PrivateKey, Tunnel
from wiresock_py.crypto.replay import ReplayWindow
from wiresock_py.flow import App
from wiresock_py.lab import LabError
from wiresock_py.rules import Rules

SECTION = "micro"
OPTIONS = ("-q", "-o", "addopts=--import-mode=importlib", "-o", "filterwarnings=default", "-p", "no:randomly")
"""Not the tests' own: a measurement needs no strictness and no chance."""


def measure(seconds: float) -> Iterator[Run]:
    """Run this file under pytest-benchmark, at most *seconds* a step; the median of each."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "micro.json"
        options = [*OPTIONS, f"--benchmark-json={path}", f"--benchmark-max-time={seconds}"]
        done = subprocess.run([sys.executable, "-m", "pytest", *options, __file__], capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"the micro benchmarks fail: {done.stdout[-500:]}")
        for step in json.loads(path.read_text())["benchmarks"]:
            name = step["name"].removeprefix("test_").replace("_", " ")
            yield Run(SECTION, name, "step", {"us": step["stats"]["median"] * 1e6})


class Ends:
    """Two devices that know each other."""

    def __init__(self) -> None:
        self.now = 0.0
        keys = PrivateKey.generate(), PrivateKey.generate()
        self.devices = [Device(key, wall_clock=time.time_ns) for key in keys]
        self.tunnels: list[Tunnel] = [
            device.add_peer(other.public_key(), (), endpoint="elsewhere")
            for device, other in zip(self.devices, reversed(keys), strict=True)
        ]
        for device in self.devices:
            device.up(0.0)

    def initiation(self) -> bytes:
        """A new initiation of the first one, who has waited long enough."""
        self.now += 10.0
        return bytes(self.tunnels[0].force_handshake(self.now)[0].data)


@pytest.fixture
def ends() -> Ends:
    return Ends()


def test_initiation_made(benchmark: BenchmarkFixture, ends: Ends) -> None:
    assert len(benchmark(ends.initiation)) == 148


def test_initiation_read_and_answered(benchmark: BenchmarkFixture, ends: Ends) -> None:
    def read(initiation: bytes) -> int:
        return len(ends.devices[1].read(initiation, "elsewhere", ends.now).datagrams)

    benchmark.pedantic(read, setup=lambda: ((ends.initiation(),), {}), rounds=500)  # type: ignore[no-untyped-call]
    assert len(ends.devices[1].sessions) > 0


def test_handshake_both_ends(benchmark: BenchmarkFixture, ends: Ends) -> None:
    def shake() -> int:
        answer = ends.devices[1].read(ends.initiation(), "elsewhere", ends.now).datagrams[0]
        return len(ends.devices[0].read(answer.data, "elsewhere", ends.now).datagrams)

    benchmark(shake)
    assert ends.devices[0].sessions


def test_replay_window_accepts_the_next(benchmark: BenchmarkFixture) -> None:
    window, counters = ReplayWindow(), iter(range(1 << 60))
    assert benchmark(lambda: window.accept(next(counters)))


def test_configuration_parsed(benchmark: BenchmarkFixture) -> None:
    text = format_config(config(prefixes=20, apps=20), secrets=True)
    assert benchmark(lambda: parse(text, "wg0.conf")).peers


def test_decision_for_a_flow(benchmark: BenchmarkFixture) -> None:
    rules = Rules([config(apps=20)])
    app = App(1, 0, "/usr/bin/app-19")
    assert benchmark(lambda: rules.decide(app, b"\x0b\0\0\x07", socket.IPPROTO_TCP, 443)).tunnel == 0
