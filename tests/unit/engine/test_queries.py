"""DNS queries over UDP, one by one: which server gets them, who gets the answer, and what the rules learn."""

import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Packet, Raw

from tests.support.dns_messages import AAAA, CNAME, A, Record, answer, query
from tests.support.traffic import assert_sound, dissect
from tests.support.worlds import (
    ADDRESSES,
    CHROME,
    DNS,
    EVERYTHING,
    FIREFOX,
    HOST,
    TUNNEL,
    World,
    config,
    incoming,
    outgoing,
)
from wiresock_py.config import Settings
from wiresock_py.engine.queries import GIVE_UP, MAX_PENDING, PATIENCE, PENALTY, Server
from wiresock_py.flow import App
from wiresock_py.rules import Known

CHROME_ONLY = f"{EVERYTHING}\nAllowedApps = chrome"
BOTH = f"{ADDRESSES}\nDNS = {DNS[4]}, {DNS[6]}"
CHROME_PORT, FIREFOX_PORT, RESOLVED_PORT = 5000, 6000, 7000
RESOLVED = App(300, 3000.0, "/usr/lib/systemd/systemd-resolved")
RESOLVER = {4: "192.168.1.1", 6: "2001:db8:1::1"}
Make = Callable[..., World]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    def make(*peers: str, interface: str = BOTH, **options: object) -> World:
        world = World(monkeypatch, config(*(peers or (CHROME_ONLY,)), interface=interface), **options)  # type: ignore[arg-type]  # for World to check
        for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
            for app, port in ((CHROME, CHROME_PORT), (FIREFOX, FIREFOX_PORT), (RESOLVED, RESOLVED_PORT)):
                world.owners.own(app, protocol, port)
        return world

    return make


def ask(world: World, name: str = "a.test", *, port: int = CHROME_PORT, version: int = 4, to: str = "") -> list[Packet]:
    """The packets of the query inside the tunnel."""
    message = query(name, A if version == 4 else AAAA)
    world.host_sends(outgoing(UDP(sport=port, dport=53) / Raw(message), version, to=to or RESOLVER[version]))
    return [assert_sound(packet) for packet in world.server.take()]


def tell(world: World, asked: Packet, *records: Record, rcode: int = 0, source: str = "") -> list[Packet]:
    """The packets that arrive at the host for the server's answer."""
    message = answer(bytes(asked[UDP].payload), records, rcode=rcode)
    version = 6 if ":" in asked.src else 4
    reply = UDP(sport=53, dport=asked[UDP].sport) / Raw(message)
    arrived = world.server_sends(incoming(reply, version, source=source or asked.dst))
    return [assert_sound(packet) for packet in arrived]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("server", [4, 6])
def test_a_query_of_either_version_is_carried_to_a_server_of_either_version(
    make: Make, version: int, server: int
) -> None:
    world = make(interface=f"{ADDRESSES}\nDNS = {DNS[server]}")
    (asked,) = ask(world, version=version)
    assert (asked.src, asked.dst) == (TUNNEL[server], DNS[server])
    (told,) = tell(world, asked, ("a.test", A, 60, "192.0.2.1"))
    assert (told.src, told.dst, told[UDP].dport) == (RESOLVER[version], HOST[version], CHROME_PORT)
    assert world.outside() == []


def test_every_query_leaves_by_a_random_port(make: Make) -> None:
    world = make()
    ports = {ask(world, f"n{number}.test")[0][UDP].sport for number in range(30)}
    assert len(ports) > 25
    assert min(ports) >= 49152


def test_two_programs_that_ask_the_same_get_their_own_answers(make: Make) -> None:
    world = make(EVERYTHING)
    asked = [ask(world, port=port)[0] for port in (CHROME_PORT, FIREFOX_PORT)]
    told = [tell(world, each, ("a.test", A, 60, "192.0.2.1"))[0] for each in reversed(asked)]
    assert [each[UDP].dport for each in told] == [FIREFOX_PORT, CHROME_PORT]


def test_an_answer_is_delivered_once(make: Make) -> None:
    world = make()
    (asked,) = ask(world)
    assert len(tell(world, asked)) == 1
    assert tell(world, asked) == []


def test_an_answer_from_elsewhere_or_to_something_else_is_not_delivered(make: Make) -> None:
    world = make()
    (asked,) = ask(world)
    assert tell(world, asked, source="192.0.2.53") == []
    for message in (answer(query("b.test")), answer(query("a.test", identifier=9)), b"x", query("a.test")):
        forged = incoming(UDP(sport=53, dport=asked[UDP].sport) / Raw(message), source=DNS[4])
        assert world.server_sends(forged) == []
    assert len(tell(world, asked)) == 1


def test_an_answer_comes_from_the_peer_that_the_server_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    two = config(EVERYTHING, "AllowedIPs = 10.9.0.0/16", interface=f"{ADDRESSES}\nDNS = 10.9.0.53")
    world = World(monkeypatch, two)
    world.owners.own(CHROME, socket.IPPROTO_UDP, CHROME_PORT)
    other, right = world.servers
    world.host_sends(outgoing(UDP(sport=CHROME_PORT, dport=53) / Raw(query("a.test")), to=RESOLVER[4]))
    (asked,) = map(dissect, right.take())
    reply = incoming(UDP(sport=53, dport=asked[UDP].sport) / Raw(answer(query("a.test"))), source="10.9.0.53")
    other.send(reply)
    world.settle()
    assert world.delivered() == []
    right.send(reply)
    world.settle()
    assert len(world.delivered()) == 1


# Several servers


def test_a_silent_server_is_passed_over_for_the_next_and_asked_last_for_a_while(make: Make) -> None:
    world = make()
    assert ask(world)[0].dst == DNS[4]
    world.pass_time(PATIENCE + 0.2)
    (again,) = [dissect(packet) for packet in world.server.take()]
    assert again.dst == DNS[6]
    (told,) = tell(world, again, ("a.test", A, 60, "192.0.2.1"))
    assert (told.src, told[UDP].dport) == (RESOLVER[4], CHROME_PORT)
    assert ask(world, "b.test")[0].dst == DNS[6]
    world.pass_time(PENALTY, step=1.0)
    world.server.take()
    assert ask(world, "c.test")[0].dst == DNS[4]


def test_a_late_answer_of_the_first_server_still_counts(make: Make) -> None:
    world = make()
    (first,) = ask(world)
    world.pass_time(PATIENCE + 0.2)
    assert len(tell(world, first, ("a.test", A, 60, "192.0.2.1"))) == 1


@pytest.mark.parametrize("rcode", [2, 5])
def test_a_server_that_fails_or_refuses_is_passed_over_at_once(make: Make, rcode: int) -> None:
    world = make()
    (asked,) = ask(world)
    assert tell(world, asked, rcode=rcode) == []
    (again,) = [dissect(packet) for packet in world.server.take()]
    assert again.dst == DNS[6]
    (told,) = tell(world, again, rcode=rcode)
    assert bytes(told[UDP].payload)[3] & 15 == rcode
    assert world.engine.counters()["dns_next_server"] == 1


def test_a_server_that_fails_at_the_moment_it_counts_as_silent_is_passed_over_once(make: Make) -> None:
    world = make()
    ask(world)
    queries = world.engine._queries
    ((pending, _),) = queries._pending.values()
    another = threading.Thread(target=lambda: queries._try_next(pending, world.now))

    class Contended(list[Server]):
        def __bool__(self) -> bool:
            there = len(self) > 0
            if not another.ident:
                another.start()
                another.join(0.2)
            return there

    pending.others = Contended(pending.others)
    assert queries._try_next(pending, world.now)
    another.join()
    assert world.engine.counters()["dns_next_server"] == 1


def test_a_name_that_does_not_exist_is_an_answer(make: Make) -> None:
    world = make()
    (asked,) = ask(world)
    assert len(tell(world, asked, rcode=3)) == 1


def test_while_there_is_no_session_servers_are_not_blamed(make: Make) -> None:
    world = make(connected=False)
    world.server.silent = True
    ask(world)
    world.pass_time(PATIENCE * 2)
    assert world.engine.counters()["dns_next_server"] == 0


def test_queries_are_forgotten_in_time_and_number(make: Make) -> None:
    world = make(interface=f"{ADDRESSES}\nDNS = {DNS[4]}")
    for number in range(MAX_PENDING + 5):
        ask(world, f"n{number}.test")
    assert world.engine.counters()["dns_overflow"] == 5
    world.pass_time(GIVE_UP + 1, step=1.0)
    assert world.engine.counters()["dns_unanswered"] == MAX_PENDING
    assert len(ask(world)) == 1


def test_what_is_no_query_does_not_leave(make: Make) -> None:
    world = make()
    world.host_sends(outgoing(UDP(sport=CHROME_PORT, dport=53) / Raw(b"no question"), to=RESOLVER[4]))
    assert world.server.take() == world.outside() == []
    assert world.engine.counters()["dns_malformed_query"] == 1


# Others


def test_other_programs_are_asked_nothing_of_while_the_tunnel_is_dead(make: Make) -> None:
    world = make(connected=False)
    world.server.silent = True
    ask(world, port=FIREFOX_PORT)
    assert [dissect(packet).dst for packet in world.outside()] == [RESOLVER[4]]


def test_without_links_queries_of_the_tunnels_apps_are_dropped_and_others_pass(make: Make) -> None:
    world = make(with_links=False)
    for port in (CHROME_PORT, FIREFOX_PORT):
        world.host_sends(outgoing(UDP(sport=port, dport=53) / Raw(query("a.test")), to=RESOLVER[4]))
    assert [dissect(packet)[UDP].sport for packet in world.outside()] == [FIREFOX_PORT]


def test_a_tunnel_without_servers_carries_queries_like_anything_else(make: Make) -> None:
    world = make(interface=ADDRESSES)
    (asked,) = ask(world, to="9.9.9.9")
    assert (asked.dst, asked[UDP].sport) == ("9.9.9.9", CHROME_PORT)


# The policy for shared resolvers


@pytest.mark.parametrize(
    ("policy", "up", "inside", "outside"),
    [
        ("rules", True, 0, 1),
        ("rules", False, 0, 1),
        ("tunnel", True, 1, 0),
        ("tunnel", False, 0, 0),
        ("tunnel_or_direct", True, 1, 0),
        ("tunnel_or_direct", False, 0, 1),
    ],
)
def test_the_queries_of_a_shared_resolver_follow_its_policy(
    make: Make, policy: str, up: bool, inside: int, outside: int
) -> None:
    world = make(settings=Settings(shared_resolver=policy), connected=up)  # type: ignore[arg-type]
    world.server.silent = not up
    assert len(ask(world, port=RESOLVED_PORT)) == inside
    assert len(world.outside()) == outside


# Names

NAMED = f"{EVERYTHING}\nAllowedDomains = a.test"
SITE = "203.0.113.77"


def connects(world: World, to: str, port: int = CHROME_PORT) -> str:
    """Where a new connection to *to* goes."""
    world.host_sends(outgoing(TCP(sport=port, dport=443, flags="S", seq=1), to=to))
    inside, outside = world.server.take(), world.outside()
    return {(1, 0): "tunnel", (0, 1): "direct"}[len(inside), len(outside)]


def test_an_address_is_tunnelled_once_a_name_of_the_rules_led_to_it(make: Make) -> None:
    world = make(NAMED)
    assert connects(world, SITE) == "direct"
    (asked,) = ask(world, "www.a.test")
    tell(world, asked, ("www.a.test", CNAME, 60, "cdn.b.test"), ("cdn.b.test", A, 60, SITE))
    assert connects(world, SITE, FIREFOX_PORT) == "tunnel"
    assert connects(world, "203.0.113.78", FIREFOX_PORT + 1) == "direct"


def test_what_is_learned_is_told_before_the_answer_is_delivered(make: Make) -> None:
    world = make(NAMED)
    told: list[tuple[str, int]] = []
    world.engine._queries._on_learned = lambda known: told.extend(
        (each.name, len(world.backend._to_stack)) for each in known
    )
    (asked,) = ask(world, "www.a.test")
    assert len(tell(world, asked, ("www.a.test", A, 60, SITE))) == 1
    assert told == [("www.a.test", 0)]


def test_names_that_another_process_learned_count(make: Make) -> None:
    world = make(NAMED)
    world.engine.remember([Known(ip_address(SITE).packed.hex(), "www.a.test", world.now + 100)])
    assert connects(world, SITE) == "tunnel"


def test_a_malformed_answer_teaches_nothing_and_is_counted(make: Make) -> None:
    world = make(NAMED)
    (asked,) = ask(world, "www.a.test")
    message = answer(bytes(asked[UDP].payload), [("www.a.test", A, 60, SITE)])[:-2]
    reply = incoming(UDP(sport=53, dport=asked[UDP].sport) / Raw(message), source=DNS[4])
    assert len(world.server_sends(reply)) == 1
    assert world.engine.counters()["dns_malformed_answer"] == 1
    assert connects(world, SITE) == "direct"


def test_queries_for_other_names_are_asked_outside_and_their_answers_are_read(make: Make) -> None:
    world = make(f"{EVERYTHING}\nDisallowedDomains = *.b.test")
    assert ask(world, "www.b.test") == []
    assert world.outside() == []  # asked by a socket, which this world does not have
    outside = world.engine._outside
    assert outside is not None
    asked = outside._asked.get_nowait()
    assert asked.question.name == "www.b.test"
    world.engine._answer_outside(asked, answer(asked.payload, [("www.b.test", A, 60, SITE)]))
    (told,) = map(assert_sound, world.delivered())
    assert (told.src, told.dst, told[UDP].dport) == (RESOLVER[4], HOST[4], CHROME_PORT)
    assert connects(world, SITE) == "direct"
    assert connects(world, "203.0.113.78", FIREFOX_PORT) == "tunnel"


def test_a_resolver_that_is_not_there_is_told_to_who_asked(make: Make) -> None:
    world = make(f"{EVERYTHING}\nDisallowedDomains = *.b.test")
    ask(world, "www.b.test")
    outside = world.engine._outside
    assert outside is not None
    world.engine._refuse_outside(outside._asked.get_nowait())
    (refusal,) = map(dissect, world.delivered())
    assert (refusal.src, refusal.dst) == (RESOLVER[4], HOST[4])


def test_a_query_to_a_resolver_of_this_host_passes_and_is_judged_anew_each_time(make: Make) -> None:
    world = make(f"{EVERYTHING}\nAllowedDomains = a.test")
    for name, inside in (("b.test", 0), ("a.test", 1), ("b.test", 0)):
        message = query(name)
        packet = outgoing(UDP(sport=CHROME_PORT, dport=53) / Raw(message), source="127.0.0.1", to="127.0.0.53")
        world.host_sends(packet, adapter="lo")
        assert len(world.server.take()) == inside
        assert [dissect(each).dst for each in world.delivered()] == ["127.0.0.53"] * (1 - inside)


def test_without_rules_about_names_nothing_is_asked_outside(make: Make) -> None:
    world = make()
    ask(world, port=FIREFOX_PORT)
    assert [dissect(packet).dst for packet in world.outside()] == [RESOLVER[4]]
    assert world.engine._outside is not None
    assert world.engine._outside._asked.empty()


def test_with_the_kill_switch_for_all_nothing_is_asked_outside_without_a_tunnel(make: Make) -> None:
    world = make(NAMED, kill_switch="all", connected=False)
    world.server.silent = True
    ask(world, "b.test")
    outside = world.engine._outside
    assert outside is not None
    assert outside._asked.empty()
    assert world.outside() == []
