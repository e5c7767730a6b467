"""Taking the BYPASS bit back from connections, on the real table."""

import re
import socket
import sys

import pytest

assert sys.platform == "linux"

from tests.backends.namespaces import Namespace
from wiresock_py.filters.netfilter.conntrack import CHUNK, forget, known
from wiresock_py.flow import FiveTuple

pytestmark = pytest.mark.root

BIT = 0x2000_0000


@pytest.mark.parametrize("remote", ["203.0.113.1", "2001:db8::1"])
def test_only_our_bit_is_cleared_and_only_where_it_is_set(namespaces: tuple[Namespace, Namespace], remote: str) -> None:
    host, _wire = namespaces
    program = "ip6tables" if ":" in remote else "iptables"
    save = ("-j", "CONNMARK", "--save-mark")
    host.run(program, "-t", "mangle", "-A", "POSTROUTING", *save)
    with host.inside():
        for mark in (BIT, BIT | 0x5, 0x5):
            with socket.socket(socket.AF_INET6 if ":" in remote else socket.AF_INET, socket.SOCK_DGRAM) as app:
                app.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
                app.sendto(b"x", (remote, 1000 + (mark & 0xF) + (100 if mark & BIT else 0)))
        assert forget(BIT) == 2
        assert forget(BIT) == 0
    listed = host.run("conntrack", "-L", "-f", "ipv6" if ":" in remote else "ipv4")
    marks = dict(re.findall(r"dport=(1\d\d\d).*?mark=(\d+)", listed))
    assert marks == {"1100": "0", "1105": "5", "1005": "5"}


def test_many_connections_are_cleared(namespaces: tuple[Namespace, Namespace]) -> None:
    host, _wire = namespaces
    host.run("iptables", "-t", "mangle", "-A", "POSTROUTING", "-j", "CONNMARK", "--save-mark")
    count = 3 * CHUNK + 1
    with host.inside():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as app:
            app.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, BIT)
            for port in range(1000, 1000 + count):
                app.sendto(b"x", ("203.0.113.1", port))
        assert forget(BIT) == count
        assert forget(BIT) == 0


@pytest.mark.parametrize("remote", ["203.0.113.1", "2001:db8::1"])
def test_a_connection_is_known_by_its_ends_whoever_began_it(
    namespaces: tuple[Namespace, Namespace], remote: str
) -> None:
    host, _wire = namespaces
    family = socket.AF_INET6 if ":" in remote else socket.AF_INET
    host.run("ip6tables" if ":" in remote else "iptables", "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW")
    with host.inside():
        with socket.socket(family, socket.SOCK_DGRAM) as app:
            app.connect((remote, 1000))
            app.send(b"x")
            local, port = app.getsockname()[:2]
        ends = socket.inet_pton(family, local), socket.inet_pton(family, remote)
        assert known(FiveTuple(socket.IPPROTO_UDP, ends[0], port, ends[1], 1000))
        assert known(FiveTuple(socket.IPPROTO_UDP, ends[1], 1000, ends[0], port))
        assert not known(FiveTuple(socket.IPPROTO_UDP, ends[0], port, ends[1], 1001))
        assert not known(FiveTuple(socket.IPPROTO_TCP, ends[0], port, ends[1], 1000))
