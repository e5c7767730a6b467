from tests.support.configs import PRESHARED_KEY, PRIVATE_KEY, PUBLIC_KEY, conf
from wiresock_py.config import format_config, parse

PEER = f"""PresharedKey = {PRESHARED_KEY}
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25
AllowedIPs = 0.0.0.0/0, ::/0
DisallowedIPs = 192.168.1.0/24
AllowedApps = chrome, /opt/x/"""
INTERFACE = """Address = 10.0.0.2/24, fd00::2
DNS = 1.1.1.1, office.example
MTU = 1420
ListenPort = 51821
PostUp = wg set %i private-key /x # y
Table = off"""


def test_printing_a_parsed_config_gives_an_equal_one() -> None:
    config = parse(conf(PEER, "", interface=INTERFACE), "f")
    assert parse(format_config(config, secrets=True), "f") == config


def test_wg_takes_the_extensions_for_comments() -> None:
    text = format_config(parse(conf(PEER), "f"), secrets=True)
    for line in text.splitlines():
        assert line.startswith("#@ws:") == ("Disallowed" in line or "Apps" in line)


def test_without_secrets_no_key_and_no_command_is_printed() -> None:
    text = format_config(parse(conf(PEER, interface=INTERFACE), "f"), secrets=False)
    assert PRIVATE_KEY not in text
    assert PRESHARED_KEY not in text
    assert "wg set" not in text
    assert text.count("(hidden)") == 4
    assert PUBLIC_KEY in text
