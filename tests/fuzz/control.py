"""Lines on the control socket and between supervisor and worker: one answer each, and never the end of the server."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

from wiresock_py.service import messages
from wiresock_py.service.control import ControlServer


def run(data: bytes) -> None:
    server = ControlServer.__new__(ControlServer)  # without its socket
    server._handler = _handler
    logging.disable()  # a handler's failure is logged
    try:
        answer = json.loads(server._answer(data))
    finally:
        logging.disable(logging.NOTSET)
    assert isinstance(answer, dict)
    stream = io.BytesIO(data)
    while (received := messages.receive(stream)) is not None:
        assert isinstance(received["kind"], str)


def _handler(request: dict[str, Any]) -> dict[str, Any]:
    return {"command": str(request["command"])}


def seeds() -> Iterator[bytes]:
    yield b'{"command": "status"}\n'
    yield b'{"kind": "learned", "names": {"a.example": [["c0000201", 60]]}}\n{"kind": "stop"}\n'
    yield b'[{"command": 1}]\n'
    yield b"[" * 3000 + b"\n"
