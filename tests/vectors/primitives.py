"""Constants and cryptographic functions."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.vectors.cases import Case, Json, equal, unhex
from wiresock_py.crypto import constants, noise, primitives, tai64n

_PAPER_NAMES: dict[str, Callable[[], object]] = {
    "initial_ck": lambda: noise.SymmetricState().chaining_key.hex(),
    "initial_h": lambda: noise.SymmetricState().hash.hex(),
    "CONSTRUCTION": lambda: constants.CONSTRUCTION.decode(),
    "IDENTIFIER": lambda: constants.IDENTIFIER.decode(),
    "LABEL_MAC1": lambda: constants.LABEL_MAC1.decode(),
    "LABEL_COOKIE": lambda: constants.LABEL_COOKIE.decode(),
    "COOKIE_VALID_TIME": lambda: constants.COOKIE_REFRESH_TIME,
    "REKEY_TIMEOUT_JITTER_MAX_MS": lambda: constants.REKEY_TIMEOUT_JITTER * 1000,
    # 18 retries after the first initiation, each REKEY_TIMEOUT after the last, reach the paper's 90 s
    "REKEY_ATTEMPT_TIME": lambda: constants.MAX_TIMER_HANDSHAKES * constants.REKEY_TIMEOUT,
    "TAI64N_WHITEN_MASK_BITS": lambda: constants.TAI64N_WHITENED_BITS,
    "sizes": lambda: {
        "initiation": constants.INITIATION_SIZE,
        "response": constants.RESPONSE_SIZE,
        "cookie_reply": constants.COOKIE_REPLY_SIZE,
        "transport_min": constants.TRANSPORT_MIN_SIZE,
        "transport_header": constants.TRANSPORT_HEADER_SIZE,
    },
    "zero_keys_after": lambda: constants.REJECT_AFTER_TIME * 3,
    "rekey_on_receive_after": lambda: (
        constants.REJECT_AFTER_TIME - constants.KEEPALIVE_TIMEOUT - constants.REKEY_TIMEOUT
    ),
    "new_handshake_after_silence": lambda: constants.KEEPALIVE_TIMEOUT + constants.REKEY_TIMEOUT,
}


def constant_cases(vectors: Json) -> Iterator[Case]:
    def check(name: str, expected: object) -> None:
        ours = _PAPER_NAMES[name]() if name in _PAPER_NAMES else getattr(constants, name)
        equal(name, ours, expected)

    for name, expected in vectors["constants"].items():
        yield Case(name, partial(check, name, expected))


def primitive_cases(vectors: Json) -> Iterator[Case]:
    for kind, cases in vectors["primitives"].items():
        check = _PRIMITIVES.get(kind, _unknown)
        for number, case in enumerate(cases):
            yield Case(f"{kind}: {case.get('name', number)}", partial(check, case))


def _unknown(case: Json) -> None:
    raise AssertionError(f"no runner for this kind of primitive (fields {', '.join(case)})")


def _x25519(case: Json) -> None:
    private = X25519PrivateKey.from_private_bytes(unhex(case["scalar"]))
    result = primitives.dh(private, unhex(case["u"]))
    equal("shared secret", result, None if case["reject"] else unhex(case["out"]))


def _x25519_public(case: Json) -> None:
    private = X25519PrivateKey.from_private_bytes(unhex(case["private"]))
    equal("public key", private.public_key().public_bytes_raw().hex(), case["public"])


def _x25519_iterated(case: Json) -> None:
    scalar = point = b"\x09" + bytes(31)
    for _ in range(case["iterations"]):
        result = primitives.dh(X25519PrivateKey.from_private_bytes(scalar), point)
        assert result is not None
        scalar, point = result, scalar
    equal("k", scalar.hex(), case["k"])


def _chacha20poly1305(case: Json) -> None:
    key, plaintext, associated = unhex(case["key"]), unhex(case["plaintext"]), unhex(case["ad"])
    ciphertext = unhex(case["ciphertext"])
    if "counter" in case:
        equal("ciphertext", primitives.seal(key, case["counter"], plaintext, associated), ciphertext)
        equal("plaintext", primitives.unseal(key, case["counter"], ciphertext, associated), plaintext)
        damaged = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])
        equal("a damaged tag", primitives.unseal(key, case["counter"], damaged, associated), None)
    else:
        equal("ciphertext", ChaCha20Poly1305(key).encrypt(unhex(case["nonce"]), plaintext, associated), ciphertext)


def _hchacha20(case: Json) -> None:
    key, nonce = unhex(case["key"]), unhex(case["nonce16"])
    equal("by raw ChaCha20", primitives.hchacha20(key, nonce).hex(), case["out"])
    equal("in plain Python", primitives.hchacha20_plain(key, nonce).hex(), case["out"])


def _xchacha20poly1305(case: Json) -> None:
    key, nonce, associated = unhex(case["key"]), unhex(case["nonce"]), unhex(case["ad"])
    plaintext, ciphertext = unhex(case["plaintext"]), unhex(case["ciphertext"])
    equal("ciphertext", primitives.xseal(key, nonce, plaintext, associated), ciphertext)
    equal("plaintext", primitives.xunseal(key, nonce, ciphertext, associated), plaintext)


def _blake2s(case: Json) -> None:
    data, key, size = unhex(case["data"]), unhex(case["key"]), case["size"]
    if size == 32 and not key:
        digest = primitives.blake2s_hash(data)
    elif size == 16 and len(key) in (16, 32):
        digest = primitives.mac(key, data)
    else:
        digest = hashlib.blake2s(data, key=key, digest_size=size).digest()
    equal("digest", digest.hex(), case["out"])
    if "truncated_32_for_contrast" in case:
        assert case["truncated_32_for_contrast"] != case["out"]


def _hmac_blake2s(case: Json) -> None:
    equal("hmac", primitives.hmac_blake2s(unhex(case["key"]), unhex(case["data"])).hex(), case["out"])


def _hkdf(case: Json) -> None:
    outputs = [unhex(case[name]) for name in ("t1", "t2", "t3")]
    for number in (1, 2, 3):
        derived = primitives.kdf(number, unhex(case["key"]), unhex(case["input"]))
        equal(f"KDF{number}", list(derived), outputs[:number])
    equal("prk", primitives.hmac_blake2s(unhex(case["key"]), unhex(case["input"])).hex(), case["prk"])


def _tai64n(case: Json) -> None:
    stamp = tai64n.stamp(case["unix_seconds"] * 1_000_000_000 + case["nanoseconds"])
    equal("stamp", stamp.hex(), case["whitened"])
    # The raw label is what ours would be without whitening: the same seconds, the same upper bits.
    raw = unhex(case["raw"])
    nanoseconds = int.from_bytes(raw[8:], "big")
    equal("seconds", stamp[:8], raw[:8])
    equal("raw nanoseconds", nanoseconds, case["nanoseconds"])
    equal("upper bits", int.from_bytes(stamp[8:], "big"), nanoseconds >> 24 << 24)


_PRIMITIVES: dict[str, Callable[[Json], None]] = {
    "x25519": _x25519,
    "x25519_public": _x25519_public,
    "x25519_iterated": _x25519_iterated,
    "chacha20poly1305": _chacha20poly1305,
    "hchacha20": _hchacha20,
    "xchacha20poly1305": _xchacha20poly1305,
    "blake2s": _blake2s,
    "hmac_blake2s": _hmac_blake2s,
    "hkdf": _hkdf,
    "tai64n": _tai64n,
}
