import pytest

from tests.support.peers import connect, pair
from wiresock_py.crypto.tunnel import Tunnel


@pytest.fixture
def ends() -> tuple[Tunnel, Tunnel]:
    """A client and a server with a session."""
    client, server = pair()
    connect(client, server)
    return client, server
