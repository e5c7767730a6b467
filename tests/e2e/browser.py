"""A real browser through the tunnel while curl goes direct: Debian's chromium, headless (``make test-browser``).

Not named test_…: chromium is a large package, installed by ``.ci/install browser`` and for this file alone.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from wiresock_py.lab import (
    CLIENT,
    INNER_CLIENT,
    INTERNET,
    ROUTER,
    SERVER,
    TUNNEL_RESOLVER,
    Capture,
    Client,
    Lab,
    Server,
)

pytestmark = [pytest.mark.lab, pytest.mark.root, pytest.mark.timeout(150)]

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
DNS_PORT = 53


@pytest.fixture
def chromium(lab: Lab, tmp_path: Path) -> Callable[[str], str]:
    """Loads a page as a new user would, and gives the text of its document."""

    def load(url: str) -> str:
        # a name server's answer of IPv6 first is as good as one of IPv4: the page says who came, in either family
        command = ["chromium", *QUIET, f"--user-data-dir={tmp_path}", "--timeout=20000", "--dump-dom", url]
        done = subprocess.run(lab.client.command(*command), capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return load


def curl(lab: Lab, url: str) -> str:
    return lab.client.run("curl", "--silent", "--show-error", "--max-time", "10", url).strip()


def test_chromium_loads_a_page_through_the_tunnel_while_curl_goes_direct(
    lab: Lab, client: Callable[..., Client], server: Server, chromium: Callable[[str], str], capture: Capture
) -> None:
    running = client(server.client_config(server.add_peer(), allowed_apps="chromium"))
    with lab.capture_inner(server) as inner:
        page = chromium("http://internet.lab/")
        browser_was_here = capture.frames
        assert curl(lab, "http://internet.lab/") in {CLIENT.of(4), CLIENT.of(6)}
    capture.stop()
    # the page is the caller's address as the internet host saw it
    assert SERVER.of(4) in page or SERVER.of(6) in page, page
    assert CLIENT.of(4) not in page
    assert CLIENT.of(6) not in page
    # names: the browser's questions went to the tunnel's resolver, curl's to the host's own
    resolvers = {TUNNEL_RESOLVER.of(4), TUNNEL_RESOLVER.of(6)}
    asked = [frame for frame in inner.frames if frame.target_port == DNS_PORT]
    assert asked
    assert {frame.target for frame in asked} <= resolvers
    assert {frame.source for frame in asked} <= {INNER_CLIENT.of(4), INNER_CLIENT.of(6)}
    assert [frame for frame in browser_was_here if frame.target_port == DNS_PORT] == []
    assert {frame.target for frame in capture.frames if frame.target_port == DNS_PORT} == {ROUTER.of(4)}
    # and nothing of the browser's was on the access link in the clear
    sites = {INTERNET.of(4), INTERNET.of(6)}
    assert [frame for frame in browser_was_here if sites & {frame.source, frame.target}] == []
    assert capture.lost == inner.lost == 0
    assert "chromium (pid " in running.log()
