"""The worker: what can fail fails before anything is changed, and it ends in one way for every reason."""

import logging
import os
import queue
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from scapy.layers.inet import UDP

from tests.support.desk import RULES, Desk, RecordingBackend, eventually, passes
from tests.support.worlds import (
    ADDRESSES,
    CHROME,
    CLIENT_KEY,
    HOST,
    REMOTE,
    SERVER_KEYS,
    Wire,
    config_text,
    outgoing,
    packed,
)
from wiresock_py.config import parse
from wiresock_py.crypto import Event
from wiresock_py.errors import BackendError, ConfigError, ControlError, NetworkError
from wiresock_py.filters import CapturePlan
from wiresock_py.flow import FiveTuple, Route
from wiresock_py.network import Resolver
from wiresock_py.rules import Rules
from wiresock_py.service import worker
from wiresock_py.service.control import ask
from wiresock_py.service.options import RunOptions
from wiresock_py.service.worker import Worker

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="for other systems: the client is played at a UNIX socket"
)

RLIMIT_CORE = 4  # asm-generic/resource.h


# Before anything is changed


def test_a_file_with_mistakes_is_told_first(desk: Desk) -> None:
    desk.write("[Interface]\nPrivateKey = short\n")
    with pytest.raises(ConfigError):
        desk.make()
    assert not desk.control.exists()


def test_no_default_route_is_told_with_the_remedy(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "default_adapters", lambda: ())
    with pytest.raises(NetworkError, match="no default route") as raised:
        desk.make()
    assert raised.value.remedy


def test_a_second_client_is_told_of_the_first(desk: Desk) -> None:
    desk.make()
    with pytest.raises(ControlError, match="another wiresock-py is running"):
        desk.make()


def test_a_family_without_a_route_is_a_warning(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker, "has_route", lambda family: family == socket.AF_INET)
    desk.make()
    assert caplog.messages == ["this host has no IPv6 route: programs cannot send any, so none of it is tunnelled"]


@pytest.mark.parametrize(("sees", "dns", "servers"), [(True, True, 2), (False, False, 2), (False, True, 0)])
def test_a_resolver_on_this_machine_that_the_backend_sees_or_nobody_asks_is_no_matter(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sees: bool, dns: bool, servers: int
) -> None:
    monkeypatch.setattr(RecordingBackend, "sees_loopback", sees)
    monkeypatch.setattr(worker, "resolvers", lambda: (Resolver("192.168.1.1"), *[Resolver("127.0.0.1")] * servers))
    desk.write(config_text(RULES, interface=f"{ADDRESSES}\nDNS = 10.0.0.1" if dns else ADDRESSES))
    desk.make()
    assert caplog.messages == []


def test_a_resolver_on_this_machine_that_the_backend_does_not_see_is_a_warning(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(RecordingBackend, "sees_loopback", False)
    monkeypatch.setattr(worker, "resolvers", lambda: (Resolver("192.168.1.1"), Resolver("127.0.0.1"), Resolver("::1")))
    desk.write(config_text(RULES, interface=f"{ADDRESSES}\nDNS = 10.0.0.1"))
    desk.make()
    (warning,) = caplog.messages
    assert "the memory backend does not see DNS for a resolver on this machine (127.0.0.1, ::1)" in warning


def test_a_file_others_can_read_is_a_warning_with_the_remedy(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.file.chmod(0o644)
    desk.make()
    (warning,) = caplog.messages
    assert "wg0.conf" in warning
    assert "chmod 600" in warning


def test_the_supervisor_gets_the_rules_and_no_key(desk: Desk) -> None:
    text = config_text(f"{RULES}\nPresharedKey = {SERVER_KEYS[2].to_base64()}", interface="Address = 10.66.66.2/32")
    desk.write(text)
    made = desk.make()
    desk.say("stop")
    made.run()
    _, fields = desk.told.get(timeout=1)
    (told,) = fields["configurations"]
    assert CLIENT_KEY.to_base64() not in told
    assert SERVER_KEYS[2].to_base64() not in told
    assert Rules([parse(told, "wg0.conf")]).plan() == Rules([parse(text, "wg0.conf")]).plan()


def test_told_to_stop_before_it_has_the_queues_it_changes_nothing(desk: Desk) -> None:
    made = desk.make()
    desk.say("stop")
    made.run()
    assert desk.backend.plans == []


def test_a_backend_that_cannot_send_one_tunnel_through_another_says_so(desk: Desk, tmp_path: Path) -> None:
    desk.write(config_text(RULES, interface="Address = 10.66.66.2/32\nVia = outer"))
    outer = tmp_path / "outer.conf"
    outer.touch(mode=0o600)
    outer.write_text(config_text("AllowedIPs = 198.51.100.0/24", first_server=1))
    options = RunOptions((str(desk.file), str(outer)), "memory", control_socket=str(desk.control))
    with pytest.raises(BackendError, match="the memory backend cannot send one tunnel through another"):
        Worker(options, desk.inbox, desk.resources)


# At work


def test_it_serves_until_told_to_stop_and_leaves_the_host_as_it_was(desk: Desk) -> None:
    running = desk.run(desk.make()).serving()
    assert passes(desk.backend, 6000)
    assert not passes(desk.backend, 5000)
    assert ask(desk.control, {"command": "status"})["backend"] == "memory"
    with pytest.raises(ControlError, match="unknown command 'dance'"):
        ask(desk.control, {"command": "dance"})
    running.end()
    assert running.error is None
    assert passes(desk.backend, 5000)


@pytest.mark.parametrize(("kill_switch", "blocked"), [("app", True), ("all", True), ("off", False)])
def test_without_its_supervisor_it_leaves_the_plan_blocked_unless_told_otherwise(
    desk: Desk, kill_switch: str, blocked: bool
) -> None:
    running = desk.run(desk.make(kill_switch=kill_switch)).serving()
    running.end("orphaned")
    assert running.error is None
    assert passes(desk.backend, 5000) is not blocked
    assert [plan.fail_open for plan in desk.backend.plans] == [kill_switch == "off"]


def test_no_answer_within_the_time_gives_up_with_the_remedy_and_restores(desk: Desk) -> None:
    running = desk.run(desk.make(connect_timeout=0.2)).serving()
    running.ended()
    assert isinstance(running.error, NetworkError)
    assert "no answer from 198.51.100.2:51820 within 0.2 s" in str(running.error)
    assert "PublicKey" in running.error.remedy
    assert passes(desk.backend, 5000)


def test_with_an_answer_or_without_a_time_it_goes_on(desk: Desk) -> None:
    made = desk.make(connect_timeout=0.3)
    running = desk.run(made).serving()
    (link,) = made._links
    desk.say("event", link=link, peer=link.peers[0], event=Event.CONNECTED)
    time.sleep(0.5)
    running.end()
    assert running.error is None


def test_queues_that_are_taken_are_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_plan: object) -> None:
        raise BackendError("NFQUEUE 51820 is held by another process")

    monkeypatch.setattr(desk.backend, "open", fail)
    running = desk.run(desk.make())
    running.ended()
    assert isinstance(running.error, BackendError)


def test_a_thread_that_failed_ends_it_at_once_without_opening_the_plan(
    desk: Desk, exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    closings: list[dict[str, bool]] = []
    running = desk.run(desk.make()).serving()
    monkeypatch.setattr(desk.backend, "close", lambda **how: closings.append(how))
    desk.owners.failure = RuntimeError("the table is gone")
    desk.backend.stack_sends(outgoing(UDP(sport=5000, dport=7)))
    running.ended()
    assert exits[:1] == [1]


def test_an_error_nobody_expected_ends_it_at_once(
    desk: Desk, exits: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    made = desk.make()
    monkeypatch.setattr(made, "_serve", fail)
    running = desk.run(made).serving()
    running.ended()
    assert exits == [1]
    assert "the worker failed" in caplog.messages


# Connections from before


def test_connections_from_before_are_refused_before_the_rules_stand_and_made_to_tell_where_they_are(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = FiveTuple(socket.IPPROTO_TCP, packed(HOST[4]), 5000, packed(REMOTE[4]), 7)
    inbound = before._replace(local_port=22)
    desk.owners.listeners.add((socket.IPPROTO_TCP, 22))
    monkeypatch.setattr(worker, "open_connections", lambda: [(before, CHROME), (inbound, CHROME)])
    caplog.set_level(logging.INFO)
    made = desk.make()
    opened = desk.backend.open

    def open_(plan: CapturePlan) -> None:
        flow = made._engine.flows.find(before)
        assert flow is not None
        assert flow.route is Route.BLOCK
        assert made._engine.flows.find(inbound) is None
        opened(plan)

    monkeypatch.setattr(desk.backend, "open", open_)
    running = desk.run(made).serving()
    assert len(eventually(desk.backend.stack_received)) in (1, 2)
    eventually(
        lambda: [
            message
            for message in caplog.messages
            if message.startswith("connections from before") and ": 1 reset" in message
        ]
    )
    running.end()
    assert running.error is None


@pytest.mark.parametrize(("settings", "replacing"), [("existing: leave\n", False), ("", True)])
def test_connections_from_before_are_left_by_choice_and_by_a_worker_that_takes_over(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: str, replacing: bool
) -> None:
    before = FiveTuple(socket.IPPROTO_TCP, packed(HOST[4]), 5000, packed(REMOTE[4]), 7)
    monkeypatch.setattr(worker, "open_connections", lambda: [(before, CHROME)])
    file = tmp_path / "settings.yaml"
    file.write_text(settings)
    made = desk.make(settings=str(file), replacing=replacing)
    running = desk.run(made).serving()
    flow = made._engine.flows.find(before)
    assert (flow.route if flow else None) is (None if replacing else Route.DIRECT)
    assert desk.backend.stack_received(0.3) == []
    assert made._engine.end_connections() == replacing
    running.end()


# Signs of life


def test_it_gives_signs_of_life_as_long_as_the_timers_tick(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SIGN_OF_LIFE", 0.05)
    made = desk.make()
    running = desk.run(made).serving()
    assert desk.told.get(timeout=5) == ("alive", {})
    monkeypatch.setattr(type(made._engine), "seems_alive", False)
    time.sleep(0.2)
    while not desk.told.empty():
        desk.told.get()
    time.sleep(0.3)
    assert desk.told.empty()
    running.end()


# Events


@pytest.fixture
def made(desk: Desk) -> Worker:
    return desk.make()


def test_the_first_handshake_is_told_once_and_again_after_a_silence(
    made: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    (link,) = made._links
    (peer,) = link.peers
    with caplog.at_level(logging.INFO):
        for event in (Event.CONNECTED, Event.CONNECTED, Event.GONE, Event.CONNECTED):
            made._on_event(link, peer, event)
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "handshake with 198.51.100.2:51820 done",
        "198.51.100.2:51820 does not answer; its apps wait until it does",
        "handshake with 198.51.100.2:51820 done",
    ]


def test_a_peer_that_is_gone_is_called_again(made: Worker) -> None:
    (link,) = made._links
    made._on_event(link, link.peers[0], Event.GONE)
    wire = link.socket
    assert isinstance(wire, Wire)
    assert [data[0] for data, _ in wire.sent] == [1]


@pytest.mark.parametrize("event", Event)
def test_what_befell_a_peer_before_a_reload_took_it_out_is_no_news(
    made: Worker, event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    (link,) = made._links
    departed, link.peers = link.peers[0], []
    made._on_event(link, departed, event)
    link.refresh_endpoint(departed)
    assert caplog.messages == []


def test_a_look_up_that_takes_long_holds_up_nothing_and_is_not_repeated_meanwhile(
    made: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    (link,) = made._links
    answered, looked_up = threading.Event(), queue.SimpleQueue[object]()

    def slow(peer: object) -> None:
        looked_up.put(peer)
        answered.wait(10)

    monkeypatch.setattr(link, "refresh_endpoint", slow)
    for _ in range(3):
        made._on_event(link, link.peers[0], Event.UNANSWERED)
    assert looked_up.get(timeout=5) is link.peers[0]
    assert looked_up.empty()
    answered.set()
    until = time.monotonic() + 5
    while made._refreshing and time.monotonic() < until:
        time.sleep(0.01)
    made._on_event(link, link.peers[0], Event.UNANSWERED)
    assert looked_up.get(timeout=5) is link.peers[0]


# The process


def test_started_by_hand_it_does_nothing_and_leaves_no_core_dump_with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[object] = []
    monkeypatch.setattr("resource.setrlimit", lambda *limit: limits.append(limit))
    read, write = os.pipe()
    os.write(write, b"hello\n")
    os.close(write)
    opened = os.fdopen(read, "rb", buffering=0)
    monkeypatch.setattr(worker.os, "fdopen", lambda *_, **__: opened)  # type: ignore[attr-defined]  # it is the os module
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)  # type: ignore[attr-defined]  # it is the signal module
    with opened:
        assert worker.main() == 1
    assert limits == [(RLIMIT_CORE, (0, 0))]


def test_two_configurations_are_two_links(desk: Desk, tmp_path: Path) -> None:
    second = tmp_path / "second.conf"
    second.touch(mode=0o600)
    second.write_text(config_text("AllowedIPs = 10.0.0.0/8", first_server=1))
    options = RunOptions((str(desk.file), str(second)), "memory", control_socket=str(desk.control))
    made = Worker(options, desk.inbox, desk.resources)
    assert [link.name for link in made._links] == ["wg0", "second"]


# Timestamps


def test_initiations_go_on_from_the_last_stamp_of_the_run_before(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a clock that was set back in between would lock us out: the server takes only greater ones."""
    made = desk.make()
    running = desk.run(made).serving()
    (link,) = made._links
    (peer,) = link.peers
    desk.say("event", link=link, peer=peer, event=Event.CONNECTED)
    (file,) = eventually(lambda: list(desk.state.glob("*.json")))
    assert file.stat().st_mode & 0o777 == 0o600
    running.end()
    sent = peer.stamps.last
    desk.resources.close()

    monkeypatch.setattr(time, "time_ns", lambda: 0)
    (again,) = desk.make()._links[0].peers
    assert again.stamps.last == sent
    assert again.stamps.next() > sent
