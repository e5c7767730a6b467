"""Every reason for which something is dropped, each with its own counter in the statistics.

A drop is silent: no answer, and no change of endpoint, timer or session (sections in brackets: the paper's). Only the
``INNER_*`` reasons come after authentication: then the endpoint, timers and replay window have moved already.
"""

from enum import StrEnum


class Drop(StrEnum):
    # datagrams whose form is wrong [5.4]
    MALFORMED = "malformed"
    """Shorter than a header, unknown type, non-zero reserved bytes, or a length its type does not have."""

    # handshake messages [5.3, 5.4]
    BAD_MAC1 = "bad_mac1"
    """Not addressed to our public key; dropped before any other work, also under load."""
    COOKIE_REQUIRED = "cookie_required"
    """Under load and without a valid mac2: refused; a cookie reply goes back as long as their rate allows."""
    RATE_LIMITED = "rate_limited"
    """Under load with a valid mac2, but too many from this source, or from all sources together."""
    BAD_HANDSHAKE = "bad_handshake"
    """A field does not decrypt: forged, damaged, meant for another key, or another preshared key."""
    ZERO_DH = "zero_dh"
    """A Diffie-Hellman result of all zeros, from a low-order public key."""
    UNKNOWN_PEER = "unknown_peer"
    """A well-formed initiation by a static key that is not configured."""
    OLD_TIMESTAMP = "old_timestamp"
    """The initiation's timestamp is not greater than the greatest accepted: a replay."""
    INITIATION_FLOOD = "initiation_flood"
    """Less than 20 ms after the last initiation accepted from this peer."""
    UNKNOWN_HANDSHAKE = "unknown_handshake"
    """A response, or a cookie reply, for an index that waits for none."""
    BAD_COOKIE = "bad_cookie"
    """A cookie reply that does not decrypt with the mac1 of our last handshake message."""

    # transport datagrams [5.4.6]
    UNKNOWN_SESSION = "unknown_session"
    """No live session has this receiver index."""
    SESSION_EXPIRED = "session_expired"
    """The session is REJECT_AFTER_TIME old."""
    COUNTER_LIMIT = "counter_limit"
    """The counter is REJECT_AFTER_MESSAGES or more."""
    BAD_TAG = "bad_tag"
    """The payload does not decrypt."""
    REPLAY = "replay"
    """This counter was accepted before, or is too old to tell."""

    # inner packets of authentic datagrams
    INNER_MALFORMED = "inner_malformed"
    """Neither IPv4 nor IPv6, or a length field that does not fit."""
    INNER_SOURCE = "inner_source"
    """The source address does not belong to this peer [cryptokey routing, 2]."""

    # outbound
    NO_ROUTE = "no_route"
    """No peer has the destination in its allowed IPs."""
    STAGING_FULL = "staging_full"
    """The oldest of too many packets that wait for a session."""
    GAVE_UP = "gave_up"
    """Waited for a handshake that nobody answered."""
    NO_ENDPOINT = "no_endpoint"
    """A handshake is due but the peer's endpoint is not known yet."""
