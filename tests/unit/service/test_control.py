"""The control socket: one question, one answer, and no question ends the server."""

import json
import logging
import os
import socket
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wiresock_py.errors import ControlError
from wiresock_py.service import control
from wiresock_py.service.control import ControlServer, ask, is_present, is_served, presence, remove_stale

unix = pytest.mark.skipif(sys.platform == "win32", reason="for other systems: about UNIX sockets")

Serve = Callable[..., ControlServer]


@pytest.fixture
def path() -> Iterator[Path]:
    if sys.platform == "win32":
        yield Path(f"\\\\.\\pipe\\wiresock-py-test-{uuid.uuid4()}")
        return
    # below pytest's own folder the path would be longer than a UNIX socket's may be
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "made" / "control.sock"


@pytest.fixture
def serve(path: Path) -> Iterator[Serve]:
    made: list[ControlServer] = []

    def serve(
        handler: Callable[[dict[str, Any]], dict[str, Any]] = lambda request: {"asked": request},
    ) -> ControlServer:
        server = ControlServer(path, handler)
        made.append(server)
        server.start()
        return server

    yield serve
    for server in made:
        server.close()


@unix
def test_what_is_no_socket_is_never_removed(serve: Serve, path: Path) -> None:
    path.parent.mkdir()
    path.write_text("somebody's file")
    with pytest.raises(ControlError, match="no control socket can be made at"):
        serve()
    remove_stale(path)
    remove_stale(path.parent)
    assert path.read_text() == "somebody's file"


def test_a_question_is_answered(serve: Serve, path: Path) -> None:
    serve()
    for _ in range(3):
        assert ask(path, {"command": "status"}) == {"asked": {"command": "status"}}


@unix
def test_only_its_owner_may_enter(serve: Serve, path: Path) -> None:
    serve()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_long_answer_comes_whole(serve: Serve, path: Path) -> None:
    serve(lambda _: {"text": "x" * 1_000_000})
    assert len(ask(path, {})["text"]) == 1_000_000


def test_a_refusal_is_an_error(serve: Serve, path: Path) -> None:
    serve(lambda _: {"error": "no such command"})
    with pytest.raises(ControlError, match="no such command"):
        ask(path, {})


def test_a_handler_that_fails_is_logged_and_the_next_question_answered(
    serve: Serve, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "bad":
            raise RuntimeError("changed size during iteration")
        return {"fine": True}

    serve(handler)
    with caplog.at_level(logging.ERROR), pytest.raises(ControlError, match="its log says why"):
        ask(path, {"command": "bad"})
    assert caplog.messages == ["the request 'bad' failed"]
    assert ask(path, {"command": "good"}) == {"fine": True}


@unix
@pytest.mark.parametrize("nonsense", [b"\n", b"no json\n", b"[1]\n", b"\xff\xfe\n", b'{"cut', b"[" * 100_000])
def test_nonsense_is_refused_and_the_next_question_answered(serve: Serve, path: Path, nonsense: bytes) -> None:
    serve()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.settimeout(5)
        stranger.connect(str(path))
        stranger.sendall(nonsense)
        stranger.shutdown(socket.SHUT_WR)
        assert json.loads(stranger.makefile().readline()) == {"error": "expected one JSON object on one line"}
    assert ask(path, {"command": "status"})


@unix
def test_an_asker_that_goes_away_does_not_end_the_server(serve: Serve, path: Path) -> None:
    serve(lambda _: {"text": "x" * 1_000_000})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hasty:
        hasty.connect(str(path))
        hasty.sendall(b"{}\n")
    assert ask(path, {})


@unix
def test_an_asker_that_stalls_is_cut_off(serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "TIMEOUT", 0.1)
    serve()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stalled,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as next_one,
    ):
        for asker in (stalled, next_one):
            asker.settimeout(5)
            asker.connect(str(path))
        next_one.sendall(b"{}\n")
        assert stalled.recv(1) == b""
        assert next_one.recv(100) == b'{"asked": {}}\n'


def test_a_server_that_ran_out_of_descriptors_answers_when_there_are_some_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short:
        """A listener that has none for its first connection."""

        def __init__(self, listener: Any) -> None:
            self.listener = listener
            self.failures = 1

        def accept(self) -> Any:
            if self.failures:
                self.failures -= 1
                raise OSError(24, "Too many open files")
            return self.listener.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.listener, name)

    monkeypatch.setattr(control, "PAUSE", 0.0)
    server = ControlServer(path, lambda request: {"asked": request})
    monkeypatch.setattr(server, "_listener", Short(server._listener))
    server.start()
    assert ask(path, {"command": "status"}) == {"asked": {"command": "status"}}
    server.close()


def test_nobody_there_is_told_with_the_remedy(path: Path) -> None:
    with pytest.raises(ControlError, match="no wiresock-py is running") as raised:
        ask(path, {})
    assert "run" in raised.value.remedy


def test_a_second_client_is_told_of_the_first(serve: Serve, path: Path) -> None:
    serve()
    with pytest.raises(ControlError, match="another wiresock-py is running") as raised:
        ControlServer(path, lambda _: {})
    assert "run a.conf b.conf" in raised.value.remedy
    assert ask(path, {})


@unix
def test_the_socket_of_a_dead_client_is_taken_over(serve: Serve, path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    assert path.exists()
    assert not is_served(path)
    serve()
    assert is_served(path)


@unix
@pytest.mark.parametrize("place", ["/proc/nowhere/c.sock", "/etc/hostname/c.sock", f"/run/{'x' * 120}.sock"])
def test_a_place_where_none_can_be_is_told_with_the_remedy(place: str) -> None:
    with pytest.raises(ControlError, match=r"no control socket can be made at .*: \w") as raised:
        ControlServer(Path(place), lambda _: {})
    assert "--control-socket" in raised.value.remedy
    assert "None" not in str(raised.value)


@unix
def test_closing_removes_it_ends_the_thread_and_may_be_repeated(serve: Serve, path: Path) -> None:
    server = serve()
    assert ask(path, {})
    server.close()
    server.close()
    assert not path.exists()
    assert not server._thread.is_alive()


@unix
def test_one_never_started_closes_too(path: Path) -> None:
    ControlServer(path, lambda _: {}).close()
    assert not path.exists()


def test_the_umask_is_left_as_it_was(serve: Serve) -> None:
    before = os.umask(0o027)
    try:
        serve()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_client_is_present_also_while_nothing_answers(path: Path) -> None:
    assert not is_present(path)
    with presence(path):
        assert is_present(path)
        assert not is_served(path)
        with pytest.raises(ControlError, match="another wiresock-py is running"), presence(path):
            pass
    assert not is_present(path)


def test_where_no_mark_can_be_made_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with presence(tmp_path / "file" / "control.sock"):
        pass
