"""What supervisor and worker say to each other: one JSON object a line, over the worker's standard input and output.

Supervisor to worker:  ``start`` (options), ``open`` (the queues are yours; carries the names learned so far),
``reload`` (read the files again), ``stop`` (shut down cleanly).
Worker to supervisor:  ``waiting`` (ready to open the backend; carries the configurations without keys), ``serving``,
``alive`` (every second from then on), ``reloaded`` (the configurations now), ``learned`` (names and addresses out of
DNS answers), ``refused`` (an error the user can mend, with its exit code). A worker that loses its supervisor closes
the plan.
"""

import json
from typing import IO, Any


def send(stream: IO[bytes], kind: str, **fields: Any) -> None:
    """Write one message. Raises BrokenPipeError (an OSError) when the other side is gone."""
    stream.write(json.dumps({"kind": kind, **fields}).encode() + b"\n")
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """The next message; None when the other side is gone or talks nonsense."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and isinstance(message.get("kind"), str) else None
