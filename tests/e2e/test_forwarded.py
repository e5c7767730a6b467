"""Machines behind this host: tunnelled, direct or blocked by choice, with a way back, and nothing in the open.

A guest hangs on the client by a link of its own, as a container or a phone on a hotspot does; the client forwards and
masquerades for it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_examples import EXAMPLES, fitted
from wiresock_py.lab import (
    CLIENT,
    ECHO_PORT,
    INNER_CLIENT,
    INTERNET,
    SERVER,
    App,
    Capture,
    Client,
    Lab,
    LabError,
    Namespace,
    Server,
    topology,
)

pytestmark = [pytest.mark.lab, pytest.mark.root]

GUEST = {4: "10.88.0.2", 6: "fd88::2"}
GATEWAY = {4: "10.88.0.1", 6: "fd88::1"}
MASQUERADE = "*nat\n-A POSTROUTING -s {network} -o eth0 -j MASQUERADE\nCOMMIT\n"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab of its own, whose client forwards."""
    with Lab() as made:
        made.client.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        made.client.restore_rules("iptables", MASQUERADE.format(network="10.88.0.0/24"))
        made.client.restore_rules("ip6tables", MASQUERADE.format(network="fd88::/64"))
        yield made


@pytest.fixture(scope="module")
def guest(lab: Lab) -> Iterator[Namespace]:
    """The machine behind the client."""
    made = Namespace(f"{lab.label}-guest")
    made.create()
    try:
        topology.veth(lab.client, "br0", made, "eth0")
        for namespace, device, addresses in ((lab.client, "br0", GATEWAY), (made, "eth0", GUEST)):
            namespace.ip(
                f"address add {addresses[4]}/24 dev {device}",
                f"address add {addresses[6]}/64 dev {device} nodad",
                f"link set {device} up",
            )
        made.sysctl(net__ipv4__ping_group_range="0 2147483647")
        made.ip(f"route add default via {GATEWAY[4]}", f"route add default via {GATEWAY[6]}")
        yield made
    finally:
        made.delete()


@pytest.fixture
def phone(lab: Lab, guest: Namespace) -> Iterator[App]:
    """A program on the guest; it reaches the internet host through the client, as its address there shows."""
    made = lab.app("phone", namespace=guest)
    assert made.http(url=INTERNET.url(4)) == CLIENT.of(4)
    yield made
    made.stop()


def in_the_open(capture: Capture) -> list[object]:
    sites = {INTERNET.of(4), INTERNET.of(6)}
    return [frame for frame in capture.frames if sites & {frame.source, frame.target}]


Make = Callable[..., Client]


@pytest.mark.parametrize("family", [4, 6])
def test_a_tunnel_for_everything_takes_other_machines_along(
    client: Make, server: Server, lab: Lab, phone: App, family: int
) -> None:
    client(server.client_config(server.add_peer(), mtu=0))
    with lab.capture() as capture, lab.capture_inner(server) as inner:
        assert phone.http(url=INTERNET.url(family)) == SERVER.of(family)
        assert phone.download(url=INTERNET.url(family, "/bytes/3000000"))["size"] == 3_000_000
        assert phone.upload(url=INTERNET.url(family), size=3_000_000)["intact"]
        sizes = [100, 1300, 3000, 20_000]
        assert phone.udp_echo(address=INTERNET.of(family), port=ECHO_PORT, sizes=sizes, timeout=1, tries=3) == sizes
        assert phone.ping(address=INTERNET.of(family), count=2) == {"answered": 2, "errors": []}
    assert in_the_open(capture) == []
    # of TCP: where it puts a datagram's fragments together again, the kernel writes over what the capture still holds
    through = {frame.source for frame in inner.frames if frame.target == INTERNET.of(family) and frame.protocol == 6}
    assert through == {INNER_CLIENT.of(family)}


def test_the_same_ports_on_this_host_and_behind_it_do_not_meet(
    client: Make, server: Server, phone: App, chrome: App
) -> None:
    client(server.client_config(server.add_peer()))
    sizes = [500, 501, 502]
    asked = [
        app.submit("udp_echo", address=INTERNET.of(4), port=ECHO_PORT, sizes=sizes, source=source, source_port=3000)
        for app, source in ((chrome, CLIENT.of(4)), (phone, GUEST[4]))
    ]
    assert [answer.result(10) for answer in asked] == [sizes, sizes]


def test_a_tunnel_for_one_app_leaves_other_machines_outside(
    client: Make, server: Server, phone: App, chrome: App
) -> None:
    client(server.client_config(server.add_peer(), allowed_apps="chrome"))
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)
    for family in (4, 6):
        assert phone.http(url=INTERNET.url(family)) == CLIENT.of(family)
        assert phone.udp_echo(address=INTERNET.of(family), port=ECHO_PORT, sizes=[100]) == [100]


def test_by_choice_they_stay_outside_or_are_blocked(
    client: Make, server: Server, lab: Lab, phone: App, chrome: App, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("forwarded: direct\n")
    config = server.client_config(server.add_peer())
    running = client(config, options=("--settings", str(settings)))
    assert phone.http(url=INTERNET.url(4)) == CLIENT.of(4)
    settings.write_text("forwarded: block\n")
    running.reload()
    with lab.capture() as capture, pytest.raises(LabError, match=r"refused|unreachable|prohibited|Reset"):
        phone.http(url=INTERNET.url(4), timeout=5)
    assert in_the_open(capture) == []
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)


def test_a_connection_from_outside_to_a_machine_behind_goes_on(
    client: Make, server: Server, lab: Lab, phone: App
) -> None:
    phone.listen(port=2323)
    forward = ("-p", "tcp", "-i", "eth0", "--dport", "2323", "-j", "DNAT", "--to-destination", f"{GUEST[4]}:2323")
    lab.client.run("iptables", "-t", "nat", "-A", "PREROUTING", *forward)
    visitor = lab.app("visitor", namespace=lab.internet)
    try:
        visitor.open_session(name="before", address=CLIENT.of(4), port=2323)
        client(server.client_config(server.add_peer()))
        visitor.open_session(name="after", address=CLIENT.of(4), port=2323)
        for name in ("before", "after", "before"):
            assert visitor.exchange(name=name, text="still here") == "still here"
    finally:
        lab.client.run("iptables", "-t", "nat", "-D", "PREROUTING", *forward)
        visitor.stop()


def test_the_example_for_a_hotspot(client: Make, server: Server, phone: App, chrome: App, tmp_path: Path) -> None:
    file = tmp_path / "hotspot.conf"
    file.touch(mode=0o600)
    file.write_text(fitted((EXAMPLES / "hotspot.conf").read_text(), server, 2))
    client(file)
    assert phone.http(url=INTERNET.url(4)) == SERVER.of(4)
    assert chrome.http(url=INTERNET.url(4)) == CLIENT.of(4)
