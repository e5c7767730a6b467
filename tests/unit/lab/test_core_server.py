"""wiresock_py.lab.core_server: the echo; the server itself is in tests/e2e/test_hostile_server.py."""

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from wiresock_py.lab.core_server import echo_udp


def test_an_echo_goes_back_with_valid_checksums() -> None:
    for network in (IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="2001:db8::1", dst="2001:db8::2")):
        asked = network / UDP(sport=1, dport=2) / Raw(b"hello")
        (back,) = echo_udp(bytes(asked))
        read = type(network)(back)
        assert (read.src, read.dst, read[UDP].sport, read[UDP].dport) == (network.dst, network.src, 2, 1)
        assert bytes(read[UDP].payload) == b"hello"
        sums = read[UDP].chksum, getattr(read, "chksum", None)
        for layer in (read, read[UDP]):
            if hasattr(layer, "chksum"):
                del layer.chksum
        again = type(network)(bytes(read))
        assert (again[UDP].chksum, getattr(again, "chksum", None)) == sums


def test_only_udp_is_answered() -> None:
    assert echo_udp(bytes(IP() / TCP())) == []
    assert echo_udp(bytes(IPv6() / TCP())) == []
