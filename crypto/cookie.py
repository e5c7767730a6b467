"""mac1, mac2 and cookies (paper 5.3, 5.4.4, 5.4.7): cheap proof of an address before expensive work.

    mac1 = MAC(HASH("mac1----" ‖ receiver's public key), message before mac1)
    mac2 = MAC(cookie, message before mac2), or zeros
    cookie = MAC(secret that changes every two minutes, sender's address and port)

mac1 shows that the sender knows whom it talks to, mac2 that it receives what is sent to the address it claims. A cookie
reply is encrypted with a key made of the *public* key of its sender, and bound by the mac1 it answers: whoever did not
see our handshake message cannot make one. It proves no peer, so it moves no timer and no endpoint, and is not answered:
the next scheduled message carries the cookie.
"""

import hmac
from collections.abc import Callable

from wiresock_py.crypto.address import origin
from wiresock_py.crypto.constants import COOKIE_LATENCY, COOKIE_REFRESH_TIME, LABEL_COOKIE, LABEL_MAC1
from wiresock_py.crypto.keys import PublicKey
from wiresock_py.crypto.messages import MAC_SIZE, CookieReply
from wiresock_py.crypto.primitives import blake2s_hash, mac, xseal, xunseal
from wiresock_py.crypto.results import Address, Buffer

NONCE_SIZE = 24
SECRET_SIZE = 32


class CookieGenerator:
    """The sender's side: puts MACs on handshake messages to one peer and takes its cookie replies."""

    __slots__ = ("_cookie", "_cookie_expires", "_cookie_key", "_last_mac1", "_mac1_key")

    def __init__(self, peer: PublicKey) -> None:
        self._mac1_key = blake2s_hash(LABEL_MAC1, bytes(peer))
        self._cookie_key = blake2s_hash(LABEL_COOKIE, bytes(peer))
        self._cookie = b""
        self._cookie_expires = 0.0
        self._last_mac1 = b""

    def add_macs(self, message: bytes, now: float) -> bytes:
        """The complete handshake message; its mac1 is what a cookie reply to it must be bound to."""
        self._last_mac1 = mac(self._mac1_key, message)
        message += self._last_mac1
        # The receiver's secret may be as old as the cookie; what is on the way must arrive before it changes.
        if self._cookie and now < self._cookie_expires:
            return message + mac(self._cookie, message)
        return message + bytes(MAC_SIZE)

    def consume(self, reply: CookieReply, now: float) -> bool:
        """Keep the cookie of a genuine reply to our last message; each message is good for one reply."""
        if not self._last_mac1:
            return False
        cookie = xunseal(self._cookie_key, reply.nonce, reply.cookie, self._last_mac1)
        if cookie is None:
            return False
        self._last_mac1 = b""
        self._cookie = cookie
        self._cookie_expires = now + COOKIE_REFRESH_TIME - COOKIE_LATENCY
        return True


class CookieChecker:
    """The receiver's side: checks the MACs of what is sent to *public* and makes cookie replies."""

    __slots__ = ("_cookie_key", "_mac1_key", "_random", "_secret", "_secret_expires")

    def __init__(self, public: PublicKey, random: Callable[[int], bytes]) -> None:
        self._mac1_key = blake2s_hash(LABEL_MAC1, bytes(public))
        self._cookie_key = blake2s_hash(LABEL_COOKIE, bytes(public))
        self._random = random
        self._secret = b""
        self._secret_expires = float("-inf")

    def mac1_valid(self, datagram: Buffer) -> bool:
        """Whether a handshake message is addressed to us; *datagram* has the exact size of its type."""
        message = memoryview(datagram)
        expected = mac(self._mac1_key, message[: -2 * MAC_SIZE])
        return hmac.compare_digest(expected, message[-2 * MAC_SIZE : -MAC_SIZE])

    def mac2_valid(self, datagram: Buffer, source: Address, now: float) -> bool:
        """Whether the sender holds the cookie we would give to *source* now."""
        message = memoryview(datagram)
        expected = mac(self._cookie(source, now), message[:-MAC_SIZE])
        return hmac.compare_digest(expected, message[-MAC_SIZE:])

    def reply(self, datagram: Buffer, sender: int, source: Address, now: float) -> bytes:
        """The cookie reply to a handshake message of index *sender* from *source*."""
        nonce = self._random(NONCE_SIZE)
        mac1 = memoryview(datagram)[-2 * MAC_SIZE : -MAC_SIZE]
        return CookieReply(sender, nonce, xseal(self._cookie_key, nonce, self._cookie(source, now), mac1)).pack()

    def _cookie(self, source: Address, now: float) -> bytes:
        if now >= self._secret_expires:
            self._secret = self._random(SECRET_SIZE)
            self._secret_expires = now + COOKIE_REFRESH_TIME
        address, port = origin(source)
        return mac(self._secret, address + port.to_bytes(2, "big"))
