"""Running iptables-restore and iptables-save: install, compare and remove our rules, one transaction a family."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from wiresock_py.errors import BackendError
from wiresock_py.filters.netfilter.rules import CHAIN, JUMPS, removal, transaction

# Where distributions keep it; the PATH of users and services often has no sbin.
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
# Seconds to wait for another program that holds the lock of legacy iptables, and for a command as a whole.
LOCK_PATIENCE = 5
COMMAND_PATIENCE = 20
# A rule set changed by another program between our look and our change makes the whole transaction fail.
ATTEMPTS = 3

_OUR_CHAIN = re.compile(r"WIRESOCK(-[A-Z]+(-\d+)?)?")
_BRANCH = re.compile(r".+-\d+")

Content = Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Standing:
    """What of ours stands in one family's tables, as ``iptables-save`` prints it."""

    chains: dict[str, list[str]]
    """Our chains by table."""
    rules: dict[str, list[str]]
    """The rules in our chains, by table."""
    jumps: dict[str, list[str]]
    """Rules elsewhere that lead to our chains, by table."""
    first: dict[str, dict[str, str]]
    """The first rule of each other chain, by table."""

    @property
    def leads(self) -> bool:
        """Whether every jump stands, as the first rule of its chain."""
        return all(
            self.first.get(table, {}).get(builtin) == f"-A {builtin} -j {chain}"
            for table, jumps in JUMPS.items()
            for builtin, chain in jumps
        )


def parse_save(text: str) -> Standing:
    """Pick ours out of the output of ``iptables-save``."""
    standing = Standing({}, {}, {}, {})
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name = line[1:].split()[0]
            if _OUR_CHAIN.fullmatch(name):
                standing.chains.setdefault(table, []).append(name)
        elif line.startswith("-A "):
            chain = line.split()[1]
            if _OUR_CHAIN.fullmatch(chain):
                standing.rules.setdefault(table, []).append(line)
                continue
            standing.first.setdefault(table, {}).setdefault(chain, line)
            if _leads_to_ours(line):
                standing.jumps.setdefault(table, []).append(line)
    return standing


def _leads_to_ours(rule: str) -> bool:
    """Whether a rule jumps or goes to one of our chains; the words of a quoted comment do not count."""
    if CHAIN not in rule:
        return False
    return any(word in ("-j", "-g") and _OUR_CHAIN.fullmatch(target) for word, target in pairwise(shlex.split(rule)))


class Iptables:
    """One family's iptables, of whichever flavour (nft or legacy) is on PATH."""

    def __init__(self, version: int) -> None:
        """Raises BackendError if it is not installed."""
        self.version = version
        prefix = "iptables" if version == 4 else "ip6tables"
        self._restore = _find(f"{prefix}-restore")
        self._save = _find(f"{prefix}-save")

    def install(self, content: Content) -> None:
        """Replace whatever of ours stands by *content*, in one transaction; jumps become the first rules."""
        for attempt in range(ATTEMPTS):
            try:
                standing = self.standing()
                return self._commit(transaction(content, standing.jumps, standing.chains))
            except BackendError:
                if attempt == ATTEMPTS - 1:
                    raise
        return None

    def remove(self) -> list[str]:
        """Remove all that is ours and nothing else; one line for each thing removed, branches apart."""
        for attempt in range(ATTEMPTS):
            standing = self.standing()
            text = removal(standing.jumps, standing.chains)
            if not text:
                return []
            try:
                self._commit(text)
            except BackendError:
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            return [
                f"IPv{self.version} {table} {what} {name}"
                for what, found in (("rule", standing.jumps), ("chain", standing.chains))
                for table, names in found.items()
                for name in names
                if not _BRANCH.fullmatch(name)
            ]
        return []

    def standing(self) -> Standing:
        """What of ours stands now."""
        return parse_save(self._run([self._save], ""))

    def _commit(self, text: str) -> None:
        self._run([self._restore, "--noflush", "-w", str(LOCK_PATIENCE)], text)

    def _run(self, command: list[str], text: str) -> str:
        try:
            done = subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                timeout=COMMAND_PATIENCE,
                env={"PATH": os.defpath, "LC_ALL": "C"},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackendError(f"{command[0]} did not run: {error}", "install the Debian package iptables") from error
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise BackendError(
                f"{Path(command[0]).name} refused our rules: {said}",
                "run as root, on a kernel with xt_NFQUEUE, xt_mark, xt_connmark, xt_CT and conntrack",
            )
        return done.stdout


def families() -> tuple[int, ...]:
    """The IP versions this kernel has."""
    return (4, 6) if Path("/proc/sys/net/ipv6").exists() else (4,)


def missing_program() -> str | None:
    """The first of the programs we need that is not installed."""
    for version in families():
        try:
            Iptables(version)
        except BackendError as error:
            return str(error)
    return None


def _find(program: str) -> str:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SBIN))
    found = shutil.which(program, path=path)
    if found is None:
        raise BackendError(f"{program} is not installed", "install the Debian package iptables")
    return str(Path(found).absolute())
