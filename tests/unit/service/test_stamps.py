"""Timestamps across runs: what is kept, and that nothing that lies in the file can stop a start."""

import logging
import os
from pathlib import Path

import pytest

from tests.support.peers import ALICE, BOB, EPOCH_NS, CountingRandom, WallClock, device
from wiresock_py.crypto import PrivateKey, Tunnel
from wiresock_py.crypto.tai64n import NO_TIMESTAMP, stamp
from wiresock_py.service.stamps import SentStamps, default_folder

CAROL = PrivateKey(b"carol   " * 4)


def peers(now: int = EPOCH_NS) -> list[Tunnel]:
    ours = device(ALICE, wall_clock=WallClock(now), random=CountingRandom())
    return [ours.add_peer(key.public_key()) for key in (BOB, CAROL)]


def stamps(folder: Path, tunnels: list[Tunnel]) -> SentStamps:
    return SentStamps(ALICE.public_key(), tunnels, folder)


def test_each_peers_stamps_go_on_from_its_own_last(tmp_path: Path) -> None:
    bob, carol = peers()
    for _ in range(3):
        bob.stamps.next()
    stamps(tmp_path, [bob, carol]).save()
    again = peers(now=0)  # the clock went back to 1970
    stamps(tmp_path, again).restore()
    assert [peer.stamps.last for peer in again] == [bob.stamps.last, NO_TIMESTAMP]
    assert again[0].stamps.next() > bob.stamps.last


def test_a_stamp_that_is_greater_already_stays(tmp_path: Path) -> None:
    tunnels = peers()
    tunnels[0].stamps.next()
    stamps(tmp_path, tunnels).save()
    later = tunnels[0].stamps.next()
    stamps(tmp_path, tunnels).restore()
    assert tunnels[0].stamps.last == later


def test_the_file_is_its_owners_alone_and_holds_no_secret(tmp_path: Path) -> None:
    tunnels = peers()
    tunnels[0].stamps.next()
    kept = stamps(tmp_path / "new" / "folder", tunnels)
    kept.save()
    text = kept.path.read_text()
    assert ALICE.to_base64() not in text
    assert BOB.to_base64() not in text
    assert list(kept.path.parent.iterdir()) == [kept.path]
    if os.name == "posix":
        assert kept.path.stat().st_mode & 0o777 == 0o600
        assert kept.path.parent.stat().st_mode & 0o777 == 0o700


def test_each_tunnel_has_a_file_of_its_own(tmp_path: Path) -> None:
    names = {SentStamps(key.public_key(), [], tmp_path).path for key in (ALICE, BOB, CAROL)}
    assert len(names) == 3
    assert all(path.parent == tmp_path for path in names)


def test_without_news_nothing_is_written(tmp_path: Path) -> None:
    tunnels = peers()
    kept = stamps(tmp_path, tunnels)
    kept.save()
    assert not kept.path.exists()
    tunnels[0].stamps.next()
    kept.save()
    kept.path.unlink()
    kept.save()
    assert not kept.path.exists()
    tunnels[0].stamps.next()
    kept.save()
    assert kept.path.exists()


KEY = BOB.public_key().to_base64()
GOOD = stamp(EPOCH_NS).hex()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"[]",
        f'{{"{KEY}": 7}}'.encode(),
        f'{{"{KEY}": "zz"}}'.encode(),
        f'{{"{KEY}": "{GOOD[:-2]}"}}'.encode(),
        f'{{"{KEY}": "{GOOD}00"}}'.encode(),
        f'{{"{KEY}": "{"ff" * 12}"}}'.encode(),
        f'{{"{KEY}": "{GOOD[:16]}ffffffff"}}'.encode(),
        f'{{"{KEY}": "{"00" * 12}"}}'.encode(),
    ],
)
def test_a_damaged_file_is_a_debug_line(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    tunnels = peers()
    kept = stamps(tmp_path, tunnels)
    kept.path.write_bytes(damage)
    with caplog.at_level(logging.DEBUG):
        kept.restore()
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    assert "of earlier runs are lost" in caplog.text
    assert tunnels[0].stamps.last == NO_TIMESTAMP
    tunnels[0].stamps.next()
    kept.save()
    again = peers(now=0)
    stamps(tmp_path, again).restore()
    assert again[0].stamps.last == tunnels[0].stamps.last


def test_a_missing_file_is_nothing_to_speak_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        stamps(tmp_path, peers()).restore()
    assert not caplog.records


def test_a_folder_that_cannot_be_written_is_a_debug_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file where the folder would be")
    tunnels = peers()
    tunnels[0].stamps.next()
    with caplog.at_level(logging.DEBUG):
        stamps(taken, tunnels).save()
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    assert "are not kept" in caplog.text


def test_the_folder_is_the_one_that_systemd_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    assert default_folder() == Path("/var/lib/one")
    monkeypatch.delenv("STATE_DIRECTORY")
    assert default_folder().name == "wiresock-py"
