"""The tunnel over a link that loses, repeats, reorders and corrupts: applications notice no difference."""

from collections.abc import Iterator

import pytest

from wiresock_py.lab import ECHO_PORT, INTERNET, SERVER, App, Client, Lab

pytestmark = [pytest.mark.lab, pytest.mark.root]

BAD = {
    "loss": {"loss": 0.01},
    "repetition": {"duplicate": 0.1},
    "reordering": {"reorder": 0.02, "reorder_by": 0.002},
    "corruption": {"corrupt": 0.01},
    "all of it": {"loss": 0.005, "duplicate": 0.02, "reorder": 0.01, "reorder_by": 0.002, "corrupt": 0.005},
}


@pytest.fixture(scope="module")
def tunnel(impaired_lab: Lab) -> Iterator[Client]:
    server = impaired_lab.start_server()
    client = impaired_lab.start_client(server.client_config(server.add_peer(), allowed_apps="chrome"))
    client.wait_until_connected()
    yield client
    client.stop()
    server.stop()


@pytest.fixture
def chrome(impaired_lab: Lab) -> Iterator[App]:
    made = impaired_lab.app("chrome")
    yield made
    made.stop()
    impaired_lab.impair(up={}, down={})


@pytest.mark.parametrize("what", BAD)
def test_transfers_arrive_unchanged_over_a_link_with(tunnel: Client, impaired_lab: Lab, chrome: App, what: str) -> None:
    whole = chrome.download(url=INTERNET.url(4, "/bytes/3000000"))["sha256"]
    impaired_lab.impair(up=BAD[what], down=BAD[what])
    assert chrome.http(url=INTERNET.url(6)) == SERVER.of(6)
    assert chrome.download(url=INTERNET.url(4, "/bytes/3000000"))["sha256"] == whole
    assert chrome.upload(url=INTERNET.url(6), size=1_000_000)["intact"]
    counters = impaired_lab.impair()
    assert all(counters["down"][name] for name in _counters(what)), counters
    assert tunnel.running
    assert "died" not in tunnel.log()


def _counters(what: str) -> list[str]:
    names = {"loss": "lost", "duplicate": "duplicated", "reorder": "reordered", "corrupt": "corrupted"}
    return [names[knob] for knob in BAD[what] if knob in names]


def test_a_repeated_datagram_is_delivered_once(tunnel: Client, impaired_lab: Lab, chrome: App) -> None:
    assert chrome.count_echoes(address=INTERNET.of(4), port=ECHO_PORT, count=20) == 20
    impaired_lab.impair(up={"duplicate": 1.0}, down={"duplicate": 1.0})
    assert chrome.count_echoes(address=INTERNET.of(4), port=ECHO_PORT, count=20) == 20
