"""Addresses on their way to compiled code and back; the calls themselves are tested with the socket."""

import pytest

from wiresock_py.engine import udp_compiled
from wiresock_py.engine.udp_compiled import Address, unpacked


@pytest.mark.parametrize(
    "address",
    [("192.0.2.1", 51820), ("::ffff:192.0.2.1", 1, 0, 0), ("2001:db8::1", 65535, 0, 0), ("fe80::1", 9, 0, 3)],
)
def test_an_address_stays_the_same(address: Address) -> None:
    packed = udp_compiled._pack(address)
    assert len(packed) in (6, 22)
    assert unpacked(packed) == address


def test_no_name_is_an_address() -> None:
    with pytest.raises(OSError, match="illegal"):
        udp_compiled._pack(("nowhere", 1))
