"""The demo's stage in memory: both ends of the memory backend, and a WireGuard server, played by this process."""

from wiresock_py.demo.memory.stage import MemoryStage

__all__ = ["MemoryStage"]
