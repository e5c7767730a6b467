"""A network that changes under the client: addresses, default routes, links, MTU. The tunnel follows within 2 s.

Chrome, which belongs in the tunnel, probes all the time. Whatever the network does, no frame of it may be on either
link in the open, and its probes must be answered again soon after there is a way.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from wiresock_py.lab import (
    CLIENT,
    ECHO_PORT,
    INTERNET,
    ROUTER,
    SERVER,
    App,
    Capture,
    Client,
    Lab,
    ProbeResult,
    topology,
)

pytestmark = [pytest.mark.lab, pytest.mark.root]

WITHIN = 2.0
SECOND_LINK = ("192.168.9.100", "192.168.9.1", "2001:db8:9::100", "2001:db8:9::1")


@dataclass
class Scene:
    """A lab of its own, chrome probing through the tunnel, and captures of both access links."""

    lab: Lab
    client: Client
    chrome: App
    ports: range
    captures: list[Capture]

    def follows(self, change: Callable[[], None]) -> None:
        """Assert that new flows are answered within the time after *change*, and that nothing was in the open."""
        time.sleep(1)
        begun = time.monotonic()
        change()
        changed = time.monotonic()
        time.sleep(WITHIN + 2)
        probes: list[ProbeResult] = self.chrome.stop_probes()
        before = [probe for probe in probes if probe["sent"] < begun - 0.1]
        assert before
        assert sum(1 for probe in before if probe["answered"]) >= 0.9 * len(before)
        later = [probe for probe in probes if probe["sent"] > changed + WITHIN]
        assert len(later) > 100
        assert {probe["kind"] for probe in later if not probe["answered"]} == set()
        for capture in self.captures:
            capture.stop()
            assert capture.lost == 0
            frames = [frame for frame in capture.frames if frame.source_port in self.ports]
            assert [frame for frame in frames if frame.target in (INTERNET.of(4), INTERNET.of(6))] == []
        assert "died" not in self.client.log()


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Lab() as lab:
        topology.veth(lab.isp, "lan1", lab.client, "eth1")
        four, gateway, six, gateway6 = SECOND_LINK
        lab.isp.ip(
            f"address add {gateway}/24 dev lan1", f"address add {gateway6}/64 dev lan1 nodad", "link set lan1 up"
        )
        lab.client.ip(f"address add {four}/24 dev eth1", f"address add {six}/64 dev eth1 nodad", "link set eth1 up")
        lab.client.sysctl(net__ipv6__conf__eth0__keep_addr_on_down=1)
        server = lab.start_server()
        client = lab.start_client(server.client_config(server.add_peer(), allowed_apps="chrome", mtu=0))
        client.wait_until_connected()
        chrome = lab.app("chrome")
        ports = lab.probe_ports()
        captures = [lab.capture(), Capture(lab.isp, "lan1")]
        chrome.start_probes(ports, targets=INTERNET, port=ECHO_PORT, rate=100, protocols=["tcp-new", "udp-new"])
        yield Scene(lab, client, chrome, ports, captures)
        for capture in captures:
            capture.stop()
        print(client.log())


def test_another_default_route(scene: Scene) -> None:
    _, gateway, _, gateway6 = SECOND_LINK
    scene.follows(
        lambda: scene.lab.client.ip(
            f"route replace default via {gateway} dev eth1", f"route replace default via {gateway6} dev eth1"
        )
    )
    assert scene.client.log().count("has changed: calling it") >= 1
    assert [frame for frame in scene.captures[1].frames if frame.wireguard == "data"]


def test_another_address(scene: Scene) -> None:
    def change() -> None:
        scene.lab.client.ip(
            f"address del {CLIENT.v4}/24 dev eth0",  # and with it the second one of that network
            "address add 192.168.1.120/24 dev eth0",
            f"route add default via {ROUTER.v4} dev eth0",
        )

    scene.follows(change)
    assert "192.168.1.120" in {frame.source for frame in scene.captures[0].frames if frame.wireguard == "data"}


def test_a_link_that_goes_down_and_comes_back(scene: Scene) -> None:
    def flap() -> None:
        scene.lab.client.ip("link set eth0 down")
        time.sleep(1)
        scene.lab.client.ip(
            "link set eth0 up", f"route add default via {ROUTER.v4}", f"route add default via {ROUTER.v6}"
        )

    scene.follows(flap)


def test_the_tunnels_mtu_follows_the_adapters(scene: Scene) -> None:
    assert scene.client.status()["tunnels"][0]["mtu"] == 1420
    for namespace, device in ((scene.lab.client, "eth0"), (scene.lab.isp, "lan0")):
        namespace.ip(f"link set {device} mtu 1400")
    scene.client.wait_for_log("the tunnel's MTU is 1320")
    assert scene.client.status()["tunnels"][0]["mtu"] == 1320
    scene.follows(lambda: None)
    assert scene.chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    whole = scene.chrome.upload(url=INTERNET.url(4), size=1_000_000)
    assert whole["intact"]
