import socket
import sys
from pathlib import Path

import pytest

if sys.platform != "linux" or sys.byteorder != "little":
    pytest.skip("the tables below are those of a little-endian Linux", allow_module_level=True)

from wiresock_py.flow import FiveTuple
from wiresock_py.owners.raw_sockets import ping_sockets, raw_sockets

HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
)
ICMP, ICMPV6 = socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6
HERE, THERE = socket.inet_aton("127.0.0.1"), socket.inet_aton("10.9.8.7")
HERE6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
THERE6 = socket.inet_pton(socket.AF_INET6, "2001:db8::2")


def line(local: str, remote: str, inode: int) -> str:
    queues = "00000000:00000000 00:00000000 00000000"
    return f"  123: {local} {remote} 07 {queues}     0        0 {inode} 2 0000000000000000 0"


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    def write(name: str, *lines: str) -> None:
        (tmp_path / name).write_text("\n".join([HEAD, *lines, ""]))

    write("icmp", line("0100007F:1267", "00000000:0000", 71), line("00000000:0008", "0708090A:0000", 72))
    write("icmp6", line("B80D0120000000000000000001000000:0007", "0" * 32 + ":0000", 73))
    write(
        "raw",
        line("00000000:0001", "00000000:0000", 81),
        line("0100007F:0001", "0708090A:0000", 82),
        line("00000000:00FF", "00000000:0000", 83),
        line("00000000:0059", "0808080A:0000", 84),
    )
    write("raw6", line("0" * 32 + ":003A", "0" * 32 + ":0000", 91))
    return tmp_path


def test_a_ping_socket_is_found_by_its_identifier(tables: Path) -> None:
    assert ping_sockets(FiveTuple(ICMP, HERE, 0x1267, THERE, 0), tables) == [71]
    assert ping_sockets(FiveTuple(ICMP, HERE, 0x1268, THERE, 0), tables) == []
    assert ping_sockets(FiveTuple(ICMPV6, HERE6, 7, THERE6, 0), tables) == [73]


def test_a_connected_ping_socket_sends_to_its_peer_only(tables: Path) -> None:
    assert ping_sockets(FiveTuple(ICMP, HERE, 8, THERE, 0), tables) == [72]
    assert ping_sockets(FiveTuple(ICMP, HERE, 8, HERE, 0), tables) == []


def test_raw_sockets_are_found_by_protocol_and_ends(tables: Path) -> None:
    assert raw_sockets(FiveTuple(ICMP, HERE, 1, THERE, 0), tables) == [81, 82]
    assert raw_sockets(FiveTuple(ICMP, THERE, 1, HERE, 0), tables) == [81]
    assert raw_sockets(FiveTuple(ICMPV6, HERE6, 1, THERE6, 0), tables) == [91]


def test_a_socket_that_sends_any_protocol_counts_where_none_is_for_this_one(tables: Path) -> None:
    assert raw_sockets(FiveTuple(47, HERE, 0, THERE, 0), tables) == [83]
    assert raw_sockets(FiveTuple(89, HERE, 0, THERE, 0), tables) == [83]  # OSPF's own one is connected elsewhere


def test_other_protocols_have_no_ping_sockets(tables: Path) -> None:
    assert ping_sockets(FiveTuple(47, HERE, 0x1267, THERE, 0), tables) == []


def test_a_host_without_ipv6_has_no_such_sockets(tables: Path) -> None:
    (tables / "icmp6").unlink()
    (tables / "raw6").unlink()
    key = FiveTuple(ICMPV6, HERE6, 7, THERE6, 0)
    assert (ping_sockets(key, tables), raw_sockets(key, tables)) == ([], [])


@pytest.mark.root
def test_the_kernels_own_table_has_this_form() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 253) as raw:
        raw.bind(("127.0.0.1", 0))
        assert raw_sockets(FiveTuple(253, HERE, 0, THERE, 0)) != []
        raw.connect(("127.0.0.1", 0))
        assert raw_sockets(FiveTuple(253, HERE, 0, THERE, 0)) == []
