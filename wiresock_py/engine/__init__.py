"""The life of a packet: capture, decision, tunnel and back, with the threads that carry it."""

from wiresock_py.engine.engine import Engine
from wiresock_py.engine.links import Link

__all__ = ["Engine", "Link"]
