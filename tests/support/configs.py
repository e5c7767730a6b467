"""Texts of wg0.conf files, whole but for what a test is about."""

from wiresock_py.config import Config, parse

PRIVATE_KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
PUBLIC_KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
PUBLIC_KEY_2 = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
PRESHARED_KEY = "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak="

EVERYTHING = "AllowedIPs = 0.0.0.0/0, ::/0"
BOTH_ADDRESSES = "Address = 10.66.66.2/32, fd42:42:42::2/128"


def conf(*peers: str, interface: str = BOTH_ADDRESSES) -> str:
    """A file with *interface*'s lines below the private key, and a peer for each of *peers*, its lines."""
    keys = (PUBLIC_KEY, PUBLIC_KEY_2)
    text = f"[Interface]\nPrivateKey = {PRIVATE_KEY}\n{interface}\n"
    for key, lines in zip(keys, peers, strict=False):
        text += f"[Peer]\nPublicKey = {key}\n{lines}\n"
    return text


def config(*peers: str, interface: str = BOTH_ADDRESSES, file: str = "wg0.conf") -> Config:
    """As :func:`conf`, parsed."""
    return parse(conf(*peers, interface=interface), file)
