"""Bad input and trouble: one line with the remedy, the documented exit code, and the network as it was."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wiresock_py.errors import EXIT_BACKEND, EXIT_CONFIG, EXIT_CONTROL, EXIT_NETWORK, EXIT_USAGE
from wiresock_py.lab import INTERNET, ROUTER, SERVER, App, Client, KeyPair, Lab, LabError, Server

pytestmark = [pytest.mark.lab, pytest.mark.root]

UDP6 = (socket.AF_INET6, socket.SOCK_DGRAM)
WIRESOCK = str(Path(sys.executable).with_name("wiresock-py"))
TIME = re.compile(r"\d\d:\d\d:\d\d ")


class Ended:
    """A ``run`` that ended by itself."""

    def __init__(self, exit_code: int, lines: list[str]) -> None:
        self.exit_code = exit_code
        self.lines = lines

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        (line,) = [line for line in self.lines if line.startswith(("ERROR", "error:", "Error:"))]
        return line


Run = Callable[..., Ended]


def network(lab: Lab) -> str:
    """Everything a client could change: rules of both families, routes, policy, addresses."""
    commands = ["iptables-save", "ip6tables-save", "ip route", "ip -6 route", "ip rule", "ip -6 rule", "ip address"]
    text = "".join(lab.client.run(*command.split()) for command in commands)
    # comments carry times; tables that were never looked at are not listed, empty ones are; counters move
    lines = [line.partition(" [")[0] for line in text.splitlines() if not line.startswith(("#", "*", "COMMIT"))]
    return "\n".join(line for line in lines if not re.match(r":[A-Z]+ ACCEPT", line) and "valid_lft" not in line)


@pytest.fixture
def run(lab: Lab) -> Iterator[Run]:
    """``wiresock-py run`` in the client's namespace, with what stands before the command; the network is compared."""
    with tempfile.TemporaryDirectory() as folder:

        def run(*words: str, before: tuple[str, ...] = (), timeout: float = 30.0) -> Ended:
            standing = network(lab)
            state = f"STATE_DIRECTORY={folder}/state"
            command = ["env", state, *before, WIRESOCK, "run", "--control-socket", f"{folder}/control.sock", *words]
            done = subprocess.run(
                lab.client.command(*command), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
            )
            assert network(lab) == standing
            assert "Traceback" not in done.stderr
            assert done.stdout == ""
            return Ended(done.returncode, [TIME.sub("", line) for line in done.stderr.splitlines()])

        yield run


@pytest.fixture
def text(server: Server) -> str:
    """A configuration without a mistake."""
    return server.client_config(server.add_peer(), allowed_apps="chrome")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(text: str, name: str = "wg0.conf", mode: int = 0o600) -> str:
        path = tmp_path / name
        path.touch(mode)
        path.chmod(mode)
        path.write_text(text)
        return str(path)

    return write


Write = Callable[..., str]

# The machine


def test_missing_rights(run: Run, write: Write, text: str) -> None:
    powerless = ("setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw")
    ended = run(write(text), before=powerless)
    assert ended.exit_code == EXIT_BACKEND
    assert "run as root" in ended.error


def test_no_iptables(run: Run, write: Write, text: str) -> None:
    hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /usr/sbin && exec "$@"', "sh")
    ended = run(write(text), before=hidden)
    assert ended.exit_code == EXIT_BACKEND
    assert "iptables" in ended.error
    assert "apt install iptables" in ended.error
    assert "memory" not in ended.error  # which carries no traffic


def test_unknown_backend(run: Run, write: Write, text: str) -> None:
    ended = run(write(text), "--backend", "wintun")
    assert ended.exit_code == EXIT_USAGE
    assert "wintun" in ended.error
    assert "netfilter" in ended.error
    settings = write("backend: wintun\n", "settings.yaml")
    ended = run(write(text), "--settings", settings)
    assert ended.exit_code in (EXIT_BACKEND, EXIT_CONFIG)
    assert "wintun" in ended.error
    assert "netfilter" in ended.error


# The file


def test_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    ended = run(str(tmp_path / "missing.conf"))
    assert ended.exit_code == EXIT_CONFIG
    assert "missing.conf" in ended.error


def test_a_folder_in_the_place_of_a_file(run: Run, tmp_path: Path) -> None:
    ended = run(str(tmp_path))
    assert ended.exit_code == EXIT_CONFIG
    assert str(tmp_path) in ended.error


def test_a_file_that_may_not_be_read(run: Run, write: Write, text: str) -> None:
    path = write(text)
    shutil.chown(path, user="nobody")
    ended = run(path, before=("setpriv", "--bounding-set=-dac_override,-dac_read_search"))
    assert ended.exit_code == EXIT_CONFIG
    assert path in ended.error
    assert re.search(r"permission|not be read|cannot be read", ended.error, re.IGNORECASE)


def test_a_file_of_bytes_that_are_no_text(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "wg0.conf"
    path.write_bytes(bytes(range(256)))
    ended = run(str(path))
    assert ended.exit_code == EXIT_CONFIG
    assert str(path) in ended.lines[-1]


def test_a_key_of_the_wrong_length_is_never_shown(run: Run, write: Write, text: str) -> None:
    key = re.search(r"PrivateKey = (\S+)", text)
    assert key is not None
    ended = run(write(text.replace(key[1], key[1][:-5])))
    assert ended.exit_code == EXIT_CONFIG
    assert "wg0.conf:2:" in ended.error
    assert key[1][:-5] not in ended.error


def test_the_own_public_key_in_the_place_of_the_servers(run: Run, write: Write, server: Server) -> None:
    peer = server.add_peer()
    text = server.client_config(peer).replace(server.keys.public, peer.keys.public)
    ended = run(write(text))
    assert ended.exit_code == EXIT_CONFIG
    assert "PublicKey" in ended.error


def test_every_mistake_gets_its_line(run: Run, write: Write, text: str) -> None:
    ended = run(write(text.replace("AllowedIPs", "AlowedIPs").replace("Endpoint = ", "Endpoint = :")))
    assert ended.exit_code == EXIT_CONFIG
    errors = [line for line in ended.lines if line.startswith("ERROR")]
    assert len(errors) == len(ended.lines) == 2
    assert any("AllowedIPs" in line for line in errors)


def test_a_file_others_can_read_is_a_warning_with_the_remedy(lab: Lab, run: Run, write: Write, text: str) -> None:
    silent = text.replace(str(SERVER.v4), str(INTERNET.v4))
    ended = run(write(silent, mode=0o644), "--connect-timeout", "0.5")
    assert ended.exit_code == EXIT_NETWORK  # it went on
    (warning,) = [line for line in ended.lines if line.startswith("WARNING")]
    assert "chmod 600" in warning


# The network outside


def test_an_endpoint_that_does_not_resolve(run: Run, write: Write, server: Server) -> None:
    text = server.client_config(server.add_peer(), endpoint="nowhere.example:51820")
    ended = run(write(text))
    assert ended.exit_code == EXIT_NETWORK
    assert "nowhere.example" in ended.error
    assert str(ROUTER.v4) in ended.error  # who was asked


def test_a_dns_server_that_does_not_answer(lab: Lab, run: Run, write: Write, server: Server) -> None:
    text = server.client_config(server.add_peer(), endpoint="vpn.lab:51820")
    lab.isp.run("iptables", "-I", "INPUT", "-p", "udp", "--dport", "53", "-j", "DROP")
    try:
        ended = run(write(text))
    finally:
        lab.isp.run("iptables", "-D", "INPUT", "-p", "udp", "--dport", "53", "-j", "DROP")
    assert ended.exit_code == EXIT_NETWORK
    assert "does not answer" in ended.error


def test_a_port_in_use(lab: Lab, run: Run, write: Write, server: Server) -> None:
    text = server.client_config(server.add_peer(), listen_port=5555)
    with lab.client.socket(*UDP6) as taken:
        taken.bind(("::", 5555))
        ended = run(write(text))
    assert ended.exit_code == EXIT_NETWORK
    assert "UDP port 5555 is in use" in ended.error
    assert "ListenPort" in ended.error


def test_a_silent_server(run: Run, write: Write, text: str) -> None:
    silent = text.replace(str(SERVER.v4), str(INTERNET.v4))
    begun = time.monotonic()
    ended = run(write(silent), "--connect-timeout", "1")
    assert time.monotonic() - begun < 10
    assert ended.exit_code == EXIT_NETWORK
    assert f"no answer from {INTERNET.v4}:" in ended.error
    assert "--connect-timeout 0" in ended.error


def test_a_wrong_server_key(run: Run, write: Write, text: str, server: Server) -> None:
    ended = run(write(text.replace(server.keys.public, KeyPair.generate().public)), "--connect-timeout", "1")
    assert ended.exit_code == EXIT_NETWORK
    assert "PublicKey" in ended.error


@pytest.fixture
def without_routes(lab: Lab) -> Iterator[Callable[[int], None]]:
    """Takes a family's default route away until the test is over."""
    taken: list[int] = []

    def take(family: int) -> None:
        lab.client.run("ip", f"-{family}", "route", "del", "default")
        taken.append(family)

    yield take
    for family in taken:
        lab.client.ip(f"route add default via {ROUTER.of(family)}")


def test_no_default_route(run: Run, write: Write, text: str, without_routes: Callable[[int], None]) -> None:
    without_routes(4)
    without_routes(6)
    ended = run(write(text))
    assert ended.exit_code == EXIT_NETWORK
    assert "no default route" in ended.error


def test_a_family_without_a_route_is_a_warning_and_the_other_goes_on(
    lab: Lab, client: Callable[..., Client], text: str, chrome: App, without_routes: Callable[[int], None]
) -> None:
    without_routes(6)
    running = client(text)
    running.wait_until_connected()
    assert "no IPv6 route" in running.log()
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)


# Another client


def test_a_second_client_leaves_the_first_alone(
    lab: Lab, client: Callable[..., Client], run: Run, write: Write, text: str, chrome: App
) -> None:
    first = client(text)
    first.wait_until_connected()
    ended = run(write(text), "--control-socket", str(first.control))
    assert ended.exit_code == EXIT_CONTROL
    assert "another wiresock-py is running" in ended.error
    ended = run(write(text))  # with a control socket of its own it gets as far as the queues
    assert ended.exit_code == EXIT_BACKEND
    assert "held by another process" in ended.error
    assert chrome.http(url=INTERNET.url(4)) == SERVER.of(4)


def test_reset_beside_a_running_client_is_refused(client: Callable[..., Client], text: str) -> None:
    running = client(text)
    with pytest.raises(Exception, match="a client is running"):
        running.reset()


# The end


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_to_every_process_at_once_leaves_the_network_as_it_was(
    lab: Lab, client: Callable[..., Client], text: str, number: int
) -> None:
    standing = network(lab)
    running = client(text)
    running.wait_until_connected()
    assert network(lab) != standing
    pids = [str(running.pid), str(running.worker())]
    subprocess.run(["kill", f"-{number}", *pids], check=True)
    assert running.wait(15) == 0
    assert network(lab) == standing


@pytest.mark.parametrize("moment", [0.0, 0.2, 0.5])
def test_a_worker_killed_while_the_client_stops_leaves_the_network_as_it_was(
    lab: Lab, client: Callable[..., Client], text: str, moment: float
) -> None:
    standing = network(lab)
    running = client(text)
    running.wait_until_connected()
    worker = running.worker()
    subprocess.run(["kill", "-2", str(running.pid)], check=True)
    time.sleep(moment)
    subprocess.run(["kill", "-9", str(worker)], check=False, stderr=subprocess.DEVNULL)
    running.wait(15)
    assert network(lab) == standing


@pytest.mark.parametrize("moment", [0.5, 0.8, 1.1])
def test_a_worker_killed_while_it_starts_leaves_the_network_as_it_was_or_is_replaced(
    lab: Lab, text: str, moment: float
) -> None:
    standing = network(lab)
    running = lab.start_client(text, wait=False)
    time.sleep(moment)
    with contextlib.suppress(LabError):  # there is none yet
        running.kill_worker()
    time.sleep(1)
    if running.running:
        running.wait_until_connected(20)
        running.stop()
    assert network(lab) == standing
