"""The lab's hosts, links and addresses: one definition for the demo, the end-to-end tests and the benchmarks.

                 192.168.1.0/24                        198.51.100.0/24
                 2001:db8:1::/64                       2001:db8:2::/64
    ┌────────┐   access link    ┌──────────┐                          ┌───────────────┐
    │ client ├──────────────────┤   isp    ├──────────────────────────┤    server     │
    │  .100  │ eth0        lan0 │ .1 router│ srv0                eth0 │ .2  WireGuard │
    │  .101  │  ^capture, and   │ .1 DNS   │                          │ inner networks│
    └────────┘   impairment     │ .50 a LAN│                          │ 10.66.66.0/24 │
     apps and      are here     │    host  │                          │ fd42:42:42::  │
     our client                 └────┬─────┘                          └───────┬───────┘
                                net0 │ 203.0.113.0/24                    eth1 │ masquerades the
                                     │ 2001:db8:3::/64                        │ inner networks
                                eth0 │              ┌──────────┐              │
                                     └──────────────┤ internet ├──────────────┘
                                                    │   .10    │ eth1
                                                    └──────────┘
                                       HTTP, DNS, echo, iperf3; behind eth1 only:
                                       the tunnel's resolver, 192.0.2.53

The client's traffic outside the tunnel reaches the internet host by the isp and comes from the client's own address;
what goes through the tunnel comes from the server's. The tunnel's resolver has no route at the isp: a question that
reaches it went through the tunnel. Addresses are from the blocks kept for documentation (RFC 5737, RFC 3849), so that
none of them is anybody's.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from wiresock_py.lab.namespaces import Namespace


def inner_networks(site: int) -> tuple[str, str]:
    """The inner networks of the server number *site*, counted from 0."""
    return f"10.66.{66 + site}.0/24", f"fd42:42:{42 + site}::/64"


@dataclass(frozen=True, slots=True)
class Host:
    """A host's address in each family."""

    v4: IPv4Address
    v6: IPv6Address

    def of(self, family: int) -> str:
        """Its address as text in family 4 or 6."""
        return str(self.v4 if family == 4 else self.v6)

    def url(self, family: int, path: str = "/") -> str:
        return f"http://{self.v4}{path}" if family == 4 else f"http://[{self.v6}]{path}"

    def endpoint(self, family: int, port: int) -> str:
        return f"{self.v4}:{port}" if family == 4 else f"[{self.v6}]:{port}"


def _host(v4: str, v6: str) -> Host:
    return Host(IPv4Address(v4), IPv6Address(v6))


CLIENT = _host("192.168.1.100", "2001:db8:1::100")
CLIENT_OTHER = _host("192.168.1.101", "2001:db8:1::101")  # a second address of the client, used where asked for
ROUTER = _host("192.168.1.1", "2001:db8:1::1")  # also the isp's resolver
LAN_HOST = _host("192.168.1.50", "2001:db8:1::50")
SERVER = _host("198.51.100.2", "2001:db8:2::2")
INTERNET = _host("203.0.113.10", "2001:db8:3::10")
OTHER_SITE = _host("203.0.113.11", "2001:db8:3::11")  # the internet host under a second address
TUNNEL_RESOLVER = _host("192.0.2.53", "2001:db8:53::53")

INNER = ("10.66.0.0/16", "fd42:42::/32")
"""The inner networks of all servers; see :func:`inner_networks` for those of one."""
INNER_SERVER = _host("10.66.66.1", "fd42:42:42::1")
INNER_CLIENT = _host("10.66.66.2", "fd42:42:42::2")

NAMES = {
    "vpn.lab": SERVER,
    "internet.lab": INTERNET,
    "other.lab": OTHER_SITE,
    "lan.lab": LAN_HOST,
    "client.lab": CLIENT,
}
"""What both resolvers know. Beside these, ``asker.lab`` is who asks and ``resolver.lab`` who answers."""

ROLES = ("client", "isp", "server", "internet")

_MASQUERADE = """*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s {inner} -o eth1 -j MASQUERADE
-A POSTROUTING -s {inner} -o eth0 -j MASQUERADE
COMMIT
"""


def veth(one: Namespace, one_name: str, other: Namespace, other_name: str) -> None:
    """A cable between two namespaces; neither end is ever in the host's own."""
    one.ip(f"link add {one_name} type veth peer name {other_name} netns {other.name}")


def connect(isp: Namespace, server: Namespace, internet: Namespace) -> None:
    """Everything but the access link between ``client`` and ``isp``: that one comes plain or impaired."""
    for router in (isp, server):
        router.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
    veth(isp, "srv0", server, "eth0")
    veth(isp, "net0", internet, "eth0")
    veth(server, "eth1", internet, "eth1")
    isp.ip(
        "address add 198.51.100.1/24 dev srv0",
        "address add 2001:db8:2::1/64 dev srv0 nodad",
        "address add 203.0.113.1/24 dev net0",
        "address add 2001:db8:3::1/64 dev net0 nodad",
        "link set srv0 up",
        "link set net0 up",
    )
    server.ip(
        f"address add {SERVER.v4}/24 dev eth0",
        f"address add {SERVER.v6}/64 dev eth0 nodad",
        # unnumbered: the same address on both links, so that the server has one address for all the world
        f"address add {SERVER.v4}/32 dev eth1",
        f"address add {SERVER.v6}/128 dev eth1 nodad",
        "link set eth0 up",
        "link set eth1 up",
        "route add default via 198.51.100.1",
        "route add default via 2001:db8:2::1",
        *(f"route add {address} dev eth1" for host in (INTERNET, OTHER_SITE) for address in (host.v4, host.v6)),
        f"route add {TUNNEL_RESOLVER.v4} dev eth1",
        f"route add {TUNNEL_RESOLVER.v6} dev eth1",
    )
    internet.ip(
        *(f"address add {host.v4}/24 dev eth0" for host in (INTERNET, OTHER_SITE)),
        *(f"address add {host.v6}/64 dev eth0 nodad" for host in (OTHER_SITE, INTERNET)),
        # Linux answers neighbour solicitations for the asked device's own addresses only (ARP: for all of the host's)
        *(f"address add {host.v6}/128 dev eth1 nodad" for host in (OTHER_SITE, TUNNEL_RESOLVER, INTERNET)),
        f"address add {TUNNEL_RESOLVER.v4}/32 dev eth1",
        "link set eth0 up",
        "link set eth1 up",
        "route add default via 203.0.113.1",
        "route add default via 2001:db8:3::1",
        f"route add {SERVER.v4} dev eth1 src {INTERNET.v4}",
        f"route add {SERVER.v6} dev eth1 src {INTERNET.v6}",
    )
    server.restore_rules("iptables", _MASQUERADE.format(inner=INNER[0]))
    server.restore_rules("ip6tables", _MASQUERADE.format(inner=INNER[1]))


def address_access_link(client: Namespace, isp: Namespace, *, mtu: int = 1500) -> None:
    """Addresses and routes of the access link, whatever it is made of."""
    isp.ip(
        f"link set lan0 up mtu {mtu}",
        *(f"address add {host.v4}/24 dev lan0" for host in (ROUTER, LAN_HOST)),
        # of several IPv6 addresses the one added last is the source of what begins here; of IPv4 ones the first
        *(f"address add {host.v6}/64 dev lan0 nodad" for host in (LAN_HOST, ROUTER)),
    )
    client.ip(
        f"link set eth0 up mtu {mtu}",
        *(f"address add {host.v4}/24 dev eth0" for host in (CLIENT, CLIENT_OTHER)),
        *(f"address add {host.v6}/64 dev eth0 nodad" for host in (CLIENT_OTHER, CLIENT)),
        f"route add default via {ROUTER.v4}",
        f"route add default via {ROUTER.v6}",
    )


def resolv_conf(*resolvers: str) -> str:
    """The text of a resolv.conf; short patience, since all hosts are on this machine."""
    return "".join(f"nameserver {resolver}\n" for resolver in resolvers) + "options timeout:2 attempts:2\n"
