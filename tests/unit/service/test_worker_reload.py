"""Reloading: a worker goes on by its files as they are now, or as before, or not at all."""

import sys

import pytest

from tests.support.desk import RULES, Desk, eventually, passes
from tests.support.worlds import CLIENT_KEY, EVERYTHING, config_text
from wiresock_py.errors import EXIT_CONFIG, EXIT_NETWORK, BackendError, ControlError, NetworkError
from wiresock_py.filters import CapturePlan
from wiresock_py.service.control import ask

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="for other systems: the client is played at a UNIX socket"
)


def test_reload_goes_on_by_the_files_as_they_are_now(desk: Desk) -> None:
    running = desk.run(desk.make()).serving()
    desk.write(config_text(f"{EVERYTHING}\nAllowedApps = firefox"))
    assert ask(desk.control, {"command": "reload"}) == {"reloaded": ["wg0"]}
    assert passes(desk.backend, 5000)
    assert not passes(desk.backend, 6000)
    while (told := desk.told.get(timeout=5))[0] == "alive":
        pass
    kind, fields = told
    assert kind == "reloaded"
    assert "AllowedApps = firefox" in fields["configurations"][0]
    assert CLIENT_KEY.to_base64() not in fields["configurations"][0]
    running.end()


def test_a_faulty_file_changes_nothing_and_the_asker_is_told_every_mistake(desk: Desk) -> None:
    running = desk.run(desk.make()).serving()
    desk.write(config_text(RULES).replace("AllowedIPs", "AlowedIPs").replace("AllowedApps", "AlowedApps"))
    answer = ask(desk.control, {"command": "reload"})
    assert answer["exit_code"] == EXIT_CONFIG
    lines = [message for message, _ in answer["refused"]]
    assert [line.rpartition("wg0.conf:")[2].split(": ")[0] for line in lines] == ["7:1", "8:1"]
    assert "did you mean AllowedIPs?" in answer["refused"][0][1]
    assert passes(desk.backend, 6000)
    assert not passes(desk.backend, 5000)
    running.end()


def test_an_endpoint_that_does_not_resolve_changes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: str, **_: object) -> None:
        raise NetworkError(f"the name {host} does not resolve")

    running = desk.run(desk.make()).serving()
    monkeypatch.setattr("wiresock_py.engine.links.lookup", fail)
    desk.write(config_text(f"{EVERYTHING}\nAllowedApps = firefox").replace("198.51.100.2:", "moved.example:"))
    answer = ask(desk.control, {"command": "reload"})
    assert answer["exit_code"] == EXIT_NETWORK
    assert "moved.example does not resolve" in answer["refused"][0][0]
    assert passes(desk.backend, 6000)
    running.end()


def test_asked_by_the_supervisor_it_tells_mistakes_in_its_log(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    running = desk.run(desk.make()).serving()
    desk.write("[Interface]\n")
    desk.say("reload")
    eventually(lambda: [message for message in caplog.messages if "nothing was changed" in message])
    running.end()
    assert running.error is None


@pytest.mark.parametrize("asked", ["by the supervisor", "over the control socket"])
def test_a_capture_that_cannot_be_changed_ends_it_at_once_as_the_rules_are_others_already(
    desk: Desk, exits: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, asked: str
) -> None:
    def fail(_plan: CapturePlan) -> None:
        raise BackendError("iptables-restore refused our rules: another program holds the lock")

    running = desk.run(desk.make()).serving()
    monkeypatch.setattr(desk.backend, "update", fail)
    desk.write(config_text(f"{EVERYTHING}\nAllowedApps = firefox"))
    if asked == "by the supervisor":
        desk.say("reload")
    else:
        with pytest.raises(ControlError):
            ask(desk.control, {"command": "reload"})
    running.ended()
    assert exits[:1] == [1]
    assert "the reload failed" in caplog.messages
    assert not [message for message in caplog.messages if "nothing was changed" in message]
