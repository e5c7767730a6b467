"""Which function runs which section of a vector file."""

from tests.vectors.cases import Json, Section
from tests.vectors.cookies import cookie_cases
from tests.vectors.datapath import checksum_cases, mss_clamp_cases, too_big_cases
from tests.vectors.handshakes import handshake_cases, handshake_negative_cases
from tests.vectors.primitives import constant_cases, primitive_cases
from tests.vectors.rotation import rotation_cases
from tests.vectors.scenarios import timer_cases
from tests.vectors.tables import allowed_ips_cases, padding_cases, ratelimiter_cases, replay_cases
from tests.vectors.transport import decapsulation_cases, transport_edge_cases

SCHEMA = "wiresock-py/wireguard-vectors/1"

SECTIONS: dict[str, Section] = {
    "constants": constant_cases,
    "primitives": primitive_cases,
    "handshakes": handshake_cases,
    "handshake_negative": handshake_negative_cases,
    "transport_edge": transport_edge_cases,
    "decapsulation": decapsulation_cases,
    "cookies": cookie_cases,
    "replay": replay_cases,
    "allowed_ips": allowed_ips_cases,
    "padding": padding_cases,
    "ratelimiter": ratelimiter_cases,
    "checksums": checksum_cases,
    "mss_clamp": mss_clamp_cases,
    "icmp_too_big": too_big_cases,
    "keypair_rotation": rotation_cases,
    "timer_scenarios": timer_cases,
}

ABOUT = {"schema", "set", "conventions", "validation", "invalid_reactions"}
"""What describes the file and tests nothing."""


def sections_of(vectors: Json) -> list[str]:
    """The sections to run, in the file's order."""
    return [name for name in vectors if name not in ABOUT]
