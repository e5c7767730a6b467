"""DNS messages that pass us by (RFC 1035, RFC 3596): what a query asks for, which addresses an answer gives to names.

A reader of hostile bytes: it never raises, and what it cannot read whole it does not read at all.
"""

import struct
from typing import NamedTuple

from wiresock_py.network.dns import RecordType, read_name

_HEADER = struct.Struct("!HHHHHH")  # id, flags, counts of questions, answers, authorities, additional
_QUESTION = struct.Struct("!HH")  # type, class
_RECORD = struct.Struct("!HHIH")  # type, class, time to live, length of the data
_RESPONSE, _OPCODE, _RCODE = 0x8000, 0x7800, 0x000F
_CLASS_IN = 1
_ADDRESS_LENGTH = {RecordType.A: 4, RecordType.AAAA: 16}
_MAX_RECORDS = 256
_MAX_ALIASES = 16
SERVER_FAILED, REFUSED = 2, 5
"""Answers that say nothing of the name: RFC 1035 section 4.1.1, RCODE."""


class Question(NamedTuple):
    """What a message asks, or answers to."""

    identifier: int
    name: str
    """In small letters, without the dot at its end."""
    section: bytes
    """The question as it stands in the message, in small letters: an answer repeats it."""


class Reply(NamedTuple):
    """What an answer says of a name."""

    names: tuple[str, ...]
    """The name asked for, and those it is an alias of, one after the other."""
    addresses: tuple[bytes, ...]
    """Packed."""
    ttl: int
    """For how many seconds all of it holds."""


def read_question(message: bytes) -> Question | None:
    """The one question of a query or an answer; None if it has not one, or cannot be read."""
    if len(message) < _HEADER.size:
        return None
    identifier, flags, questions, *_ = _HEADER.unpack_from(message)
    if flags & _OPCODE or questions != 1:
        return None
    read = read_name(message, _HEADER.size)
    if read is None or len(message) < read[1] + _QUESTION.size:
        return None
    name = _text(read[0])
    end = read[1] + _QUESTION.size
    return None if name is None else Question(identifier, name, message[_HEADER.size : end].lower())


def is_answer_to(message: bytes, question: Question) -> bool:
    """Whether *message* answers exactly *question*."""
    found = read_question(message)
    return found is not None and found == question and bool(message[2] & 0x80)


def rcode(message: bytes) -> int:
    """The result code of an answer (RFC 1035 section 4.1.1)."""
    return message[3] & _RCODE


def read_reply(message: bytes) -> Reply | None:
    """The addresses in an answer; None if it cannot be read. One that gives none, to whatever question, has none."""
    question = read_question(message)
    if question is None or not message[2] & 0x80:
        return None
    _, _, _, answers, _, _ = _HEADER.unpack_from(message)
    aliases: dict[str, tuple[str, int]] = {}
    addresses: dict[str, list[tuple[bytes, int]]] = {}
    at = _HEADER.size + len(question.section)
    for _ in range(min(answers, _MAX_RECORDS)):
        owner = read_name(message, at)
        if owner is None or owner[1] + _RECORD.size > len(message):
            return None
        kind, record_class, ttl, length = _RECORD.unpack_from(message, owner[1])
        start = owner[1] + _RECORD.size
        at = start + length
        name = _text(owner[0])
        if at > len(message) or name is None:
            return None
        if record_class != _CLASS_IN:
            continue
        if kind == RecordType.CNAME:
            target = read_name(message, start)
            alias = None if target is None or target[1] != at else _text(target[0])
            if alias is None:
                return None
            aliases.setdefault(name, (alias, ttl))
        elif _ADDRESS_LENGTH.get(kind) == length:
            addresses.setdefault(name, []).append((message[start:at], ttl))
    return _follow(question.name, aliases, addresses)


def _follow(name: str, aliases: dict[str, tuple[str, int]], addresses: dict[str, list[tuple[bytes, int]]]) -> Reply:
    names, ttls = [name], []
    while name in aliases and len(names) <= _MAX_ALIASES:
        name, ttl = aliases[name]
        ttls.append(ttl)
        if name in names:
            break
        names.append(name)
    found = addresses.get(name, [])
    ttls += [ttl for _, ttl in found]
    # RFC 2181 section 8: a time to live with the highest bit set counts as zero
    return Reply(tuple(names), tuple(address for address, _ in found), min((t & ~-(t >> 31) for t in ttls), default=0))


def _text(wire: bytes) -> str | None:
    """A name in wire form as text; None for one that no rule could mean: with a dot or strange bytes in a label."""
    labels, at = [], 0
    while at < len(wire) and wire[at]:
        label = wire[at + 1 : at + 1 + wire[at]]
        if not label.isascii() or not label.replace(b"-", b"").replace(b"_", b"").isalnum():
            return None
        labels.append(label.decode("ascii"))
        at += 1 + wire[at]
    return ".".join(labels)
