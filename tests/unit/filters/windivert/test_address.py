from wiresock_py.filters.windivert.address import LOOPBACK_INDEX, SIZE, Address, address


def test_it_is_laid_out_as_in_windivert_h() -> None:
    assert SIZE == 80
    assert (Address.timestamp.offset, Address.interface.offset, Address.subinterface.offset) == (0, 16, 20)
    # Layer and Event take a byte each; then come the flags, from Sniffed to UDPChecksum, a bit each
    assert bytes(Address(layer=0x11, event=0x22))[8:12] == b"\x11\x22\0\0"
    assert bytes(Address(outbound=1, loopback=1, udp_checksum=1))[10] == 0b1000_0110


def test_a_packet_for_the_stack_says_by_which_adapter_it_arrives() -> None:
    inbound = address(7, outbound=False, ipv6=True)
    assert (inbound.outbound, inbound.loopback, inbound.interface, inbound.ipv6) == (0, 0, 7, 1)
    assert (inbound.ip_checksum, inbound.tcp_checksum, inbound.udp_checksum) == (1, 1, 1)


def test_on_loopback_every_packet_is_outbound() -> None:
    inbound = address(LOOPBACK_INDEX, outbound=False, ipv6=False)
    assert (inbound.outbound, inbound.loopback) == (1, 1)
