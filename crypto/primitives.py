"""The cryptographic functions of the protocol, by the paper's names (5.4).

HMAC and MAC are different constructions and both are used: HMAC only inside KDF, keyed BLAKE2s for mac1, mac2 and
cookies. A MAC of 16 bytes is not a truncated one of 32: the length is part of BLAKE2s' parameter block.
"""

import hmac
import struct
from hashlib import blake2s

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from wiresock_py.crypto.results import Buffer

_NONCE = struct.Struct("<xxxxQ")
_WORDS = struct.Struct("<16I")
_KEY_WORDS = struct.Struct("<8I")
_SIGMA = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k"
_QUARTERS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip


def dh(private: X25519PrivateKey, public: Buffer) -> bytes | None:
    """X25519; None if the result is all zeros, which only a low-order *public* can bring about (RFC 7748, 6.1)."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(bytes(public)))
    except ValueError:
        return None


def blake2s_hash(*parts: Buffer) -> bytes:
    """HASH of the concatenated parts."""
    state = blake2s()
    for part in parts:
        state.update(part)
    return state.digest()


def mac(key: Buffer, data: Buffer) -> bytes:
    """MAC: keyed BLAKE2s of 16 bytes; *key* has 16 or 32."""
    return blake2s(data, key=key, digest_size=16).digest()


def hmac_blake2s(key: Buffer, data: Buffer) -> bytes:
    return hmac.digest(key, data, "blake2s")


def kdf(count: int, key: Buffer, data: Buffer) -> tuple[bytes, ...]:
    """KDF of 1 to 3 outputs: HKDF (RFC 5869) with *key* as salt and no info."""
    pseudorandom = hmac_blake2s(key, data)
    outputs = []
    output = b""
    for number in range(1, count + 1):
        output = hmac_blake2s(pseudorandom, output + bytes([number]))
        outputs.append(output)
    return tuple(outputs)


def seal(key: Buffer, counter: int, plaintext: Buffer, associated: Buffer) -> bytes:
    """AEAD: ChaCha20-Poly1305 (RFC 8439) with a 64-bit little-endian counter as nonce."""
    return ChaCha20Poly1305(key).encrypt(_NONCE.pack(counter), plaintext, associated)


def unseal(key: Buffer, counter: int, ciphertext: Buffer, associated: Buffer) -> bytes | None:
    """The reverse of ``seal``; None if the tag does not verify."""
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE.pack(counter), ciphertext, associated)
    except InvalidTag:
        return None


def xseal(key: Buffer, nonce: bytes, plaintext: Buffer, associated: Buffer) -> bytes:
    """XAEAD: XChaCha20-Poly1305 with a nonce of 24 bytes (draft-irtf-cfrg-xchacha)."""
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], plaintext, associated)


def xunseal(key: Buffer, nonce: bytes, ciphertext: Buffer, associated: Buffer) -> bytes | None:
    """The reverse of ``xseal``; None if the tag does not verify."""
    try:
        return ChaCha20Poly1305(hchacha20(key, nonce[:16])).decrypt(bytes(4) + nonce[16:], ciphertext, associated)
    except InvalidTag:
        return None


def hchacha20(key: Buffer, nonce: Buffer) -> bytes:
    """HChaCha20: 32 bytes from a key and a nonce of 16 bytes (draft-irtf-cfrg-xchacha, 2.2).

    ChaCha20's block is its permuted state plus the state before, and the nonce argument of the raw cipher is that
    state's last four words. So a block over zeros, less the words we know, is HChaCha20: twenty rounds in C.
    """
    try:
        cipher = Cipher(algorithms.ChaCha20(bytes(key), bytes(nonce)), mode=None)
        block = cipher.encryptor().update(bytes(64))
    except UnsupportedAlgorithm:  # builds without the raw cipher, FIPS providers
        return hchacha20_plain(key, nonce)
    words = _WORDS.unpack(block)
    known = _SIGMA + struct.unpack("<4I", nonce)
    picked = words[:4] + words[12:]
    return _KEY_WORDS.pack(*((word - add) & 0xFFFFFFFF for word, add in zip(picked, known, strict=True)))


def hchacha20_plain(key: Buffer, nonce: Buffer) -> bytes:
    """HChaCha20 in Python alone, for builds without raw ChaCha20; cookies are rare enough."""
    state = list(_SIGMA + struct.unpack("<8I", key) + struct.unpack("<4I", nonce))
    for _ in range(10):
        for a, b, c, d in _QUARTERS:
            for into, other, turn, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                state[into] = (state[into] + state[other]) & 0xFFFFFFFF
                mixed = state[turn] ^ state[into]
                state[turn] = ((mixed << bits) | (mixed >> (32 - bits))) & 0xFFFFFFFF
    return _KEY_WORDS.pack(*state[:4], *state[12:])
