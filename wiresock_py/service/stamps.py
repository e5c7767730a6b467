"""The timestamps of sent initiations, kept across runs: a server takes none that is not greater than the last.

Without them a clock that was set back locks its user out after a restart, until it has caught up. One small file for
each tunnel's public key holds the last stamp sent to each of its peers; no secrets are in it. A file that is missing,
damaged or not to be written is no trouble worth more than a debug line: clocks seldom go back.

The greatest stamps *received* are not kept: a peer whose own clock went back could then not be let in again by
restarting this end.
"""

import base64
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from platformdirs import site_data_path

from wiresock_py.crypto import PublicKey, Tunnel
from wiresock_py.crypto.constants import TAI64_BASE

log = logging.getLogger(__name__)

STAMP_SIZE = 12
LATEST = TAI64_BASE + 2**34
"""The seconds of a stamp that is taken for damage: the 26th century."""


def default_folder() -> Path:
    """Where state lives: what systemd names (``StateDirectory=``), /var/lib, or Windows' ProgramData."""
    named = os.environ.get("STATE_DIRECTORY", "").split(":")[0]  # systemd may name several
    if named:
        return Path(named)
    return site_data_path("wiresock-py", appauthor=False) if sys.platform == "win32" else Path("/var/lib/wiresock-py")


class SentStamps:
    """The file of one tunnel, whose own public key is *own*."""

    def __init__(self, own: PublicKey, peers: Sequence[Tunnel], folder: Path) -> None:
        name = base64.urlsafe_b64encode(bytes(own)).rstrip(b"=").decode()
        self.path = folder / f"{name}.json"
        self._peers = peers
        self._saved: dict[str, str] = {}

    def restore(self) -> None:
        """Let each peer's stamps go on from the last one of an earlier run."""
        try:
            found = _parse(self.path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.debug("%s: the timestamps of earlier runs are lost: %s", self.path, error)
            return
        for peer in self._peers:
            stamp = found.get(str(peer.public_key))
            if stamp is not None:
                peer.stamps.last = max(peer.stamps.last, stamp)
        self._saved = self._current()

    def save(self) -> None:
        """Write the file if there is news, whole or not at all."""
        current = self._current()
        if current == self._saved:
            return
        temporary = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(current, file)
            temporary.replace(self.path)
        except OSError as error:
            log.debug("%s: the timestamps are not kept: %s", self.path, error)
            return
        self._saved = current

    def _current(self) -> dict[str, str]:
        return {str(peer.public_key): peer.stamps.last.hex() for peer in self._peers if any(peer.stamps.last)}


def _parse(data: bytes) -> dict[str, bytes]:
    """Stamps by public key. Raises ValueError for anything that no ``save`` wrote."""
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("found no table")
    stamps = {}
    for key, text in found.items():
        if not isinstance(text, str):
            raise ValueError("a stamp that is no text")
        stamp = bytes.fromhex(text)
        seconds, nanoseconds = int.from_bytes(stamp[:8], "big"), int.from_bytes(stamp[8:], "big")
        if len(stamp) != STAMP_SIZE or not TAI64_BASE <= seconds < LATEST or nanoseconds >= 1_000_000_000:
            raise ValueError("a stamp of no time")
        stamps[key] = stamp
    return stamps
