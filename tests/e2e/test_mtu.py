"""Links of every MTU: the tunnel's own is derived, everything arrives, and no datagram has to be fragmented."""

from collections.abc import Iterator

import pytest

from wiresock_py.lab import CLIENT, ECHO_PORT, INTERNET, SERVER, Lab

pytestmark = [pytest.mark.lab, pytest.mark.root]

OUTER_HEADERS = 14  # Ethernet's, which a capture counts and an MTU does not


@pytest.fixture(scope="module", params=[1280, 1400, 1492, 1500, 9000])
def path(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, int]]:
    """A lab whose access link carries so many bytes."""
    with Lab(mtu=request.param) as made:
        yield made, request.param


@pytest.mark.parametrize("outer", [4, 6])
def test_complaint_11_everything_arrives_over_a_link_of_any_mtu_and_no_datagram_is_fragmented(
    path: tuple[Lab, int], outer: int
) -> None:
    lab, mtu = path
    server = lab.start_server()
    config = server.client_config(
        server.add_peer(), allowed_apps="chrome", mtu=0, endpoint=SERVER.endpoint(outer, server.port)
    )
    client = lab.start_client(config)
    chrome = lab.app("chrome")
    try:
        derived = client.status()["tunnels"][0]["mtu"]
        assert derived == min(1420, mtu - 80)
        with lab.capture() as capture:
            for family in (4, 6):
                assert chrome.download(url=INTERNET.url(family, "/bytes/1000000"))["size"] == 1_000_000
                assert chrome.upload(url=INTERNET.url(family), size=1_000_000)["intact"]
            # what is larger than the tunnel goes in inner fragments, however the sender was told
            sizes = [100, derived - 48, derived, 3000, 20_000]
            for family in (4, 6):
                back = chrome.udp_echo(address=INTERNET.of(family), port=ECHO_PORT, sizes=sizes, timeout=1, tries=3)
                assert back == sizes
        sent = [frame for frame in capture.frames if frame.source == CLIENT.of(outer) and frame.protocol == 17]
        assert [frame for frame in sent if frame.size > mtu + OUTER_HEADERS and not frame.wireguard] == []
        fragments = [frame for frame in capture.frames if is_fragment(frame.head) and frame.source == CLIENT.of(outer)]
        assert fragments == []
    finally:
        chrome.stop()
        client.stop()
        server.stop()


def test_the_tunnel_learns_of_a_narrower_path_from_a_router_on_it() -> None:
    with Lab() as lab:
        for namespace, device in ((lab.isp, "srv0"), (lab.server, "eth0")):
            namespace.ip(f"link set {device} mtu 1400")
        server = lab.start_server()
        # over IPv6: an IPv4 datagram of WireGuard's may be fragmented by any router, which then has nothing to tell
        config = server.client_config(
            server.add_peer(), allowed_apps="chrome", mtu=0, endpoint=SERVER.endpoint(6, server.port)
        )
        client = lab.start_client(config)
        chrome = lab.app("chrome")
        assert chrome.upload(url=INTERNET.url(4), size=1_000_000)["intact"]
        client.wait_for_log("the tunnel's MTU is 1320")
        assert client.status()["tunnels"][0]["mtu"] == 1320
        with lab.capture() as capture:
            for family in (4, 6):
                assert chrome.upload(url=INTERNET.url(family), size=1_000_000)["intact"]
                assert chrome.download(url=INTERNET.url(family, "/bytes/1000000"))["size"] == 1_000_000
        sent = [frame for frame in capture.frames if frame.source == CLIENT.of(6)]
        assert sent
        assert [frame for frame in sent if is_fragment(frame.head)] == []


def is_fragment(frame: bytes) -> bool:
    if frame[12:14] == b"\x08\x00":
        return bool(int.from_bytes(frame[20:22], "big") & 0x3FFF)
    return frame[12:14] == b"\x86\xdd" and frame[20] == 44
