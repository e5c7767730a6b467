import os
import socket
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("for other systems: /proc and sock_diag are Linux's", allow_module_level=True)

from tests.support.processes import Interpreter, Start
from wiresock_py.flow import SYSTEM, App, FiveTuple
from wiresock_py.owners.base import Process
from wiresock_py.owners.linux import LinuxOwners, _owner

TCP, UDP, ICMP = socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP
LOOPBACK = socket.inet_aton("127.0.0.1")
FAR = socket.inet_aton("198.51.100.7")
GRE, UDP_LITE = 47, 136

UDP_SENDER = """
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
ready(s.getsockname()[1])
wait()
"""


@pytest.fixture
def owners() -> Iterator[LinuxOwners]:
    found = LinuxOwners()
    yield found
    found.close()


def udp(port: int) -> FiveTuple:
    return FiveTuple(UDP, LOOPBACK, port, FAR, 53)


def process(pid: int, path: str, started: float = 0) -> Process:
    return Process(App(pid, started or float(pid), path), 1)


def test_a_process_started_after_the_look_up_was_made_is_found(
    owners: LinuxOwners, start: Start, interpreter: Interpreter
) -> None:
    child = start(UDP_SENDER, interpreter("chrome"))
    (app,) = owners.find([udp(child.numbers[0])])
    assert app is not None
    assert (app.pid, app.name) == (child.pid, "chrome")


def test_a_tcp_client_of_another_process_is_found(owners: LinuxOwners, start: Start, interpreter: Interpreter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"s = socket.create_connection(('127.0.0.1', {port})); ready(s.getsockname()[1]); wait()"
        child = start(code, interpreter("a client"))
        key = FiveTuple(TCP, LOOPBACK, child.numbers[0], LOOPBACK, port)
        (app,) = owners.find([key])
    assert app is not None
    assert app.name == "a client"


def test_one_call_tells_many_flows_apart(owners: LinuxOwners, start: Start, interpreter: Interpreter) -> None:
    one, two = start(UDP_SENDER, interpreter("one")), start(UDP_SENDER, interpreter("two"))
    nobody = udp(1)
    found = owners.find([udp(two.numbers[0]), nobody, udp(one.numbers[0]), udp(two.numbers[0])])
    assert [app.name if app else None for app in found] == ["two", None, "one", "two"]


def test_a_flow_whose_process_ended_has_no_owner(owners: LinuxOwners, start: Start) -> None:
    child = start(UDP_SENDER)
    key = udp(child.numbers[0])
    assert owners.find([key])[0] is not None
    child.stop()
    assert owners.find([key]) == [None]


def test_a_forked_process_and_its_parent_are_one_owner_whoever_is_found_first(
    owners: LinuxOwners, start: Start
) -> None:
    child = start(
        """
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", 0))
        if os.fork() == 0:
            wait()
            os._exit(0)
        ready(s.getsockname()[1])
        wait()
        """
    )
    for _ in range(3):
        (app,) = owners.find([udp(child.numbers[0])])
        assert app is not None
        assert app.pid == child.pid


def test_a_program_that_inherited_the_socket_does_not_take_the_place_of_its_opener(
    owners: LinuxOwners, start: Start, interpreter: Interpreter
) -> None:
    helper = interpreter("helper")
    child = start(
        f"""
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", 0))
        s.set_inheritable(True)
        if os.fork() == 0:
            os.execv({str(helper)!r}, ["helper", "-S", "-c", "import sys; sys.stdin.read()"])
        ready(s.getsockname()[1])
        wait()
        """,
        interpreter("browser"),
    )
    (app,) = owners.find([udp(child.numbers[0])])
    assert app is not None
    assert app.name == "browser"


def test_a_program_that_was_given_the_socket_for_good_is_its_owner(
    owners: LinuxOwners, start: Start, interpreter: Interpreter
) -> None:
    helper = interpreter("helper")
    child = start(
        f"""
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("127.0.0.1", 0))
        s.set_inheritable(True)
        port = s.getsockname()[1]
        if os.fork() == 0:
            os.execv({str(helper)!r}, ["helper", "-S", "-c", "import sys; sys.stdin.read()"])
        s.close()
        ready(port)
        wait()
        """,
        interpreter("launcher"),
    )
    (app,) = owners.find([udp(child.numbers[0])])
    assert app is not None
    assert app.name in {"helper", "launcher"}  # launcher for the moment between fork and exec
    for _ in range(100):
        (app,) = owners.find([udp(child.numbers[0])])
        if app is not None and app.name == "helper":
            break
    assert app is not None
    assert app.name == "helper"


def test_the_oldest_of_several_holders_is_the_owner_and_init_only_if_alone() -> None:
    key = udp(1)
    init, service, late = process(1, "/sbin/init"), process(20, "/bin/service"), process(30, "/bin/late")
    assert _owner(key, [[init, service, late]]) == service.app
    assert _owner(key, [[init]]) == init.app
    assert _owner(key, [[]]) is None
    assert _owner(key, []) is None


def test_of_several_raw_sockets_the_one_whose_pid_is_the_identifier_sent_the_echo() -> None:
    ping, other = process(70_000, "/bin/ping"), process(500, "/bin/monitor")
    echo = FiveTuple(ICMP, LOOPBACK, 70_000 & 0xFFFF, FAR, 0)
    assert _owner(echo, [[other], [ping]]) == ping.app
    assert _owner(echo._replace(local_port=9), [[other], [ping]]) is None
    assert _owner(echo._replace(local_port=9), [[ping]]) == ping.app
    assert _owner(echo._replace(local_port=9), [[ping], [process(80_000, "/bin/ping")]]) == ping.app


def test_this_programs_own_raw_sockets_own_nothing() -> None:
    echo = FiveTuple(ICMP, LOOPBACK, 5, FAR, 0)
    assert _owner(echo, [[process(os.getpid(), "/bin/python")]]) is None


@pytest.mark.root
def test_a_raw_socket_of_another_process_is_found(owners: LinuxOwners, start: Start, interpreter: Interpreter) -> None:
    # the identifier is the pid, so raw sockets that others hold meanwhile do not matter
    child = start(
        "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); ready(os.getpid() & 0xffff); wait()",
        interpreter("ping"),
    )
    (app,) = owners.find([FiveTuple(ICMP, LOOPBACK, child.numbers[0], FAR, 0)])
    assert app is not None
    assert app.name == "ping"


@pytest.mark.root
def test_a_ping_socket_in_a_namespace_is_found_there_and_not_outside(
    owners: LinuxOwners, start: Start, interpreter: Interpreter
) -> None:
    """The child has its own network namespace; a look-up made inside it sees the socket, one made outside does not."""
    sender = interpreter("pinger")
    code = "; ".join(
        [
            "import socket, sys",
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)",
            "s.bind(('127.0.0.1', 4711))",
            "print(flush=True)",
            "sys.stdin.read()",
        ]
    )
    root = Path(__file__).parents[3]
    child = start(
        f"""
        import ctypes, subprocess
        ctypes.CDLL(None).unshare(0x40000000)  # CLONE_NEWNET
        open("/proc/sys/net/ipv4/ping_group_range", "w").write("0 0")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        pipe = subprocess.PIPE
        pinger = subprocess.Popen([{str(sender)!r}, "-S", "-c", {code!r}], stdin=pipe, stdout=pipe)
        pinger.stdout.readline()
        sys.path[:0] = {[str(root), *sys.path]!r}
        from wiresock_py.flow import FiveTuple
        from wiresock_py.owners.linux import LinuxOwners
        key = FiveTuple(1, socket.inet_aton("127.0.0.1"), 4711, socket.inet_aton("127.0.0.1"), 0)
        owners = LinuxOwners()
        right, wrong = owners.find([key, key._replace(local_port=4712)])
        ready(pinger.pid, right.pid if right else 0, int(bool(right) and right.name == "pinger"), int(wrong is None))
        wait()
        pinger.communicate()
        """
    )
    pid, found, named, other_is_none = child.numbers
    assert (found, named, other_is_none) == (pid, 1, 1)
    assert owners.find([FiveTuple(ICMP, LOOPBACK, 4711, LOOPBACK, 0)]) == [None]


def test_a_listening_tcp_port_is_known_and_a_client_port_is_not(owners: LinuxOwners) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert owners.listening(TCP, LOOPBACK, port)
            assert not owners.listening(TCP, LOOPBACK, client.getsockname()[1])
        assert not owners.listening(TCP, FAR, port)
    assert not owners.listening(TCP, LOOPBACK, port)


def test_a_udp_server_is_told_from_a_client_by_the_port_range(owners: LinuxOwners) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        assert not owners.listening(UDP, LOOPBACK, client.getsockname()[1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        port = next(port for port in range(2000, 32768) if _binds(server, port))
        assert owners.listening(UDP, LOOPBACK, port)
        server.connect(("127.0.0.1", 9))
        assert not owners.listening(UDP, LOOPBACK, port)


def _binds(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_other_protocols_never_listen(owners: LinuxOwners) -> None:
    assert not owners.listening(ICMP, LOOPBACK, 1)


def test_connections_list_what_is_connected_with_its_owner(
    owners: LinuxOwners, start: Start, interpreter: Interpreter
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"s = socket.create_connection(('127.0.0.1', {port})); ready(s.getsockname()[1]); wait()"
        child = start(code, interpreter("talker"))
        key = FiveTuple(TCP, LOOPBACK, child.numbers[0], LOOPBACK, port)
        listed = dict(owners.connections())
        assert listed[key] == owners.find([key])[0]
        assert listed[key].name == "talker"


def test_a_kernel_that_stops_answering_is_no_exception(
    owners: LinuxOwners, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    child = start(UDP_SENDER)

    def lost(*_: object) -> None:
        raise OSError(105, "No buffer space available")

    monkeypatch.setattr(owners._diag._netlink, "ask", lost)
    assert owners.find([udp(child.numbers[0])]) == [None]
    assert "No buffer space available" in caplog.text
    found = owners.find([udp(child.numbers[0])])[0]
    assert found is not None
    assert found.pid == child.pid


def test_without_the_kernels_look_up_the_socket_table_answers(
    start: Start, interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wiresock_py.owners.linux.SocketDiag.supports", lambda *_: False)
    child = start(UDP_SENDER, interpreter("app"))
    owners = LinuxOwners()
    (app,) = owners.find([udp(child.numbers[0])])
    assert app is not None
    assert (app.name, app.pid) == ("app", child.pid)
    assert "inet_diag" in caplog.text
    owners.close()


def test_a_protocol_without_sockets_is_the_systems_own(owners: LinuxOwners) -> None:
    gre = FiveTuple(GRE, LOOPBACK, 0, LOOPBACK, 0)
    assert owners.find([gre]) == [SYSTEM]
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW):  # as the client has it, to inject packets
        assert owners.find([gre]) == [SYSTEM]


def test_a_protocol_whose_sockets_cannot_be_looked_up_is_not_taken_for_the_systems(owners: LinuxOwners) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, UDP_LITE) as app:
        app.bind(("127.0.0.1", 0))
        assert owners.find([FiveTuple(UDP_LITE, LOOPBACK, 0, LOOPBACK, 0)]) == [None]


def test_a_socket_that_exists_and_that_no_process_holds_is_the_systems(
    owners: LinuxOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        key = udp(sock.getsockname()[1])
        monkeypatch.setattr(owners._holders, "find", lambda _: {})
        assert owners.find([key]) == [SYSTEM]


def test_a_socket_that_changes_hands_during_the_search_is_not_taken_for_the_systems(
    owners: LinuxOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        search = owners._holders.find
        searches: list[object] = []

        def miss_the_first_time(inodes: Collection[int]) -> dict[int, list[Process]]:
            searches.append(inodes)
            return search(inodes) if len(searches) > 1 else {}

        monkeypatch.setattr(owners._holders, "find", miss_the_first_time)
        (found,) = owners.find([udp(sock.getsockname()[1])])
    assert found is not None
    assert found.pid == os.getpid()


def test_a_socket_that_closes_during_the_search_was_nobody_knows_whose(
    owners: LinuxOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    key = udp(sock.getsockname()[1])

    def close_meanwhile(_: object) -> dict[int, list[Process]]:
        sock.close()
        return {}

    monkeypatch.setattr(owners._holders, "find", close_meanwhile)
    assert owners.find([key]) == [None]


def test_a_childs_ancestors_begin_with_its_parent(start: Start) -> None:
    child = start("ready(); wait()")
    owners = LinuxOwners()
    try:
        app = owners._proc.facts(child.pid)
        assert app is not None
        ancestors = owners.ancestors(app)
        assert ancestors[0].pid == os.getpid()
        assert owners.ancestors(app._replace(started=app.started - 1)) == ()
    finally:
        owners.close()
