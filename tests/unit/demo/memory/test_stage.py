import logging
import threading

import pytest

from wiresock_py.demo.examples import example
from wiresock_py.demo.memory import MemoryStage
from wiresock_py.lab import CLIENT, INTERNET, SERVER


def test_a_client_can_be_started_stopped_and_started_again() -> None:
    with MemoryStage() as stage:
        for _ in range(2):
            assert stage.start(example("chrome")).ok
            assert stage.call("chrome", INTERNET, 4) == (SERVER.of(4), 0)
            assert stage.interrupt().ok
            assert stage.call("chrome", INTERNET, 4).address == CLIENT.of(4)


def interrupted(stage: MemoryStage) -> None:
    stage.start(example("all-apps"))
    raise KeyboardInterrupt


def test_nothing_is_left_whatever_ends_the_stage() -> None:
    stage = MemoryStage()
    logger = logging.getLogger("wiresock_py")
    before = threading.active_count(), logger.level, logger.propagate, list(logger.handlers)
    with pytest.raises(KeyboardInterrupt), stage:
        interrupted(stage)
    assert (threading.active_count(), logger.level, logger.propagate, list(logger.handlers)) == before
    assert stage.remains() == ("no thread, no socket", True)


def test_what_is_left_is_named() -> None:
    stage, done = MemoryStage(), threading.Event()
    with stage:
        thread = threading.Thread(target=done.wait, name="forgotten")
        thread.start()
    try:
        assert stage.remains() == ("thread forgotten", False)
    finally:
        done.set()
        thread.join()


def test_the_clients_words_are_kept_for_the_story() -> None:
    with MemoryStage() as stage:
        stage.start(example("chrome"))
        stage.said()
        stage.call("firefox", INTERNET, 4)
        (line,) = stage.said()
        assert line.startswith("INFO    firefox (pid ")
        assert "goes direct: not in AllowedApps (configs/chrome.conf:" in line
        assert stage.said() == []


def test_the_transfer_takes_any_size() -> None:
    with MemoryStage() as stage:
        stage.start(example("chrome"))
        for size in (1, 1 << 20, (1 << 20) + 1):
            assert stage.transfer("chrome", size).ok
