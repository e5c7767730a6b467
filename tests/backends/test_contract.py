"""What filters/base.py promises of packets: every test for every backend, in memory and on a real stack (`root`)."""

import pytest

from tests.backends.packets import Datagram, build, read
from tests.backends.traffic import (
    BOTH,
    EVERYTHING,
    HOST,
    INSIDE,
    INSIDE_PLAN,
    OUTSIDE,
    captured,
    left,
    nothing_captured,
    payloads,
    plan,
    take,
)
from tests.backends.worlds import World, all_packets
from wiresock_py.filters import MAX_PACKET, PacketFlag, Verdict


@BOTH
def test_a_packet_of_the_plan_is_captured_whole_and_does_not_leave(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    port = world.send(b"secret", INSIDE[version], 99)
    batch = captured(world)
    assert read(all_packets(batch)[0]) == Datagram(HOST[version], port, INSIDE[version], 99, b"secret")
    assert batch.adapter == [world.adapters["eth0"]]
    assert batch.flags[0] & ~PacketFlag.CHECKSUM_PARTIAL == PacketFlag.NONE
    assert batch.verdict == [Verdict.DROP]
    world.backend.finish(batch)
    assert left(world) == []


def test_a_batch_can_be_read_after_its_verdicts_and_is_decided_once(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    world.send(b"secret", INSIDE[4], 99)
    batch = captured(world)
    packets = all_packets(batch)
    batch.verdict[0] = Verdict.PASS
    world.backend.finish(batch)
    world.backend.finish(batch)
    assert all_packets(batch) == packets
    assert left(world) == [b"secret"]
    assert world.backend.statistics()["passed"] == 1


@BOTH
def test_a_packet_outside_the_plan_never_reaches_python(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    world.send(b"open", OUTSIDE[version])
    assert left(world) == [b"open"]
    assert nothing_captured(world)
    assert world.backend.statistics()["captured"] == 0


def test_the_longest_prefix_decides(world: World) -> None:
    nested = plan(
        "203.0.0.0/8", "203.0.113.0/28", "2001:db8::/32", leave=["203.0.0.0/16", "203.0.113.1/32", "2001:db8::/64"]
    )
    world.backend.open(nested)
    for destination in ("203.0.113.2", "203.0.113.1", "203.0.112.1", "203.1.0.1", "2001:db8::1", "2001:db8:1::1"):
        world.send(destination.encode(), destination)
    assert left(world) == [b"203.0.113.1", b"203.0.112.1", b"2001:db8::1"]
    assert take(world, 3) == [b"203.0.113.2", b"203.1.0.1", b"2001:db8:1::1"]


def test_at_equal_length_a_destination_is_left_alone(world: World) -> None:
    world.backend.open(plan("203.0.113.0/24", leave=["203.0.113.0/24"]))
    world.send(b"open", INSIDE[4])
    assert left(world) == [b"open"]


@BOTH
def test_dns_is_captured_to_any_destination_if_the_plan_says_so(world: World, version: int) -> None:
    world.backend.open(plan("203.0.113.0/24", "2001:db8::/32", leave=["0.0.0.0/0", "::/0"], dns=True))
    world.send(b"query", OUTSIDE[version], 53)
    world.send(b"other", OUTSIDE[version], 54)
    assert left(world) == [b"other"]
    assert take(world, 1) == [b"query"]


def test_dns_to_a_resolver_on_another_adapter_is_captured(world: World) -> None:
    world.backend.open(plan(dns=True))
    world.send(b"query", "10.78.0.1", 53)
    assert take(world, 1) == [b"query"]


@BOTH
def test_dns_is_left_alone_if_the_plan_does_not_say_so(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    world.send(b"query", OUTSIDE[version], 53)
    assert left(world) == [b"query"]


@pytest.mark.parametrize("resolver", ["127.0.0.53", "::1"])
def test_dns_for_a_resolver_on_this_host_is_captured_where_loopback_is_seen(world: World, resolver: str) -> None:
    world.backend.open(plan(dns=True))
    other = world.listen(resolver, 54)
    world.send(b"query", resolver, 53)
    world.send(b"other", resolver, 54)
    assert other.received()[0] == b"other"
    if not world.backend.sees_loopback:
        assert nothing_captured(world)
        return
    batch = captured(world)
    assert payloads(all_packets(batch)) == [b"query"]
    assert batch.flags[0] & ~PacketFlag.CHECKSUM_PARTIAL == PacketFlag.LOOPBACK
    assert batch.adapter == [world.adapters["lo"]]
    world.backend.finish(batch)


@pytest.mark.parametrize("destination", ["127.0.0.1", "::1", "10.77.0.2", "fd77::2", "10.78.0.2"])
def test_packets_for_this_host_itself_are_not_captured(world: World, destination: str) -> None:
    world.backend.open(plan("0.0.0.0/0", "::/0", dns=True))
    app = world.listen(destination, 5000)
    world.send(b"local", destination, 5000)
    assert app.received()[0] == b"local"
    assert nothing_captured(world)


@pytest.mark.parametrize("destination", ["224.0.0.251", "255.255.255.255", "10.77.0.255", "169.254.7.7", "ff02::fb"])
def test_what_the_link_lives_on_is_not_captured(world: World, destination: str) -> None:
    leave = ["10.77.0.1/32"]
    if destination == "10.77.0.255" and world.backend.name in ("memory", "windivert"):
        leave.append("10.77.0.255/32")  # they know no subnets: nothing makes this address a broadcast
    world.backend.open(plan("0.0.0.0/0", "::/0", leave=leave))
    world.send(b"link", destination, 5353)
    assert b"link" in left(world)
    assert nothing_captured(world)


@pytest.mark.parametrize(("source", "destination"), [(68, 67), (67, 68)])
def test_dhcp_is_not_captured(world: World, source: int, destination: int) -> None:
    world.backend.open(EVERYTHING)
    world.send(b"lease", INSIDE[4], destination, source)
    assert left(world) == [b"lease"]


@pytest.mark.parametrize(("source", "destination"), [(546, 547), (547, 546)])
def test_dhcpv6_is_not_captured(world: World, source: int, destination: int) -> None:
    world.backend.open(EVERYTHING)
    world.send(b"lease", INSIDE[6], destination, source)
    assert left(world) == [b"lease"]


def test_networks_behind_an_adapter_without_default_route_are_left_alone(world: World) -> None:
    world.backend.open(EVERYTHING)
    world.send(b"beside", "10.78.0.1")
    world.send(b"beside6", "fd78::1")
    assert left(world) == [b"beside", b"beside6"]
    assert nothing_captured(world)


def test_named_adapters_are_captured_instead_of_the_default_ones(world: World) -> None:
    world.backend.open(plan("0.0.0.0/0", leave=["10.78.0.1/32"], adapters=("side0",)))
    world.send(b"world", INSIDE[4])
    world.send(b"beside", "10.78.0.7")
    assert left(world) == [b"world"]
    assert take(world, 1) == [b"beside"]


@BOTH
def test_a_passed_packet_leaves_and_the_next_one_is_shown_again(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    port = world.send(b"one", INSIDE[version])
    assert take(world, 1, Verdict.PASS) == [b"one"]
    assert left(world) == [b"one"]
    world.send(b"two", INSIDE[version], source_port=port)
    assert take(world, 1) == [b"two"]
    assert left(world) == []


@BOTH
def test_a_bypassed_flow_is_not_shown_any_more_but_others_are(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    port = world.send(b"one", INSIDE[version])
    take(world, 1, Verdict.BYPASS)
    world.send(b"two", INSIDE[version], source_port=port)
    assert left(world) == [b"one", b"two"]
    assert nothing_captured(world)
    world.send(b"other", INSIDE[version])
    assert take(world, 1) == [b"other"]


def test_an_update_shows_bypassed_flows_again(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    port = world.send(b"one", INSIDE[4])
    take(world, 1, Verdict.BYPASS)
    assert left(world) == [b"one"]
    world.backend.update(INSIDE_PLAN)
    world.send(b"two", INSIDE[4], source_port=port)
    assert take(world, 1) == [b"two"]


def test_a_new_run_shows_flows_that_an_earlier_one_bypassed(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    port = world.send(b"one", INSIDE[4])
    take(world, 1, Verdict.BYPASS)
    world.backend.close(keep_blocking=True)
    world.backend.open(INSIDE_PLAN)
    assert left(world) == [b"one"]
    world.send(b"two", INSIDE[4], source_port=port)
    assert take(world, 1) == [b"two"]


@pytest.mark.parametrize(
    "pattern", ["DPDPPDPPPD", "PPPPPPPPPP", "DDDDDDDDDD", "PDDDDDDDDP", "BPDBBPPDDB", "PPPPDBBBBB"]
)
def test_what_passes_leaves_in_order_and_the_rest_stays(world: World, pattern: str) -> None:
    verdicts = {"D": Verdict.DROP, "P": Verdict.PASS, "B": Verdict.BYPASS}
    world.backend.open(INSIDE_PLAN)
    names = [b"%d" % i for i in range(len(pattern))]
    for name in names:
        world.send(name, INSIDE[4])
    seen: list[bytes] = []
    while len(seen) < len(pattern):
        batch = captured(world)
        for i, packet in enumerate(all_packets(batch)):
            batch.verdict[i] = verdicts[pattern[len(seen)]]
            seen += payloads([packet])
        world.backend.finish(batch)
    assert seen == names
    assert left(world) == [name for name, letter in zip(names, pattern, strict=True) if letter != "D"]


def test_what_nobody_decides_does_not_leak(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    for i in range(20):
        world.send(b"%d" % i, INSIDE[4 if i % 2 else 6])
    count = 0
    while count < 20:
        batch = captured(world)
        count += len(batch)
        world.backend.finish(batch)
    assert left(world) == []


@BOTH
def test_an_injected_packet_arrives_at_a_real_socket(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    app = world.listen(HOST[version], 6000)
    packet = build(Datagram(INSIDE[version], 99, HOST[version], 6000, b"answer"))
    assert world.backend.send_to_stack([[packet]]) == 1
    assert app.received() == (b"answer", (INSIDE[version], 99))
    assert world.backend.statistics()["injected"] == 1


@BOTH
def test_an_injected_packet_may_come_in_pieces(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    app = world.listen(HOST[version], 6000)
    packet = build(Datagram(INSIDE[version], 99, HOST[version], 6000, bytes(range(250))))
    head, middle, rest = bytearray(packet[:40]), memoryview(packet)[40:100], packet[100:]
    assert world.backend.send_to_stack([[head, middle, rest]]) == 1
    assert app.received()[0] == bytes(range(250))


@BOTH
def test_an_injected_packet_may_be_as_large_as_the_backend_says(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    app = world.listen(HOST[version], 6000)
    largest = world.backend.largest_to_stack
    assert 1280 <= largest <= MAX_PACKET
    payload = bytes(largest - (28 if version == 4 else 48))
    packet = build(Datagram(INSIDE[version], 99, HOST[version], 6000, payload))
    assert len(packet) == largest
    assert world.backend.send_to_stack([[packet]]) == 1
    assert app.received()[0] == payload


def test_an_injected_packet_that_is_too_large_is_refused_and_counted(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    before = world.backend.statistics()
    packet = build(Datagram(INSIDE[4], 99, HOST[4], 6000, bytes(1000)))
    assert world.backend.send_to_stack([[packet, bytes(world.backend.largest_to_stack - 500)]]) == 0
    after = world.backend.statistics()
    assert after["injected"] == 0
    assert [name for name in after if after[name] > before.get(name, 0)], "the refusal shows in no counter"


@pytest.mark.parametrize(("port", "dns"), [(99, False), (53, True)])
@BOTH
def test_the_clients_own_sockets_are_not_captured(world: World, version: int, port: int, dns: bool) -> None:
    """By their mark, or else by their port as long as it is exempt; other ports are captured as before."""
    world.backend.open(plan("203.0.113.0/24", "2001:db8::/32", dns=dns))
    with world.own_socket() as (send, own_port):
        send(b"own", INSIDE[version], port)
        assert left(world) == [b"own"]
        assert nothing_captured(world)
        world.send(b"other", INSIDE[version], port)
        assert take(world, 1) == [b"other"]
    world.send(b"not own any more", INSIDE[version], 100, source_port=own_port)
    assert take(world, 1) == [b"not own any more"]


def test_a_port_may_be_exempt_before_the_backend_opens_and_after_an_update(world: World) -> None:
    with world.own_socket() as (send, _port):
        world.backend.open(INSIDE_PLAN)
        send(b"first", INSIDE[4], 99)
        world.backend.update(EVERYTHING)
        send(b"second", INSIDE[4], 99)
        assert left(world) == [b"first", b"second"]


def test_a_port_stays_exempt_until_the_last_block_ends(world: World) -> None:
    world.backend.open(INSIDE_PLAN)
    with world.own_socket() as (send, port):
        with world.backend.exempt(port):
            pass
        send(b"own", INSIDE[4], 99)
        assert left(world) == [b"own"]


def test_an_answer_from_a_resolver_on_loopback_arrives_where_loopback_is_seen(world: World) -> None:
    world.backend.open(plan(dns=True))
    app = world.listen("127.0.0.1", 6000)
    packet = build(Datagram("127.0.0.53", 53, "127.0.0.1", 6000, b"answer"))
    if not world.backend.sees_loopback:
        assert world.backend.send_to_stack([[packet]]) == 0  # there is no question that it could answer
        return
    assert world.backend.send_to_stack([[packet]]) == 1
    assert app.received() == (b"answer", ("127.0.0.53", 53))


@BOTH
def test_a_held_packet_sent_to_the_network_leaves_and_is_not_captured_again(world: World, version: int) -> None:
    world.backend.open(INSIDE_PLAN)
    port = world.send(b"held", INSIDE[version])
    batch = captured(world)
    held = all_packets(batch)
    adapter = batch.adapter[0]
    world.backend.finish(batch)
    assert left(world) == []
    assert world.backend.send_to_network([[packet] for packet in held], adapter) == 1
    assert world.left() == [Datagram(HOST[version], port, INSIDE[version], 7, b"held")]
    world.send(b"next", INSIDE[version], source_port=port)
    assert left(world) == [], "what was let past once is no promise for its flow"
    assert len(captured(world)) == 1
    assert world.backend.statistics()["sent"] == 1
