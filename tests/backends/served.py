"""The WinDivert backend for tests that look at the wire before they receive.

WinDivert's driver for Linux captures more than a filter with ranges says, and sends the rest on inside ``receive``, as
the backend does with what it spares. The engine always receives; a test that looks at the wire first would wait for
ever. So what there is to receive is received before the wire is looked at, and kept for the test.
"""

from typing import ClassVar

from wiresock_py.filters import PacketBatch
from wiresock_py.filters.windivert.backend import WinDivertBackend


class Served(WinDivertBackend):
    name: ClassVar[str] = "windivert"
    _kept: PacketBatch | None = None

    def serve(self) -> bool:
        """Receive what has come; whether there is a batch for the test."""
        if self._kept is None:
            self._kept = super().receive(0.0)
        return self._kept is not None

    def receive(self, timeout: float) -> PacketBatch | None:
        kept, self._kept = self._kept, None
        return kept if kept is not None and self._opened else super().receive(timeout)

    def close(self, *, keep_blocking: bool = False) -> None:
        self._kept = None
        super().close(keep_blocking=keep_blocking)
