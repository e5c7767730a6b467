"""The control socket: one JSON request a connection, one JSON answer, for ``status`` and the commands beside it.

A UNIX socket in a directory only its owner may enter, itself 0600: who can open it may read the state of the tunnel,
never a key. The server is one thread of the worker; a client that stalls is cut off after ``TIMEOUT``.
"""

import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wiresock_py.errors import ControlError

log = logging.getLogger(__name__)

DEFAULT_PATH = Path("/run/wiresock-py/control.sock")
TIMEOUT = 2.0
MAX_REQUEST = 64 * 1024

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class ControlServer:
    """Answers requests with *handler* until closed. Raises ControlError if another client is being served there."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self._handler = handler
        self._listener = _listen(path)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop answering and remove the socket; may be repeated."""
        # shutdown wakes the accept() of the serving thread, close alone would not
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed before
        self._listener.close()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT + 1)
        self.path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
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
    if sys.platform == "win32":
        raise ControlError("the control socket is not built for Windows yet")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
            connection.sendall(_encode(request))
            answer = json.loads(_read_line(connection, limit=None))
        except PermissionError:
            raise ControlError(
                f"no permission to talk to {path}", "run this command as the user that runs it"
            ) from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise ControlError(
                f"no wiresock-py is running here: nothing answers on {path}", "start one: wiresock-py run FILE"
            ) from None
        except (OSError, ValueError) as error:
            raise ControlError(f"the client at {path} did not answer: {error}", "is it being stopped?") from None
    if not isinstance(answer, dict):
        raise ControlError(f"the answer on {path} is not one of wiresock-py")
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer


def is_served(path: Path) -> bool:
    """Whether a running client listens on *path*."""
    if sys.platform == "win32":
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(TIMEOUT)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def remove_stale(path: Path) -> None:
    """Remove the socket that a killed client left at *path*, and nothing that is no socket."""
    if path.is_socket():
        path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    if sys.platform == "win32":
        raise ControlError("the control socket is not built for Windows yet")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            if is_served(path):
                raise ControlError(
                    f"another wiresock-py is running: it answers on {path}",
                    "stop it first, or run all tunnels in one: wiresock-py run a.conf b.conf",
                )
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


def _read_line(connection: socket.socket, limit: int | None = MAX_REQUEST) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n") and (limit is None or len(received) < limit):
        chunk = connection.recv(65536)
        if not chunk:
            break
        received += chunk
    return bytes(received)
