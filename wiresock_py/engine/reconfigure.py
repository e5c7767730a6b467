"""Another configuration for a link at work: what can fail comes first and changes nothing, what follows cannot.

Peers that both configurations have keep their sessions; so does everything about them that is not written anew.
"""

from dataclasses import dataclass, field

from wiresock_py.config import Config
from wiresock_py.crypto import Datagram, PublicKey, Tunnel
from wiresock_py.engine.links import Link
from wiresock_py.engine.udp import Endpoint, UdpSocket
from wiresock_py.errors import ConfigError, NetworkError


@dataclass(slots=True)
class Change:
    """A link's next configuration, with all that it needs from the system."""

    config: Config
    endpoints: dict[PublicKey, Endpoint | None]
    """Of the peers that are new or whose Endpoint is another one; resolved."""
    socket: UdpSocket | None
    """A new one where ListenPort is another."""
    departed: list[Tunnel] = field(default_factory=list)
    """Peers that the next configuration lacks, once it is adopted; not closed yet."""
    called: list[Tunnel] = field(default_factory=list)
    """Peers to be called: new ones, those at another place, those whose keys changed."""

    def close(self) -> None:
        """Give back what was not adopted."""
        if self.socket is not None:
            self.socket.close()


def prepare(link: Link, config: Config) -> Change:
    """What *link* needs to go on with *config*. Raises NetworkError for a name or a port that fails.

    ConfigError for what needs a new start.
    """
    if config.interface.via != link.config.interface.via:
        place = config.interface.place("Via") if config.interface.via else link.config.interface.place("Via")
        raise ConfigError(
            "Via cannot change while the tunnel is up", "stop and start again", file=config.file, line=place.line
        )
    before = {peer.public_key: peer for peer in link.config.peers}
    endpoints: dict[PublicKey, Endpoint | None] = {}
    for peer in config.peers:
        known = before.get(peer.public_key)
        if known is not None and known.endpoint == peer.endpoint:
            continue
        endpoints[peer.public_key] = link.resolve(peer.endpoint.host, peer.endpoint.port) if peer.endpoint else None
    port = config.interface.listen_port
    if port == link.config.interface.listen_port or port == link.socket.port:
        return Change(config, endpoints, None)
    try:
        mark = 0 if link.outer else link.mark
        return Change(config, endpoints, UdpSocket(port, mark=mark, compiled=link.datapath.compiled))
    except NetworkError as error:
        raise NetworkError(f"{config.file}: {error}", error.remedy) from None


def adopt(link: Link, change: Change, now: float) -> list[Datagram]:
    """Go on with *change*. The caller holds the lock, sends what this returns, and then ``release``s what departed.

    Peers that departed keep their sessions until then, for what there is still to say to them.
    """
    old = {peer.public_key: peer for peer in link.config.peers}
    tunnels = {tunnel.public_key: tunnel for tunnel in link.peers}
    rekeyed = link.config.interface.private_key != change.config.interface.private_key
    if rekeyed:
        link.device.set_private_key(change.config.interface.private_key)
    link.adopt(change.config)
    datagrams: list[Datagram] = []
    peers: list[Tunnel] = []
    for peer in change.config.peers:
        tunnel = tunnels.pop(peer.public_key, None)
        if tunnel is None:
            tunnel = link.add_peer(peer, change.endpoints[peer.public_key])
        else:
            tunnel.mtu = link.mtu
            link.device.set_allowed_ips(tunnel, peer.allowed_ips)
            datagrams += tunnel.set_persistent_keepalive(peer.persistent_keepalive, now)
            another_secret = old[peer.public_key].preshared_key != peer.preshared_key
            if another_secret:
                tunnel.set_preshared_key(peer.preshared_key)
            if peer.public_key in change.endpoints:
                tunnel.endpoint = change.endpoints[peer.public_key]
            elif not (another_secret or rekeyed):
                peers.append(tunnel)
                continue
        peers.append(tunnel)
        change.called.append(tunnel)
    link.peers = peers  # in one step: others read it without the lock
    change.departed = list(tunnels.values())
    if change.socket is not None:
        change.socket, link.socket = link.socket, change.socket
    return datagrams


def release(change: Change) -> None:
    """Close the peers that departed. The caller holds the lock; ``Change.close`` then takes the old socket."""
    for tunnel in change.departed:
        tunnel.close()
