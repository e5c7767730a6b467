"""Just enough DNS to ask for addresses (RFC 1035, RFC 3596): one question out, addresses and aliases back.

A reader of hostile bytes: it never raises, follows compression pointers only backwards, and takes nothing from a
message that does not answer the very question asked.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

_HEADER = struct.Struct("!HHHHHH")  # id, flags, counts of questions, answers, authorities, additional
_QUESTION = struct.Struct("!HH")  # type, class
_RECORD = struct.Struct("!HHIH")  # type, class, time to live, length of the data
_RESPONSE, _TRUNCATED, _RECURSION_DESIRED = 0x8000, 0x0200, 0x0100
_OPCODE, _RCODE = 0x7800, 0x000F
_CLASS_IN = 1
_POINTER = 0xC0
_MAX_NAME = 255
_MAX_LABEL = 63
_MAX_ALIASES = 16

OK, NO_SUCH_NAME = 0, 3
RCODES = {1: "cannot read the query", 2: "failed", 3: "knows no such name", 4: "is not able to", 5: "refuses"}


class RecordType(IntEnum):
    """The types of record this client asks for, and the one that may come before them."""

    A = 1
    CNAME = 5
    AAAA = 28


_ADDRESS_LENGTH = {RecordType.A: 4, RecordType.AAAA: 16}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said to one question."""

    rcode: int
    truncated: bool
    """There is more; ask again over TCP."""
    addresses: tuple[bytes, ...]
    """Packed, of the name asked for or of the name it is an alias of."""
    alias: bytes
    """Where the chain of aliases ended: the name asked for if there is none. Wire form, lower case."""


def encode_name(name: str) -> bytes:
    """*name* in wire form, lower case, non-ASCII names by IDNA. Raises ValueError, saying what is wrong with it."""
    labels = name.removesuffix(".").split(".")
    try:
        parts = [label.encode("ascii" if label.isascii() else "idna") for label in labels]
    except UnicodeError as error:
        raise ValueError(f"it cannot be written in ASCII: {error}") from None
    if any(not 0 < len(part) <= _MAX_LABEL for part in parts):
        raise ValueError(f"each part between dots has 1 to {_MAX_LABEL} characters")
    wire = b"".join(bytes([len(part)]) + part.lower() for part in parts) + b"\0"
    if len(wire) > _MAX_NAME:
        raise ValueError(f"it is longer than {_MAX_NAME - 2} characters")
    return wire


def encode_query(identifier: int, name: bytes, kind: RecordType) -> bytes:
    """A question for *kind* records of *name* (wire form), asking the server to do the work."""
    header = _HEADER.pack(identifier, _RECURSION_DESIRED, 1, 0, 0, 0)
    return header + name + _QUESTION.pack(kind, _CLASS_IN)


def decode_answer(message: bytes, identifier: int, name: bytes, kind: RecordType) -> Answer | None:
    """The answer in *message*; None unless it is a well-formed answer to exactly this question. Never raises."""
    if len(message) < _HEADER.size:
        return None
    found, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
    if found != identifier or not flags & _RESPONSE or flags & _OPCODE or questions != 1:
        return None
    asked = read_name(message, _HEADER.size)
    if asked is None or asked[0] != name or message[asked[1] : asked[1] + 4] != _QUESTION.pack(kind, _CLASS_IN):
        return None
    records = _read_records(message, asked[1] + 4, answers)
    if records is None:
        # A truncated message may end in the middle of a record; its records do not count anyway.
        return Answer(flags & _RCODE, True, (), name) if flags & _TRUNCATED else None
    alias = _follow(name, records)
    length = _ADDRESS_LENGTH[kind]
    addresses = (data for owner, record, data in records if owner == alias and record == kind and len(data) == length)
    return Answer(flags & _RCODE, bool(flags & _TRUNCATED), tuple(dict.fromkeys(addresses)), alias)


_Records = list[tuple[bytes, int, bytes]]
"""Owner in wire form, type, data; for an alias the data is the target in wire form."""


def _follow(name: bytes, records: _Records) -> bytes:
    aliases = {owner: data for owner, record, data in records if record == RecordType.CNAME}
    for _ in range(_MAX_ALIASES):
        if name not in aliases:
            break
        name = aliases[name]
    return name


def _read_records(message: bytes, at: int, count: int) -> _Records | None:
    records: _Records = []
    for _ in range(count):
        owner = read_name(message, at)
        if owner is None or owner[1] + _RECORD.size > len(message):
            return None
        kind, record_class, _ttl, length = _RECORD.unpack_from(message, owner[1])
        start = owner[1] + _RECORD.size
        at = start + length
        if at > len(message):
            return None
        if record_class != _CLASS_IN:
            continue
        data = message[start:at]
        if kind == RecordType.CNAME:
            target = read_name(message, start)
            if target is None or target[1] != at:
                return None
            data = target[0]
        records.append((owner[0], kind, data))
    return records


def read_name(message: bytes, at: int) -> tuple[bytes, int] | None:
    """A name in wire form and lower case, and where the next field starts; None if it is malformed.

    Each pointer must lead to before the part it ends, so that a name can never lead in circles.
    """
    labels: list[bytes] = []
    after = 0
    size = 1
    limit = at
    while at < len(message):
        length = message[at]
        if length == 0:
            return b"".join(labels) + b"\0", after or at + 1
        if length & _POINTER == _POINTER:
            if at + 2 > len(message):
                return None
            after = after or at + 2
            at = (length & ~_POINTER) << 8 | message[at + 1]
            if at >= limit:
                return None
            limit = at
            continue
        if length > _MAX_LABEL or at + 1 + length > len(message):
            return None
        size += 1 + length
        if size > _MAX_NAME:
            return None
        labels.append(message[at : at + 1 + length].lower())
        at += 1 + length
    return None
