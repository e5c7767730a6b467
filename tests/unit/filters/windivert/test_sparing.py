from tests.backends.packets import Datagram, build
from wiresock_py.filters.windivert.sparing import MAX_BYPASSED, WORTH, Sparing


def packet(source_port: int = 1000, destination: str = "192.0.2.2", port: int = 443) -> bytes:
    own = "2001:db8::1" if ":" in destination else "192.0.2.1"
    return build(Datagram(own, source_port, destination, port, b"x"))


def test_a_bypassed_flow_is_spared_and_no_other() -> None:
    sparing = Sparing()
    assert not sparing.spares(packet())
    sparing.bypass(packet())
    assert sparing.spares(packet())
    assert not sparing.spares(packet(1001))
    assert not sparing.spares(packet(port=444))
    sparing.forget_flows()
    assert not sparing.spares(packet())


def test_a_port_is_spared_as_long_as_a_block_is_open() -> None:
    sparing = Sparing()
    with sparing.port(17, 1000):
        with sparing.port(17, 1000):
            assert sparing.spares(packet())
        assert sparing.spares(packet())
        assert not sparing.spares(packet(1001))
    assert not sparing.spares(packet())


def test_the_oldest_flow_is_shown_again_when_there_are_too_many() -> None:
    sparing = Sparing()
    for port in range(MAX_BYPASSED + 1):
        sparing.bypass(packet(port + 1))
    assert not sparing.spares(packet(1))
    assert sparing.spares(packet(2))


def test_ports_are_in_a_new_filter_and_flows_once_they_are_busy() -> None:
    sparing = Sparing()
    with sparing.port(17, 51820):
        sparing.bypass(packet())
        sparing.bypass(packet(destination="2001:db8::2"))
        assert sparing.for_filter() == ([(17, 51820)], [])
        for _ in range(WORTH - 1):
            sparing.spares(packet())
        assert not sparing.outdated
        sparing.spares(packet())
        assert sparing.outdated
        assert sparing.for_filter() == ([(17, 51820)], [(17, b"\xc0\x00\x02\x02", 1000, 443)])
        assert not sparing.outdated
    assert sparing.outdated  # the port may be anybody's now


def test_a_port_that_was_in_no_filter_is_given_up_without_a_new_one() -> None:
    sparing = Sparing()
    with sparing.port(17, 40000):
        sparing.spares(packet(40000))
    assert not sparing.outdated


def test_flows_go_on_being_bypassed_with_who_takes_over() -> None:
    before, after = Sparing(), Sparing()
    before.bypass(packet())
    after.take_flows(before)
    assert after.spares(packet())
