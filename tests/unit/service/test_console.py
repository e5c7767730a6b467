import signal
import sys
import threading
from typing import Any

import pytest

from wiresock_py.service import console
from wiresock_py.service.console import CTRL_BREAK_EVENT, CTRL_C_EVENT, ENDING, SIGBREAK, ConsoleEvents


class Kernel32:
    """Calls the handler as Windows does, and must be able to as long as it is registered."""

    def __init__(self) -> None:
        self.handlers: list[Any] = []

    def SetConsoleCtrlHandler(self, handler: Any, add: int) -> int:
        if add:
            self.handlers.append(handler)
        else:
            self.handlers.remove(handler)
        return 1


@pytest.mark.parametrize(("event", "number"), [(CTRL_C_EVENT, signal.SIGINT), (CTRL_BREAK_EVENT, SIGBREAK)])
def test_a_key_is_told_and_ends_nothing_by_itself(event: int, number: int) -> None:
    kernel32, told = Kernel32(), list[int]()
    with ConsoleEvents(told.append, kernel32):
        assert kernel32.handlers[0](event) == 1
    assert told == [number]
    assert kernel32.handlers == []


@pytest.mark.parametrize("event", sorted(ENDING))
def test_what_ends_the_process_waits_until_all_is_done(event: int) -> None:
    kernel32, told = Kernel32(), list[int]()
    with ConsoleEvents(told.append, kernel32):
        thread = threading.Thread(target=kernel32.handlers[0], args=(event,))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
    thread.join(5)
    assert not thread.is_alive()
    assert told == [signal.SIGTERM]


def test_but_not_longer_than_windows_has_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PATIENCE", 0.01)
    kernel32 = Kernel32()
    with ConsoleEvents(lambda _number: None, kernel32):
        assert kernel32.handlers[0](2) == 1


@pytest.mark.skipif(sys.platform != "win32", reason="for other systems: registers with Windows")
def test_windows_takes_the_handler() -> None:
    with ConsoleEvents(lambda _number: None):
        pass
