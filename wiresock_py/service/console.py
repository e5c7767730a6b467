"""Windows' console events: Ctrl+C, Ctrl+Break, the close of the console, log-off and shutdown.

Windows calls a handler on a thread of its own. Python's own handlers run once the main thread is back in the
interpreter, which a thread that waits in a queue is not; and after a close, a log-off or a shutdown Windows ends the
process as soon as the handler returns, or after five seconds. So this one acts at once, and then returns only when all
is done.
"""

import ctypes
import signal
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from wiresock_py.win32 import BOOL, DWORD, POINTER, load

# consoleapi.h
CTRL_C_EVENT, CTRL_BREAK_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT = 0, 1, 2, 5, 6
ENDING = frozenset((CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT))
PATIENCE = 4.5
"""Seconds that the end of the process is held up; Windows gives it five."""
SIGBREAK = 21  # signal.h of Windows
_SIGNALS = {CTRL_C_EVENT: int(signal.SIGINT), CTRL_BREAK_EVENT: SIGBREAK}


class ConsoleEvents:
    """Within the ``with`` block *act* is called with a signal's number for each event; SIGTERM for those that end us.

    Leaving the block lets a process that is to end go.
    """

    def __init__(self, act: Callable[[int], None], calls: Any = None) -> None:
        """*act* is called on a thread of Windows' and only puts the news somewhere."""
        self._act = act
        self._calls = calls or load("kernel32", {"SetConsoleCtrlHandler": (BOOL, (POINTER, BOOL))})
        self._done = threading.Event()
        # kept as long as Windows may call it
        self._callback = ctypes.CFUNCTYPE(BOOL, DWORD)(self._called)

    def __enter__(self) -> Self:
        self._calls.SetConsoleCtrlHandler(self._callback, True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._done.set()
        self._calls.SetConsoleCtrlHandler(self._callback, False)

    def _called(self, event: int) -> int:
        self._act(_SIGNALS.get(event, int(signal.SIGTERM)))
        if event in ENDING:
            self._done.wait(PATIENCE)
        return True


def outlive_the_console() -> None:
    """Have this process end when it is told to by its supervisor, whatever the console does. Windows only."""
    if sys.platform == "win32":
        ConsoleEvents(lambda _number: None).__enter__()
