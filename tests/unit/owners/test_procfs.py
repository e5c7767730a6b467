import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("/proc is Linux's", allow_module_level=True)

from tests.support.processes import Interpreter, Start
from wiresock_py.owners.procfs import ProcFs, parse_stat

HOLD_ONE_SOCKET = """
s = socket.socket()
ready(os.fstat(s.fileno()).st_ino, s.fileno())
wait()
"""


@pytest.fixture
def proc() -> Iterator[ProcFs]:
    files = ProcFs()
    yield files
    files.close()


def stat_line(name: bytes, parent: int = 7, started: int = 4242) -> bytes:
    return b"12 (" + name + b") S %d %s %d 0 0\n" % (parent, b" ".join([b"0"] * 17), started)


@given(st.binary(max_size=15))
def test_stat_is_read_past_any_command_name(name: bytes) -> None:
    assert parse_stat(stat_line(name)) == (4242.0, 7)


@pytest.mark.parametrize("name", [b"a b", b"a) S 9 9", b"((", b"a\nb) R 1", b") R 1 1 1 1 1 1 1 1 1 1 1 1 1 1"])
def test_a_command_name_cannot_pass_for_other_fields(name: bytes) -> None:
    assert parse_stat(stat_line(name)) == (4242.0, 7)


@given(st.binary(max_size=200))
def test_what_is_no_stat_file_is_none_or_numbers_never_an_exception(content: bytes) -> None:
    parse_stat(content)


def test_the_processes_include_this_one(proc: ProcFs) -> None:
    pids = proc.processes()
    assert os.getpid() in pids
    assert pids == sorted(pids)


def test_sockets_are_found_by_inode_with_the_link_that_names_them(proc: ProcFs) -> None:
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as local:
        found = proc.sockets(os.getpid())
        for one in (tcp, local):
            link = found[os.fstat(one.fileno()).st_ino]
            assert link == b"%d/fd/%d" % (os.getpid(), one.fileno())


def test_the_number_of_descriptors_follows_what_is_opened(proc: ProcFs) -> None:
    before = proc.descriptors(os.getpid())
    if before == 0:
        pytest.skip("this kernel is older than 6.2 and does not count descriptors")
    with socket.socket():
        assert proc.descriptors(os.getpid()) == before + 1
    assert proc.descriptors(os.getpid()) == before


def test_a_holder_is_known_by_pid_start_time_and_executable(
    proc: ProcFs, start: Start, interpreter: Interpreter
) -> None:
    child = start(HOLD_ONE_SOCKET, interpreter("my (odd) app"))
    inode, descriptor = child.numbers
    holder = proc.holder(child.pid, b"%d/fd/%d" % (child.pid, descriptor), inode)
    assert holder is not None
    assert holder.app.name == "my (odd) app"
    assert holder.app.pid == child.pid
    assert holder.parent == os.getpid()
    started, _ = parse_stat(Path(f"/proc/{child.pid}/stat").read_bytes()) or (0.0, 0)
    assert holder.app.started == started > 0


def test_a_command_name_full_of_traps_changes_nothing(proc: ProcFs, start: Start) -> None:
    child = start(
        """
        import ctypes
        ctypes.CDLL(None).prctl(15, b"x) S 1 (\\n1 1", 0, 0, 0)  # PR_SET_NAME
        s = socket.socket()
        ready(os.fstat(s.fileno()).st_ino, s.fileno())
        wait()
        """
    )
    assert b"x) S 1 (" in Path(f"/proc/{child.pid}/stat").read_bytes()
    inode, descriptor = child.numbers
    holder = proc.holder(child.pid, b"%d/fd/%d" % (child.pid, descriptor), inode)
    assert holder is not None
    assert holder.parent == os.getpid()
    assert holder.app.path == str(Path(sys.executable).resolve())


def test_a_deleted_executable_keeps_its_name(proc: ProcFs, start: Start, interpreter: Interpreter) -> None:
    path = interpreter("updated")
    child = start(HOLD_ONE_SOCKET, path)
    path.unlink()
    assert str(Path(f"/proc/{child.pid}/exe").readlink()).endswith(" (deleted)")
    app = proc.facts(child.pid)
    assert app is not None
    assert app.path == str(path)


def test_an_executable_replaced_by_an_update_keeps_its_name(
    proc: ProcFs, start: Start, interpreter: Interpreter
) -> None:
    path = interpreter("updated")
    child = start(HOLD_ONE_SOCKET, path)
    interpreter("new").rename(path)
    app = proc.facts(child.pid)
    assert app is not None
    assert app.path == str(path)


def test_a_file_really_called_deleted_is_not_taken_for_another(
    proc: ProcFs, start: Start, interpreter: Interpreter
) -> None:
    path = interpreter("chrome (deleted)")
    child = start(HOLD_ONE_SOCKET, path)
    app = proc.facts(child.pid)
    assert app is not None
    assert app.path == str(path)


def test_a_link_that_now_leads_elsewhere_names_nobody(proc: ProcFs) -> None:
    with socket.socket() as one:
        link, inode = b"%d/fd/%d" % (os.getpid(), one.fileno()), os.fstat(one.fileno()).st_ino
        assert proc.holder(os.getpid(), link, inode) is not None
        assert proc.holder(os.getpid(), link, inode + 1) is None
    assert proc.holder(os.getpid(), link, inode) is None


def test_a_process_that_is_gone_is_none_and_no_exception(proc: ProcFs, start: Start) -> None:
    child = start(HOLD_ONE_SOCKET)
    inode, descriptor = child.numbers
    child.stop()
    assert proc.holder(child.pid, b"%d/fd/%d" % (child.pid, descriptor), inode) is None
    assert proc.facts(child.pid) is None
    assert proc.sockets(child.pid) == {}
    assert proc.descriptors(child.pid) == 0


def test_a_kernel_thread_has_no_executable_and_is_none(proc: ProcFs) -> None:
    kernel_threads = [pid for pid in proc.processes() if (parse_stat(_stat(pid)) or (0.0, 0))[1] == 2]
    if not kernel_threads:
        pytest.skip("no kernel threads in this pid namespace")
    assert proc.facts(kernel_threads[0]) is None


def _stat(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return b""


def test_sockets_of_a_process_whose_main_thread_has_ended_are_found(
    proc: ProcFs, start: Start, interpreter: Interpreter
) -> None:
    child = start(
        """
        import ctypes, threading
        s = socket.socket()
        def stay():
            time.sleep(0.2)
            ready(os.fstat(s.fileno()).st_ino)
            os.read(0, 1)
            os._exit(0)
        threading.Thread(target=stay).start()
        ctypes.CDLL(None).pthread_exit(None)
        """,
        interpreter("headless"),
    )
    (inode,) = child.numbers
    assert b") Z " in _stat(child.pid)
    link = proc.sockets(child.pid)[inode]
    holder = proc.holder(child.pid, link, inode)
    assert holder is not None
    assert (holder.app.pid, holder.app.name) == (child.pid, "headless")


def test_reads_do_not_give_the_interpreter_lock_away(proc: ProcFs) -> None:
    """Beside a thread that never yields, each call that gives the lock away costs a whole switch interval."""
    stop = threading.Event()
    seen: list[int] = []

    def busy() -> None:
        while not stop.is_set():
            for _ in range(50_000):
                pass
            seen.append(1)

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=busy)
    sys.setswitchinterval(0.5)  # far beyond what the calls take: only a voluntary switch lets the other thread run
    try:
        thread.start()
        pids = proc.processes()
        before = len(seen)
        for pid in pids:
            proc.descriptors(pid)
            proc.sockets(pid)
        assert len(seen) == before
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        thread.join()
