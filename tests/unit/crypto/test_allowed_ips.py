"""What the vector section ``allowed_ips`` leaves open."""

from ipaddress import ip_address, ip_interface, ip_network

from wiresock_py.crypto.allowed_ips import AllowedIPs


class Owner:
    def __eq__(self, other: object) -> bool:
        return True  # equal to everything: only identity may count

    __hash__ = object.__hash__


def test_only_the_owner_itself_can_give_a_prefix_up() -> None:
    table: AllowedIPs[Owner] = AllowedIPs()
    a, b = Owner(), Owner()
    table.insert(ip_network("10.0.0.0/8"), a)
    assert not table.remove(ip_network("10.0.0.0/8"), b)
    assert not table.remove(ip_network("10.0.0.0/9"), a)
    assert table.remove(ip_network("10.0.0.0/8"), a)
    assert not table.remove(ip_network("10.0.0.0/8"), a)
    assert table.lookup(ip_address("10.1.1.1").packed) is None


def test_an_interface_stands_for_its_network() -> None:
    table: AllowedIPs[Owner] = AllowedIPs()
    a = Owner()
    table.insert(ip_interface("10.1.2.3/8"), a)
    assert table.networks(a) == [ip_network("10.0.0.0/8")]
    assert table.remove(ip_interface("10.9.9.9/8"), a)


def test_the_table_counts_prefixes_not_owners() -> None:
    table: AllowedIPs[Owner] = AllowedIPs()
    a = Owner()
    for prefix in ("10.0.0.0/8", "10.0.0.0/24", "::/0"):
        table.insert(ip_network(prefix), a)
        table.insert(ip_network(prefix), a)
    assert len(table) == 3
    table.remove_owner(a)
    assert len(table) == 0


def test_an_address_of_no_family_belongs_to_nobody() -> None:
    table: AllowedIPs[Owner] = AllowedIPs()
    table.insert(ip_network("0.0.0.0/0"), Owner())
    assert table.lookup(b"") is None
    assert table.lookup(b"12345") is None
