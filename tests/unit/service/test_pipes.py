import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import pytest

from wiresock_py.service.pipes import ACCESS, Claim, PipeListener, connect, pipe_name

windows = pytest.mark.skipif(sys.platform != "win32", reason="for other systems: named pipes are Windows'")


def test_a_name_without_a_folder_means_a_pipe() -> None:
    assert pipe_name(Path("second")) == "\\\\.\\pipe\\second"
    assert pipe_name(PureWindowsPath("\\\\.\\pipe\\second")) == "\\\\.\\pipe\\second"  # type: ignore[arg-type]


def test_nobody_but_the_system_administrators_and_the_owner_is_let_in() -> None:
    assert ACCESS.startswith("D:P(")  # nothing is inherited
    assert [entry.rpartition(";")[2] for entry in ACCESS[3:].strip("()").split(")(")] == ["SY", "BA", "OW"]


@pytest.fixture
def path() -> Path:
    return Path(f"\\\\.\\pipe\\wiresock-py-test-{uuid.uuid4()}")


@pytest.fixture
def listener(path: Path) -> Iterator[PipeListener]:
    made = PipeListener(path)
    yield made
    made.shutdown(2)
    made.close()


@windows
def test_what_one_end_sends_the_other_receives(listener: PipeListener, path: Path) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            connection.sendall(connection.recv(100)[::-1] * 50_000)

    thread = threading.Thread(target=answer)
    thread.start()
    with connect(path, 5) as asker:
        asker.sendall(b"ab\n")
        received = b""
        while len(received) < 150_000:
            received += asker.recv(65_536)
    thread.join(5)
    assert received == b"\nba" * 50_000


@windows
def test_who_stalls_is_given_up(listener: PipeListener, path: Path) -> None:
    with connect(path, 5) as asker:
        connection, _ = listener.accept()
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        asker.close()
        assert connection.recv(10) == b""
        connection.close()
        connection.close()


@windows
def test_closing_ends_an_accept_and_gives_the_name_up(path: Path) -> None:
    listener = PipeListener(path)
    ends: list[OSError] = []

    def wait() -> None:
        try:
            listener.accept()
        except OSError as error:
            ends.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    listener.shutdown(2)
    thread.join(5)
    listener.close()
    listener.close()
    assert [str(error) for error in ends] == ["the listener is closed"]
    with pytest.raises(FileNotFoundError):
        connect(path, 1)


@windows
def test_one_process_at_a_time_has_a_name(path: Path) -> None:
    claim = Claim(path)
    with pytest.raises(PermissionError):
        Claim(path)
    claim.close()
    Claim(path).close()
