"""wireguard-tools contrib/external-tests: a minimal initiator, written from the paper alone, against our responder."""

import hmac
import struct
import time
from hashlib import blake2s

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.support.peers import BOB, CLIENT, EVERYWHERE, WallClock
from wiresock_py.crypto.device import Device
from wiresock_py.crypto.keys import PresharedKey, PrivateKey

PSK = b"preshared key of thirty-two byte"


def hash_of(*parts: bytes) -> bytes:
    return blake2s(b"".join(parts)).digest()


def kdf(key: bytes, data: bytes, count: int) -> list[bytes]:
    prk = hmac.digest(key, data, "blake2s")
    outputs, last = [], b""
    for number in range(1, count + 1):
        last = hmac.digest(prk, last + bytes([number]), "blake2s")
        outputs.append(last)
    return outputs


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request() -> bytes:
    message = struct.pack(">BBHHH", 8, 0, 0, 921, 438) + b"WireGuard"[:8]
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    header = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 20, 1, 0, b"\x0a\xbd\x81\x02", b"\x0a\xbd\x81\x01"
    )
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + message


def test_external_client() -> None:
    """Python, Go, Rust and Haskell clients: handshake with a preshared key, ICMP echo both ways, a last keepalive."""
    static, ephemeral = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    static_public = static.public_key().public_bytes_raw()
    ephemeral_public = ephemeral.public_key().public_bytes_raw()
    theirs = X25519PublicKey.from_public_bytes(bytes(BOB.public_key()))
    server = Device(BOB, wall_clock=WallClock())
    peer = server.add_peer(
        PrivateKey(static.private_bytes_raw()).public_key(), EVERYWHERE, preshared_key=PresharedKey(PSK)
    )

    # initiation
    chain = hash_of(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    transcript = hash_of(hash_of(chain, b"WireGuard v1 zx2c4 Jason@zx2c4.com"), bytes(BOB.public_key()))
    transcript = hash_of(transcript, ephemeral_public)
    (chain,) = kdf(chain, ephemeral_public, 1)
    chain, key = kdf(chain, ephemeral.exchange(theirs), 2)
    sealed_static = ChaCha20Poly1305(key).encrypt(bytes(12), static_public, transcript)
    transcript = hash_of(transcript, sealed_static)
    chain, key = kdf(chain, static.exchange(theirs), 2)
    tai64n = struct.pack(">QI", 4611686018427387914 + int(time.time()), 0)
    sealed_time = ChaCha20Poly1305(key).encrypt(bytes(12), tai64n, transcript)
    transcript = hash_of(transcript, sealed_time)
    message = struct.pack("<II", 1, 28) + ephemeral_public + sealed_static + sealed_time
    mac1_key = hash_of(b"mac1----", bytes(BOB.public_key()))
    message += blake2s(message, key=mac1_key, digest_size=16).digest() + bytes(16)
    (response,) = server.read(message, CLIENT, 0.0).datagrams

    # response
    kind, their_index, our_index = struct.unpack_from("<III", response.data)
    assert (kind, our_index, len(response.data)) == (2, 28, 92)
    their_ephemeral = bytes(response.data[12:44])
    transcript = hash_of(transcript, their_ephemeral)
    (chain,) = kdf(chain, their_ephemeral, 1)
    (chain,) = kdf(chain, ephemeral.exchange(X25519PublicKey.from_public_bytes(their_ephemeral)), 1)
    (chain,) = kdf(chain, static.exchange(X25519PublicKey.from_public_bytes(their_ephemeral)), 1)
    chain, mixed, key = kdf(chain, PSK, 3)
    transcript = hash_of(transcript, mixed)
    assert ChaCha20Poly1305(key).decrypt(bytes(12), bytes(response.data[44:60]), transcript) == b""
    sending, receiving = (ChaCha20Poly1305(key) for key in kdf(chain, b"", 2))

    # echo request and, from behind the server, its reply
    request = echo_request()
    padded = request + bytes(-len(request) % 16)
    datagram = struct.pack("<IIQ", 4, their_index, 0) + sending.encrypt(bytes(12), padded, None)
    received = server.read(datagram, CLIENT, 0.1)
    assert received.packet is not None
    assert bytes(received.packet) == request
    reply = request[:12] + request[16:20] + request[12:16] + b"\0" + request[21:]
    (answer,) = peer.write([reply], 0.2)
    assert struct.unpack_from("<IIQ", answer.data) == (4, 28, 0)
    assert receiving.decrypt(bytes(12), bytes(answer.data[16:]), None)[: len(reply)] == reply

    # keepalive
    nonce = struct.pack("<xxxxQ", 1)
    last = struct.pack("<IIQ", 4, their_index, 1) + sending.encrypt(nonce, b"", None)
    received = server.read(last, CLIENT, 0.3)
    assert (received.drop, received.packet) == (None, None)
