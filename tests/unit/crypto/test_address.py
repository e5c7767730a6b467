import pytest

from wiresock_py.crypto.address import origin


def test_an_ipv4_socket_address_gives_4_bytes_and_the_port() -> None:
    assert origin(("192.0.2.7", 51820)) == (bytes([192, 0, 2, 7]), 51820)


def test_an_ipv6_socket_address_gives_16_bytes_whatever_its_scope() -> None:
    address, port = origin(("fe80::1%3", 7, 0, 3))
    assert address == bytes.fromhex("fe800000000000000000000000000001")
    assert port == 7


def test_a_mapped_address_of_a_dual_stack_socket_is_ipv4() -> None:
    assert origin(("::ffff:192.0.2.7", 1, 0, 0)) == origin(("192.0.2.7", 1))


@pytest.mark.parametrize("source", [None, "192.0.2.7:1", ("192.0.2.7",)])
def test_what_is_no_socket_address_is_the_callers_mistake(source: object) -> None:
    with pytest.raises(TypeError):
        origin(source)
