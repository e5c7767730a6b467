"""What a valid config makes one wonder about: notices, each with its remedy."""

import getpass
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from wiresock_py.config.access import access_list, other_readers
from wiresock_py.config.model import Config, Notice, Peer
from wiresock_py.config.store import SUFFIX
from wiresock_py.config.text import shown
from wiresock_py.config.values import is_path, is_rooted
from wiresock_py.crypto.keys import PublicKey


def advise(config: Config) -> Iterator[Notice]:
    """What the config alone shows."""
    if not config.peers:
        yield Notice("there is no [Peer]: nothing will be tunnelled", "add one", config.file)
    for peer in config.peers:
        if not peer.allowed_ips:
            yield _at(
                config, peer, message="this [Peer] has no AllowedIPs: nothing goes to it", remedy="add AllowedIPs"
            )
        if peer.endpoint is None:
            message = "this [Peer] has no Endpoint: nothing can be sent until it speaks first"
            yield _at(config, peer, message=message, remedy="add Endpoint = server:port")
        if peer.allowed_apps and peer.disallowed_apps:
            message = "DisallowedApps changes nothing beside AllowedApps: only the apps of AllowedApps are tunnelled"
            yield _at(config, peer, "DisallowedApps", message=message, remedy="keep one of the two lists")
        if peer.allowed_domains and peer.disallowed_domains:
            message = "DisallowedDomains changes nothing beside AllowedDomains: only those names are tunnelled"
            yield _at(config, peer, "DisallowedDomains", message=message, remedy="keep one of the two lists")
        yield from _families(config, peer)
    for server in config.interface.dns:
        if server not in config.dns_servers(server.version):
            place = config.interface.place("DNS", server)
            message = f"DNS server {server} cannot be reached through this tunnel, so no query is sent to it"
            yield Notice(message, "add it to the AllowedIPs of the peer that it is behind", config.file, *place)
    if config.interface.dns_search:
        first, *others = config.interface.dns_search
        names = f"search domains {', '.join((first, *others))} are" if others else f"search domain {first} is"
        message = f"the {names} not used: this client leaves this machine's DNS settings as they are"
        place = config.interface.place("DNS", first)
        yield Notice(message, f"write names in full, as in host.{first}", config.file, *place)


def _families(config: Config, peer: Peer) -> Iterator[Notice]:
    for version in (4, 6):
        networks = [network for network in peer.allowed_ips if network.version == version]
        if not networks or config.interface.has_family(version):
            continue
        first, *others = networks
        blocked = f"{first} and {len(others)} more prefixes are" if others else f"{first} is"
        message = f"the tunnel has no IPv{version} address: for tunnelled apps {blocked} blocked"
        remedy = f"ask your provider for an IPv{version} address, or remove the IPv{version} prefixes"
        yield _at(config, peer, "AllowedIPs", first, message=message, remedy=remedy)


def advise_together(configs: Sequence[Config]) -> Iterator[Notice]:
    """What several configs show that are to run at the same time."""
    clients: dict[tuple[PublicKey, PublicKey], Config] = {}
    ports: dict[int, Config] = {}
    names: dict[str, Config] = {}
    for config in configs:
        namesake = names.setdefault(config.name, config)
        if namesake.file == config.file and namesake is not config:
            yield Notice("this file is given twice", "name it once", config.file)
            continue
        if namesake is not config:
            message = f"{namesake.file} is a tunnel of the name {shown(config.name)}, too"
            yield Notice(
                message, "rename a file: rules, Via, status and log know a tunnel by its file's name", config.file
            )
        own = config.interface.private_key.public_key()
        for peer in config.peers:
            earlier = clients.setdefault((own, peer.public_key), config)
            if earlier is not config:
                message = f"a server takes this tunnel and that of {earlier.file} for one client: they share their keys"
                remedy = "put the rules of both into one file, or ask for a key pair for each"
                yield _at(config, peer, message=message, remedy=remedy)
        port = config.interface.listen_port
        if port and ports.setdefault(port, config) is not config:
            message = f"{ports[port].file} has the same ListenPort {port}"
            remedy = "leave ListenPort out, or give each file its own"
            yield Notice(message, remedy, config.file)


def advise_file(path: Path) -> Iterator[Notice]:
    """What the file's permissions show: who reads the private key can pretend to be this machine."""
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Notice("other users may read this file, and it holds a private key", f"chmod 600 {path}", str(path))
    if sys.platform == "win32" and path.suffix != SUFFIX:
        try:
            others = other_readers(access_list(path))
        except OSError:
            return  # a file system without access lists tells nothing
        if others:
            remedy = f'icacls "{path}" /inheritance:r /grant:r "{getpass.getuser()}:F" *S-1-5-18:F *S-1-5-32-544:F'
            yield Notice(f"{', '.join(others)} may read this file, and it holds a private key", remedy, str(path))


def advise_apps(config: Config) -> Iterator[Notice]:
    """What the machine's programs show: entries of app lists that no process will match."""
    for peer in config.peers:
        lists = (
            ("AllowedApps", peer.allowed_apps),
            ("DisallowedApps", peer.disallowed_apps),
            ("AllowedAppTrees", peer.allowed_app_trees),
            ("DisallowedAppTrees", peer.disallowed_app_trees),
        )
        for key, entries in lists:
            for entry in entries:
                message, remedy = _app_trouble(entry)
                if message:
                    yield _at(config, peer, key, entry, message=message, remedy=remedy)


def _app_trouble(entry: str) -> tuple[str, str]:
    if entry.startswith("@"):
        return "", ""
    if not is_path(entry):
        return _name_trouble(entry)
    if not is_rooted(entry) or (os.name == "posix") != entry.startswith("/"):
        return "", ""
    path = Path(entry)
    if not path.exists():
        return f"there is no {shown(entry)} on this machine", "check the spelling; case counts"
    if path.is_file() and _is_script(path):
        message = f"{shown(entry)} is a script; what runs, and is matched, is its interpreter or what it starts"
        return message, "name the program that the script starts"
    return "", ""


def _name_trouble(entry: str) -> tuple[str, str]:
    """A name that the search path knows as a symbolic link to a program of another name, such as python3, or not at all
    but for words of it."""
    found = shutil.which(entry)
    target = PurePath(os.path.realpath(found)).name if found else entry
    if (
        found
        and not _is_script(Path(found))
        and entry.casefold() not in (target.casefold(), PurePath(target).stem.casefold())
    ):
        return f"{shown(entry)} is a link to {shown(target)}, and that is the name that counts", f"write {target}"
    if not found and len(words := entry.split()) > 1 and any(map(shutil.which, words)):
        return f"{shown(entry)} is one name with blanks in it", "separate programs by commas, and leave out arguments"
    return "", ""


def _is_script(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _at(config: Config, peer: Peer, key: str = "", item: object = "", *, message: str, remedy: str) -> Notice:
    place = peer.place(key, item) if key else (peer.line, 0)
    return Notice(message, remedy, config.file, *place)
