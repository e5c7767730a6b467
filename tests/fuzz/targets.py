"""The fuzz targets: each a module with ``run(data)``, which raises if an invariant is broken, and ``seeds()``."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

FOUND = Path(__file__).with_name("found")
"""Inputs that broke something once, a folder a target."""

NAMES = [
    "outbound",
    "inbound",
    "slow_path",
    "engine",
    "handshake",
    "dns",
    "wg_conf",
    "settings",
    "control",
    "frames",
    "windivert",
]
if sys.platform == "linux":
    NAMES += ["netlink", "queue_messages"]


class Target(NamedTuple):
    """What hostile bytes are given to."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]

    def corpus(self) -> list[bytes]:
        """The seeds, and what broke something once."""
        return [*self.seeds(), *(path.read_bytes() for path in sorted((FOUND / self.name).glob("*")))]


def load(name: str) -> Target:
    """The target *name*; only now is what it tests imported, so that a fuzzer can instrument it."""
    module = importlib.import_module(f"tests.fuzz.{name}")
    return Target(name, module.run, module.seeds)
