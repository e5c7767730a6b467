"""The lab as fixtures: one for the whole run, and within it servers, applications and clients for each test.

wiresock_py/lab/topology.py has the picture of who is where.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wiresock_py.lab import App, Capture, Client, Lab, Server, unavailable_reason

CACHE = Path(__file__).parents[2] / ".cache"


@pytest.hookimpl(trylast=True)  # after the order was made random
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``lab`` or ``root`` need root on Linux; elsewhere they are skipped, with the reason.

    Those of the lab come first: they wait more than they work, so the others run beside them. In CI a test of either
    mark that failed is run once more, and the closing lines say why: a virtual machine that is paused for seconds fails
    what keeps real time or waits for a real kernel, and a fault of ours fails twice.
    """
    reason = unavailable_reason()
    items.sort(key=lambda item: item.get_closest_marker("lab") is None)
    for item in items:
        on_a_real_system = item.get_closest_marker("lab") or item.get_closest_marker("root")
        if item.get_closest_marker("lab") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(150))  # real programs, on a machine that others use as well
        if on_a_real_system and os.environ.get("CI"):
            item.add_marker(pytest.mark.flaky(reruns=1))
        if reason and on_a_real_system:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab with a plain access link."""
    with Lab(cache=CACHE) as made:
        yield made


@pytest.fixture(scope="session")
def impaired_lab() -> Iterator[Lab]:
    """A lab whose access link can be impaired, ``lab.impair(up={"loss": 0.1})``, and carries no super-packets."""
    with Lab(impairment={"seed": 1}, cache=CACHE) as made:
        yield made


@pytest.fixture
def server(lab: Lab) -> Iterator[Server]:
    """Debian's wireguard-go in ``lab``, without peers yet."""
    made = lab.start_server("debian")
    yield made
    made.stop()


@pytest.fixture
def app(lab: Lab) -> Iterator[Callable[[str], App]]:
    """Starts an application by its name."""
    made: list[App] = []

    def start(name: str) -> App:
        made.append(lab.app(name))
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture
def chrome(app: Callable[[str], App]) -> App:
    """The application that the tests' rules name."""
    return app("chrome")


@pytest.fixture
def firefox(app: Callable[[str], App]) -> App:
    """An application that no rule names."""
    return app("firefox")


@pytest.fixture
def capture(lab: Lab) -> Iterator[Capture]:
    """A capture of the access link for the whole test."""
    with lab.capture() as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Iterator[Callable[..., Client]]:
    """Starts our client with wg0.conf texts or files; ended in order after the test, its log shown with a failure."""
    made: list[Client] = []

    def start(*configs: str | Path, options: tuple[str, ...] = ()) -> Client:
        client = lab.start_client(*configs, options=options, wait=False)
        made.append(client)
        client.wait_until_up()
        return client

    yield start
    for one in made:
        if one.stop() != 0:
            one.reset()  # a client that was killed leaves its rules; the next test is to find none
        print(one.log())  # pytest shows it with a failure
