"""Witnesses that carry no traffic: a Noise library must make the same bytes, a dissector must read ours."""

import base64
import os
import subprocess
import time
import warnings
from contextlib import closing
from pathlib import Path

from noise.connection import Keypair, NoiseConnection

from tests.interop import end
from tests.interop.end import Entry
from tests.interop.programs import RESPONDER, Instance, Meeting
from wiresock_py.crypto import PresharedKey, PrivateKey, Tunnel
from wiresock_py.crypto.constants import CONSTRUCTION, IDENTIFIER, LABEL_MAC1
from wiresock_py.crypto.primitives import blake2s_hash, mac
from wiresock_py.crypto.results import Datagram
from wiresock_py.lab.namespaces import Process

INITIATION_NOISE = slice(8, 116)
RESPONSE_NOISE = slice(12, 60)
PLACE = ("192.0.2.1", 51820)


# noiseprotocol


class _Chosen:
    """Random bytes that are ours to know: the ephemeral key is *ephemeral*, all else is random."""

    def __init__(self, ephemeral: bytes) -> None:
        self.ephemeral = ephemeral

    def __call__(self, size: int) -> bytes:
        return self.ephemeral if size == len(self.ephemeral) else os.urandom(size)


class _Pair:
    """Our tunnel and two of the library's parties: the peer, and one that has our keys."""

    def __init__(self, preshared_key: PresharedKey | None, *, we_initiate: bool) -> None:
        self.ours, self.theirs = PrivateKey.generate(), PrivateKey.generate()
        self.ephemeral = os.urandom(32)
        self.tunnel = Tunnel(
            self.ours,
            self.theirs.public_key(),
            preshared_key,
            wall_clock=time.time_ns,
            random=_Chosen(self.ephemeral),
            endpoint=PLACE,
        )
        psk = bytes(preshared_key) if preshared_key else bytes(32)
        self.peer = _party(psk, self.theirs, self.ours, initiator=not we_initiate)
        self.double = _party(psk, self.ours, self.theirs, initiator=we_initiate, ephemeral=self.ephemeral)


def _party(
    psk: bytes, own: PrivateKey, other: PrivateKey, *, initiator: bool, ephemeral: bytes = b""
) -> NoiseConnection:
    party = NoiseConnection.from_name(CONSTRUCTION)
    if initiator:
        party.set_as_initiator()
    else:
        party.set_as_responder()
    party.set_prologue(IDENTIFIER)
    party.set_psks(psk=psk)
    party.set_keypair_from_private_bytes(Keypair.STATIC, bytes(own))
    if initiator:
        party.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, bytes(other.public_key()))
    if ephemeral:
        party.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
    with warnings.catch_warnings(action="ignore"):  # it warns of ephemeral keys that are not its own
        party.start_handshake()
    return party


def noise_as_responder(preshared_key: PresharedKey | None) -> str:
    """Our initiation is byte for byte the library's; its response gives us the same keys."""
    pair = _Pair(preshared_key, we_initiate=True)
    (initiation,) = pair.tunnel.force_handshake(0.0)
    timestamp = bytes(pair.peer.read_message(bytes(initiation.data[INITIATION_NOISE])))
    assert len(timestamp) == 12
    assert pair.double.write_message(timestamp) == initiation.data[INITIATION_NOISE], "not the library's initiation"
    response = b"\2\0\0\0" + b"\7\0\0\0" + initiation.data[4:8] + bytes(pair.peer.write_message())
    mac1 = _mac1(pair.ours, response)
    (confirmation,) = pair.tunnel.read(response + mac1 + bytes(16), PLACE, 0.1).datagrams
    _same_keys(pair, confirmation, receiver=7)
    return "the same bytes"


def noise_as_initiator(preshared_key: PresharedKey | None) -> str:
    """We answer the library's initiation with the bytes that it would answer itself."""
    pair = _Pair(preshared_key, we_initiate=False)
    timestamp = (0x400000006A000000).to_bytes(8, "big") + bytes(4)
    message = bytes(pair.peer.write_message(timestamp))
    assert bytes(pair.double.read_message(message)) == timestamp
    initiation = b"\1\0\0\0" + b"\7\0\0\0" + message
    (response,) = pair.tunnel.read(initiation + _mac1(pair.ours, initiation) + bytes(16), PLACE, 0.0).datagrams
    assert pair.double.write_message() == response.data[RESPONSE_NOISE], "not the library's response"
    pair.peer.read_message(bytes(response.data[RESPONSE_NOISE]))
    _confirm(pair, bytes(response.data[4:8]))
    (datagram,) = pair.tunnel.write([bytes(20)], 0.1)
    _same_keys(pair, datagram, receiver=7)
    return "the same bytes"


def _mac1(key: PrivateKey, message: bytes) -> bytes:
    return mac(blake2s_hash(LABEL_MAC1, bytes(key.public_key())), message)


def _confirm(pair: _Pair, index: bytes) -> None:
    keepalive = b"\4\0\0\0" + index + bytes(8) + bytes(pair.peer.encrypt(b""))
    assert pair.tunnel.read(keepalive, PLACE, 0.05).drop is None


def _same_keys(pair: _Pair, datagram: Datagram, receiver: int) -> None:
    assert datagram.data[:16] == b"\4\0\0\0" + receiver.to_bytes(4, "little") + bytes(8)
    assert not any(pair.peer.decrypt(bytes(datagram.data[16:]))), "the library opens it to something else"


# tshark


class Recorder:
    """Random bytes that are remembered: among them the ephemeral keys."""

    def __init__(self) -> None:
        self.drawn: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self.drawn.append(os.urandom(size))
        return self.drawn[-1]

    @property
    def keys(self) -> list[bytes]:
        return [bytes(drawn) for drawn in self.drawn if len(drawn) == 32]


def dissect(instance: Instance, role: str, folder: Path) -> str:
    """What goes over the wire between us and the program is captured; tshark, given our keys, must read all of ours."""
    recorder = Recorder()
    preshared_key = PresharedKey.generate()
    with closing(instance.meet(role, preshared_key=preshared_key, random=recorder)) as meeting:
        ours, port = meeting.end, meeting.end.place[1]
        pcap, keys = folder / f"{port}.pcap", folder / f"{port}.keys"
        command = instance.host.namespace.command(
            "dumpcap", "-q", "-i", "lo", "-f", f"udp port {port}", "-w", str(pcap)
        )
        capture = Process(command, log=folder / f"{port}.log")
        try:
            capture.wait_for(lambda: "File:" in capture.log(), "capturing")
            meeting.connect()
            for number in range(10):
                version = 4 if number % 2 else 6
                ours.send(meeting.packet(b"x" * number * 100, version))
                assert meeting.app_receives(version) == b"x" * number * 100
            ours.skip(121)
            ours.send(meeting.packet(b"after two minutes"))
            assert meeting.app_receives() == b"after two minutes"
            if role == RESPONDER:
                ours.until(lambda: len(ours.connections) == 2, 3, "a renewed session")
            time.sleep(0.3)  # for dumpcap, which hands over what it has a few times a second
        finally:
            capture.stop()
        keys.touch(mode=0o600)
        keys.write_text(_key_log(meeting, recorder, preshared_key))
        return _read(pcap, keys, port, ours.sent)


def _key_log(meeting: Meeting, recorder: Recorder, preshared_key: PresharedKey) -> str:
    def line(name: str, key: bytes) -> str:
        return f"{name} = {base64.b64encode(key).decode()}\n"

    static = line("LOCAL_STATIC_PRIVATE_KEY", bytes(meeting.end.key))
    peer = f"REMOTE_STATIC_PUBLIC_KEY = {meeting.instance.keys.public}\n"
    shared = line("PRESHARED_KEY", bytes(preshared_key))
    return "".join(static + peer + line("LOCAL_EPHEMERAL_PRIVATE_KEY", key) + shared for key in recorder.keys)


def _read(pcap: Path, keys: Path, port: int, sent: list[Entry]) -> str:
    fields = ("wg.type", "wg.timestamp.value", "wg.handshake_ok", "frame.protocols")
    done = subprocess.run(
        [
            *("tshark", "-r", pcap, "-d", f"udp.port=={port},wg", "-o", f"wg.keylog_file:{keys}"),
            *("-Y", f"udp.srcport=={port}", "-T", "fields", *(word for field in fields for word in ("-e", field))),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    read = [line.split("\t") for line in done.stdout.splitlines()]
    assert [int(kind) for kind, *_ in read] == [entry.kind for entry in sent], "not the datagrams that we sent"
    for entry, (_, timestamp, complete, protocols) in zip(sent, read, strict=True):
        match entry.kind:
            case end.INITIATION:
                assert timestamp, "an initiation that does not open"
            case end.RESPONSE:
                assert complete == "1", "a response that does not open"
            case end.TRANSPORT if not entry.is_keepalive:
                assert protocols.rpartition(":wg")[2], "a packet that does not open"
    return f"{len(read)} datagrams opened"
