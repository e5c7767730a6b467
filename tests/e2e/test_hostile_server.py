"""A server that knows the keys and means harm: what it sends unasked reaches nothing on this host."""

import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Packet, Raw

from wiresock_py.lab import (
    CLIENT,
    CLIENT_OTHER,
    INNER_CLIENT,
    INTERNET,
    LAN_HOST,
    TUNNEL_RESOLVER,
    App,
    Client,
    CoreServer,
    KeyPair,
    Lab,
    Peer,
)

pytestmark = [pytest.mark.lab, pytest.mark.root]

PORT = 2323
ECHO = 9

OURS = (CLIENT, CLIENT_OTHER, INNER_CLIENT, LAN_HOST, INTERNET)
FORGED = {
    4: ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.1.1"],
    6: ["::1", "::", "ff02::1", "fe80::1", "::ffff:127.0.0.1"],
}
for _family, _sources in FORGED.items():
    _sources.extend(host.of(_family) for host in OURS)
"""Inner sources that no honest server sends, and one that it may: even that opens nothing here by itself."""
TARGETS = {
    4: [INNER_CLIENT.of(4), CLIENT.of(4), "127.0.0.1"],
    6: [INNER_CLIENT.of(6), CLIENT.of(6), "::1"],
}


@pytest.fixture
def hostile(lab: Lab) -> Iterator[CoreServer]:
    """A server that echoes UDP honestly, until a test makes it send something else."""
    made = lab.start_core_server(peer=Peer(KeyPair.generate()))
    yield made
    made.stop()


@pytest.fixture
def tunnel(client: Callable[..., Client], hostile: CoreServer) -> Client:
    running = client(hostile.client_config(hostile.peer, disallowed_ips="192.168.1.0/24, 2001:db8:1::/64"))
    running.wait_until_connected()
    return running


@pytest.fixture
def listener(app: Callable[[str], App]) -> App:
    """An application that listens on every address, loopback included, and notes whoever comes."""
    made = app("listener")
    made.listen(port=PORT)
    return made


def ip(source: str, target: str) -> Packet:
    return IP(src=source, dst=target) if ip_address(source).version == 4 else IPv6(src=source, dst=target)


def unasked(source: str, target: str) -> list[bytes]:
    """A datagram, a SYN, an ACK in mid-stream and a ping, for a listener."""
    ping = ICMP(id=7) if ip_address(source).version == 4 else ICMPv6EchoRequest(id=7)
    packets = [
        ip(source, target) / UDP(sport=ECHO, dport=PORT) / Raw(b"unasked"),
        ip(source, target) / TCP(sport=ECHO, dport=PORT, flags="S", seq=1),
        ip(source, target) / TCP(sport=ECHO, dport=PORT, flags="PA", seq=1, ack=1) / Raw(b"unasked"),
        ip(source, target) / ping / Raw(b"unasked"),
    ]
    return [bytes(packet) for packet in packets]


@pytest.mark.parametrize("family", [4, 6])
def test_unasked_packets_reach_no_listener_whatever_their_source(
    tunnel: Client, hostile: CoreServer, listener: App, chrome: App, lab: Lab, family: int
) -> None:
    # the listener is there, the tunnel delivers what was asked for, and answers would be seen at the server
    assert chrome.udp_echo(address=f"{'::1' if family == 6 else '127.0.0.1'}", port=PORT, sizes=[10]) == [10]
    assert chrome.udp_echo(address=INTERNET.of(family), port=ECHO, sizes=[100]) == [100]
    own = len(listener.visitors(port=PORT))
    before = len(hostile.received)
    delivered = lab.client.run("cat", "/proc/net/snmp6", "/proc/net/snmp")
    for source in FORGED[family]:
        for target in TARGETS[family]:
            hostile.send(*unasked(source, target))
    time.sleep(1)
    assert chrome.udp_echo(address=INTERNET.of(family), port=ECHO, sizes=[100]) == [100], "the tunnel still works"
    assert len(listener.visitors(port=PORT)) == own
    answers = [packet for packet in hostile.received[before:] if b"unasked" in packet or packet[9:10] == b"\x06"]
    assert answers == []
    # nor did the host's stack get to see any of it: it would have counted them
    assert counter(lab, "InEchos", "Icmp6InEchos") == counter_of(delivered, "InEchos", "Icmp6InEchos")
    drops = tunnel.status()["tunnels"][0]["drops"] | tunnel.status()["drops"]
    assert sum(drops.values()) >= 4 * len(TARGETS[family]) * len(FORGED[family]) - 5


def counter_of(text: str, *names: str) -> int:
    """The sum of counters in the kernel's /proc/net/snmp6 (a name and a value a line) and snmp (lines in pairs)."""
    total = 0
    header: list[str] = []
    for words in map(str.split, text.splitlines()):
        if not words[0].endswith(":"):
            total += int(words[1]) if words[0] in names else 0
        elif words[1].lstrip("-").isdigit():
            total += sum(int(value) for name, value in zip(header, words, strict=True) if name in names)
        else:
            header = words
    return total


def counter(lab: Lab, *names: str) -> int:
    return counter_of(lab.client.run("cat", "/proc/net/snmp6", "/proc/net/snmp"), *names)


@pytest.mark.parametrize("family", [4, 6])
def test_an_answer_from_another_address_or_port_than_was_asked_is_not_delivered(
    tunnel: Client, hostile: CoreServer, chrome: App, family: int
) -> None:
    def answer(packet: bytes) -> list[bytes]:
        asked = IP(packet) if family == 4 else IPv6(packet)
        if UDP not in asked:
            return []
        back = UDP(sport=asked[UDP].dport, dport=asked[UDP].sport) / Raw(bytes(asked[UDP].payload))
        other = UDP(sport=asked[UDP].dport + 1, dport=asked[UDP].sport) / Raw(bytes(asked[UDP].payload))
        return [
            bytes(ip(TUNNEL_RESOLVER.of(family), asked.src) / back),
            bytes(ip(asked.dst, asked.src) / other),
            bytes(ip(asked.dst, INNER_CLIENT.of(family).replace("2", "3")) / back),
        ]

    assert chrome.udp_echo(address=INTERNET.of(family), port=ECHO, sizes=[100]) == [100]
    hostile.answer_with(answer)
    assert chrome.udp_echo(address=INTERNET.of(family), port=ECHO, sizes=[100], timeout=1) == []
    assert hostile.received


def test_garbage_in_authentic_packets_breaks_nothing(tunnel: Client, hostile: CoreServer, chrome: App) -> None:
    whole = bytes(ip(INTERNET.of(4), INNER_CLIENT.of(4)) / UDP(sport=ECHO, dport=5) / Raw(b"x" * 64))
    for cut in range(1, len(whole)):
        hostile.send(whole[:cut])
    for position in range(20):
        for value in (0x00, 0x0F, 0x40, 0x4F, 0x60, 0x7F, 0xFF):
            hostile.send(whole[:position] + bytes([value]) + whole[position + 1 :])
    hostile.send(b"", b"\x45", b"\x60" + bytes(39), b"\x46" + bytes(19), bytes(1420))
    assert chrome.udp_echo(address=INTERNET.of(4), port=ECHO, sizes=[100]) == [100]
    assert tunnel.running
    assert "Traceback" not in tunnel.log()
    assert "died" not in tunnel.log()
