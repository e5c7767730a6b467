from ipaddress import ip_interface

import pytest

from wiresock_py.config import Config, Endpoint, format_config, parse
from wiresock_py.crypto import PresharedKey, PrivateKey
from wiresock_py.demo.examples import example, fitted, rules_of
from wiresock_py.lab import TUNNEL_RESOLVER
from wiresock_py.rules import Rules

KEY, SERVER_KEY, PRESHARED = PrivateKey.generate(), PrivateKey.generate(), PresharedKey.generate()
ADDRESSES = [ip_interface("10.1.2.3/32"), ip_interface("fd00::3/128")]
ENDPOINT = Endpoint("127.0.0.1", 5555)


def fit(config: Config) -> Config:
    return fitted(
        config,
        private_key=KEY,
        addresses=ADDRESSES,
        public_key=SERVER_KEY.public_key(),
        preshared_key=PRESHARED,
        endpoint=ENDPOINT,
    )


@pytest.mark.parametrize("name", ["chrome", "all-apps"])
def test_the_rules_stay_the_files_own(name: str) -> None:
    before, after = example(name), fit(example(name))
    assert rules_of(after) == rules_of(before)
    assert after.interface.mtu == before.interface.mtu
    assert after.peers[0].persistent_keepalive == before.peers[0].persistent_keepalive
    assert after.file == f"configs/{name}.conf"
    assert Rules([after]).plan().capture == Rules([before]).plan().capture


@pytest.mark.parametrize("name", ["chrome", "all-apps"])
def test_keys_addresses_and_endpoint_become_the_stages(name: str) -> None:
    before, after = example(name), fit(example(name))
    assert after.interface.private_key == KEY
    assert after.interface.addresses == tuple(ADDRESSES)
    assert (after.peers[0].public_key, after.peers[0].preshared_key) == (SERVER_KEY.public_key(), PRESHARED)
    assert after.peers[0].endpoint == ENDPOINT
    text = format_config(after, secrets=True)
    assert before.interface.private_key.to_base64() not in text
    assert before.peers[0].public_key.to_base64() not in text


def test_the_fitted_configuration_can_be_written_and_read() -> None:
    config = fit(example("chrome"))
    assert parse(format_config(config, secrets=True), config.file) == config


def test_the_resolvers_become_the_labs_one_of_each_family() -> None:
    assert [str(server) for server in example("chrome").interface.dns] == ["94.140.14.14", "94.140.15.15"]
    assert fit(example("chrome")).interface.dns == (TUNNEL_RESOLVER.v4,)


def test_the_rules_are_told_in_the_files_words() -> None:
    assert rules_of(example("chrome")) == (
        "AllowedApps = chrome; AllowedIPs = 0.0.0.0/0, ::/0; DisallowedIPs = 192.168.1.0/24"
    )
