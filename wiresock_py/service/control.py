"""The control socket: one JSON request a connection, one JSON answer, for ``status`` and the commands beside it.

A UNIX socket in a directory only its owner may enter, itself 0600, or a named pipe of the administrators: who can open
it may read the state of the tunnel, never a key. The server is one thread of the worker; a client that stalls is cut
off after ``TIMEOUT``.
"""

import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from wiresock_py.errors import ControlError

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

DEFAULT_PATH = Path("\\\\.\\pipe\\wiresock-py" if sys.platform == "win32" else "/run/wiresock-py/control.sock")
TIMEOUT = 2.0
PAUSE = 1.0
"""Seconds until the next attempt to take a request, after one that failed."""
MAX_REQUEST = 64 * 1024

if sys.platform == "win32":
    from wiresock_py.service.pipes import Claim, PipeConnection, PipeListener, connect

    Connection: TypeAlias = PipeConnection
    Listener: TypeAlias = PipeListener
else:
    Connection: TypeAlias = socket.socket
    Listener: TypeAlias = socket.socket

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class ControlServer:
    """Answers requests with *handler* until closed. Raises ControlError if another client is being served there."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self._handler = handler
        self._listener = _listen(path)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop answering and remove the socket; may be repeated."""
        if self._closed.is_set():
            return
        self._closed.set()
        # shutdown wakes the accept() of the serving thread, close alone would not
        self._listener.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(TIMEOUT + 1)
        self._listener.close()
        remove_stale(self.path)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if self._closed.wait(PAUSE):
                    return
                log.warning("a request could not be taken: %s", error)  # no descriptor left, say: there will be one
                continue
            with connection:
                connection.settimeout(TIMEOUT)
                try:
                    connection.sendall(self._answer(_read_line(connection)))
                except OSError:
                    continue  # the asker went away, or stalls

    def _answer(self, request: bytes) -> bytes:
        try:
            parsed = json.loads(request)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            return _encode({"error": "expected one JSON object on one line"})
        try:
            return _encode(self._handler(parsed))
        except Exception:
            log.exception("the request %r failed", parsed.get("command"))
            return _encode({"error": "the client failed to answer; its log says why"})


def ask(path: Path, request: dict[str, Any], *, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Send *request* to the client serving *path*. Raises ControlError if none is, or it refuses.

    *timeout* in seconds: some requests take longer to carry out than others.
    """
    try:
        with _connect(path, timeout) as connection:
            connection.sendall(_encode(request))
            answer = json.loads(_read_line(connection, limit=None))
    except PermissionError:
        runner = "administrator" if sys.platform == "win32" else "root, or as the user that runs the client"
        raise ControlError(f"no permission to talk to {path}", f"run this command as {runner}") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(
            f"no wiresock-py is running here: nothing answers on {path}", "start one: wiresock-py run FILE"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ControlError(f"the client at {path} did not answer: {error}", "is it being stopped?") from None
    if not isinstance(answer, dict):
        raise ControlError(f"the answer on {path} is not one of wiresock-py")
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer


def is_served(path: Path) -> bool:
    """Whether a running client listens on *path*."""
    try:
        _connect(path, TIMEOUT).close()
    except (PermissionError, TimeoutError):
        return sys.platform == "win32"  # somebody's pipe; a UNIX socket may be a dead one's
    except OSError:
        return False
    return True


def remove_stale(path: Path) -> None:
    """Remove the socket that a killed client left at *path*, and nothing that is no socket."""
    if sys.platform != "win32" and path.is_socket():  # a pipe ends with its process
        path.unlink(missing_ok=True)


@contextmanager
def presence(path: Path) -> Iterator[None]:
    """Mark *path* as a client's within the ``with`` block, also while nothing answers there: its worker may be dead.

    Raises ControlError if another client's mark is there. Where no mark can be made, the worker will tell why.
    """
    release = _mark(path)
    try:
        yield
    finally:
        release()


def is_present(path: Path) -> bool:
    """Whether a client has marked *path*."""
    try:
        _mark(path)()
    except ControlError:
        return True
    return False


def _mark(path: Path) -> Callable[[], None]:
    """Mark *path*; the result takes the mark back, as the system does with the process that has it."""
    if sys.platform == "win32":
        try:
            return Claim(path).close
        except PermissionError:
            raise _another_runs(path) from None
    else:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            marker = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return lambda: None
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(marker)
            raise _another_runs(path) from None
        return lambda: os.close(marker)


def _connect(path: Path, timeout: float) -> Connection:
    if sys.platform == "win32":
        return connect(path, timeout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def _another_runs(path: Path) -> ControlError:
    return ControlError(
        f"another wiresock-py is running: it has {path}",
        "stop it first, or run all tunnels in one: wiresock-py run a.conf b.conf",
    )


def _listen(path: Path) -> Listener:
    if sys.platform == "win32":
        if is_served(path):
            raise _another_runs(path)
        try:
            return PipeListener(path)
        except PermissionError:
            raise _another_runs(path) from None
        except OSError as error:
            raise ControlError(f"no control pipe can be made at {path}: {error}") from None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            if is_served(path):
                raise _another_runs(path)
            remove_stale(path)
        previous = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(previous)
        listener.listen(8)
    except BaseException as error:
        listener.close()
        if isinstance(error, OSError):
            raise ControlError(
                f"no control socket can be made at {path}: {error.strerror or error}",
                "give it another place with --control-socket",
            ) from None
        raise
    return listener


def _encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _read_line(connection: Connection, limit: int | None = MAX_REQUEST) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n") and (limit is None or len(received) < limit):
        chunk = connection.recv(65536)
        if not chunk:
            break
        received += chunk
    return bytes(received)
