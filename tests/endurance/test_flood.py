"""A flood of initiations against a responder with a live session."""

import json
import socket
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import psutil
import pytest

from tests.endurance import flood
from tests.support.peers import ALICE, BOB, CLIENT, EVERYWHERE, PACKET, SERVER, connect, device, pair
from wiresock_py.crypto.cookie import CookieGenerator
from wiresock_py.crypto.drops import Drop
from wiresock_py.crypto.messages import CookieReply

MIB = 2**20


def numbered(number: int) -> bytes:
    return PACKET[:-4] + number.to_bytes(4, "big")


def test_a_flood_costs_the_session_nothing_and_the_responder_little() -> None:
    """Four seconds' worth at 20,000 forged and 2,000 valid a second on the virtual clock, from 60,000 sources."""
    server = device(BOB, seed=2)
    alice = server.add_peer(ALICE.public_key(), EVERYWHERE)
    client = device(ALICE, seed=1).add_peer(BOB.public_key(), EVERYWHERE, endpoint=SERVER)
    connect(client, alice)
    generator = CookieGenerator(BOB.public_key())
    forged = flood.forged()
    valid = [flood.valid(generator) for _ in range(2000)]
    sources = [(f"100.64.{number >> 8}.{number & 255}", number + 1) for number in range(60_000)]
    delivered = []
    replies_by_second = []
    tracemalloc.start()
    try:
        for second in range(4):
            replies = 0
            for part in range(1000):
                now = 1.0 + second + part / 1000
                for number in range(20):
                    server.read(forged, sources[(part * 20 + number) % 60_000], now)
                for number in range(2):
                    source = sources[(second * 2000 + part * 2 + number) % 60_000]
                    replies += len(server.read(valid[part * 2 + number], source, now).datagrams)
                if part % 10 == 0:
                    (datagram,) = client.write([numbered(second * 1000 + part)], now)
                    packet = server.read(datagram.data, CLIENT, now).packet
                    assert packet is not None
                    delivered.append(bytes(packet))
                    server.tick(now)
            replies_by_second.append(replies)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert delivered == [numbered(second * 1000 + part) for second in range(4) for part in range(0, 1000, 10)]
    assert max(replies_by_second) <= 1000  # a full bucket and a second's refill; 500 a second after that
    assert sum(replies_by_second) <= 500 * 5
    assert peak <= 8 * MIB
    assert server.drops[Drop.BAD_MAC1] == 80_000
    assert server.drops[Drop.COOKIE_REQUIRED] >= 6_000
    assert len(server.gate._limiter) == 0  # nobody proved an address


def test_sources_with_cookies_are_held_to_their_rate() -> None:
    """An attacker who does receive at 100 addresses: 5 at once and 20 a second each get as far as the handshake."""
    server = device(BOB, seed=2)
    server.add_peer(ALICE.public_key(), EVERYWHERE)
    generators = {}
    for number in range(100):
        source = (f"100.64.{number >> 8}.{number & 255}", 1)
        generators[source] = CookieGenerator(BOB.public_key())
    outcomes: dict[Drop | None, int] = {}
    for step in range(200):
        now = 1.0 + step / 100
        for source, generator in generators.items():
            received = server.read(generator.add_macs(b"\1\0\0\0" + bytes(112), now), source, now)
            outcomes[received.drop] = outcomes.get(received.drop, 0) + 1
            for reply in received.datagrams:
                generator.consume(CookieReply.parse(reply.data), now)
    worked_on = outcomes[Drop.ZERO_DH]  # an ephemeral key of zeros is found out by the first Diffie-Hellman
    assert outcomes[Drop.RATE_LIMITED] > 0
    assert worked_on <= 100 * 2 + 100 * (5 + 20 * 2)
    assert len(server.gate._limiter) <= 100


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_real_flood_through_a_socket_loses_no_packet_of_the_session(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten seconds in real time from another process; the session's datagrams share the socket with the flood."""
    server_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
    server_socket.bind(("127.0.0.1", 0))
    server_socket.setblocking(False)
    place = server_socket.getsockname()
    client_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client_socket.bind(("127.0.0.1", 0))
    client, server = pair()
    client.endpoint = place
    connect(client, server, time.monotonic())
    client.endpoint = server.endpoint = place

    seconds = 10.0
    command = [sys.executable, "-m", "tests.endurance.flood", str(place[1]), BOB.public_key().to_base64(), str(seconds)]
    root = Path(__file__).parents[2]
    sent: list[bytes] = []
    delivered: list[bytes] = []
    replies = 0
    by_second: dict[int, int] = {}
    process = psutil.Process()
    memory = peak = process.memory_info().rss
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as generator:
        try:
            while generator.poll() is None or sent[-1:] != delivered[-1:]:
                now = time.monotonic()
                if generator.poll() is None:
                    for datagram in client.write([numbered(len(sent))], now):
                        client_socket.sendto(datagram.data, place)
                    sent.append(numbered(len(sent)))
                for _ in range(2000):
                    try:
                        data, source = server_socket.recvfrom(2048)
                    except BlockingIOError:
                        break
                    received = server.read(data, source, now)
                    if received.packet is not None:
                        delivered.append(bytes(received.packet))
                    for reply in received.datagrams:
                        if len(reply.data) == 64:
                            replies += 1
                            by_second[int(now)] = by_second.get(int(now), 0) + 1
                server.tick(now)
                peak = max(peak, process.memory_info().rss)
                time.sleep(0.002)
            rates = json.loads(generator.stdout.read()) if generator.stdout else {}
        finally:
            generator.kill()
            server_socket.close()
            client_socket.close()
    with capsys.disabled():
        print(
            f"\nflood: {rates['forged'] / rates['seconds']:.0f} forged/s, {rates['valid'] / rates['seconds']:.0f} "
            f"valid/s for {rates['seconds']:.1f} s; session {len(delivered)}/{len(sent)} packets; "
            f"{replies} cookie replies, at most {max(by_second.values())} in a second; "
            f"memory +{(peak - memory) / MIB:.1f} MiB"
        )
    assert rates["forged"] / rates["seconds"] >= 0.9 * flood.FORGED_PER_SECOND
    assert rates["valid"] / rates["seconds"] >= 0.9 * flood.VALID_PER_SECOND
    assert delivered == sent
    assert max(by_second.values()) <= 1000
    assert replies <= 500 * (seconds + 2)
    assert peak - memory <= 8 * MIB
