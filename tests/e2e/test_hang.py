"""A worker that hangs: its process is there, its timers are not. It is replaced, and nothing leaks meanwhile."""

import time
from collections.abc import Callable

import psutil
import pytest

from wiresock_py.lab import INTERNET, SERVER, App, Capture, Client, LabError, Server

pytestmark = [pytest.mark.lab, pytest.mark.root]


def test_a_stopped_worker_is_killed_and_replaced(
    client: Callable[..., Client], server: Server, chrome: App, capture: Capture
) -> None:
    running = client(server.client_config(server.add_peer(), allowed_apps="chrome"))
    running.wait_until_connected()
    worker = running.worker()
    psutil.Process(worker).suspend()
    with pytest.raises(LabError):
        chrome.http(url=INTERNET.url(4), timeout=2)
    running.wait_for_log("no sign of life", timeout=20)
    running.wait_for_log("handshake with", timeout=20, times=2)
    assert running.worker() != worker
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert chrome.http(url=INTERNET.url(4), timeout=2) == SERVER.of(4)
            break
        except LabError:
            continue
    else:
        pytest.fail("the tunnel does not come back")
    capture.stop()
    assert [frame for frame in capture.frames if INTERNET.of(4) in (frame.source, frame.target)] == []
