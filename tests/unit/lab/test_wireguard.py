"""wiresock_py.lab.wireguard: keys and configurations."""

import base64
from pathlib import Path

from wiresock_py.config import parse
from wiresock_py.lab import Endpoint, KeyPair, Namespace, Peer, Server


def server() -> Server:
    return Server(Namespace("n"), Path("/bin/true"), "wg0", Path("/dev/null"))


def test_a_key_pair_shows_its_public_half_only() -> None:
    keys = KeyPair.generate()
    assert len(base64.b64decode(keys.public)) == len(base64.b64decode(keys.private)) == 32
    assert keys.private not in repr(keys)
    peer = Peer(keys, preshared_key="secret")
    assert keys.private not in repr(peer)
    assert "secret" not in repr(peer)


def test_a_clients_configuration_is_one_that_the_program_reads() -> None:
    made = server()
    peer = made.add_peer(preshared=True, number=10)
    text = made.client_config(peer, allowed_apps="chrome", disallowed_ips="192.168.1.0/24", listen_port=4000)
    config = parse(text, "wg0.conf")
    assert [str(address) for address in config.interface.addresses] == ["10.66.66.10/32", "fd42:42:42::a/128"]
    assert config.interface.listen_port == 4000
    (read,) = config.peers
    assert str(read.public_key) == made.keys.public
    assert read.preshared_key is not None
    assert str(read.endpoint) == "198.51.100.2:51820"
    assert [str(network) for network in read.allowed_ips] == ["0.0.0.0/0", "::/0"]


def test_what_is_not_set_is_not_written() -> None:
    made = server()
    text = made.client_config(made.add_peer())
    for key in ("PresharedKey", "ListenPort", "PersistentKeepalive", "AllowedApps", "DisallowedIPs"):
        assert key not in text


def test_for_wg_there_are_only_words_that_wg_knows() -> None:
    made = Endpoint(port=1234)
    caller = made.wireguard_config(Peer(KeyPair.generate()))
    assert {line.split(" = ")[0] for line in caller.splitlines() if "=" in line} == {
        "PrivateKey",
        "PublicKey",
        "AllowedIPs",
        "Endpoint",
    }
    called = made.wireguard_config(Peer(KeyPair.generate(), endpoint="[2001:db8::1]:4000"))
    assert "ListenPort = 4000" in called
    assert "Endpoint" not in called
