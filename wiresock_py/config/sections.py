"""The sections of a wg0.conf with the values of their keys read, each mistake noted and passed over."""

from collections.abc import Iterable
from typing import Any

from wiresock_py.config.keys import FOREIGN, INTERFACE, KEYS, SECTIONS, KeyKind
from wiresock_py.config.lines import Header, Line, Setting
from wiresock_py.config.model import Notice, Place
from wiresock_py.config.text import Text, nearest, shown
from wiresock_py.config.values import compact, has_host_bits, prefixes, reject_quotes
from wiresock_py.errors import ConfigError


class Section:
    """The settings under one ``[Peer]`` header, or under all ``[Interface]`` headers, which make one section."""

    def __init__(self, header: Text) -> None:
        self.header = header
        self.values: dict[str, list[tuple[Text, Any]]] = {}
        """By key: every value read, with the text it came from."""
        self.unused: list[tuple[str, str]] = []
        self.faulty: set[str] = set()

    def items(self, key: str) -> tuple[Any, ...]:
        """The values of a list, each once."""
        return tuple(dict.fromkeys(value for _, value in self.values.get(key, ())))

    def last(self, key: str, default: Any = None) -> Any:
        """The value that counts of a key that is no list."""
        values = self.values.get(key)
        return values[-1][1] if values else default

    def lacks(self, key: str) -> bool:
        """Whether *key* is missing; one that is there with a mistake is not."""
        return not self.values.get(key) and key not in self.faulty

    def places(self) -> dict[tuple[str, str], Place]:
        """Where each key's last value and each list's first mention of an item stands."""
        places: dict[tuple[str, str], Place] = {}
        for key, values in self.values.items():
            for text, value in values:
                place = Place(text.line, text.column)
                places[key, ""] = place
                if KEYS[key.lower()].is_list:
                    places.setdefault((key, str(value)), place)
        return places


class Sections:
    """A whole file: its sections, what is wrong with it and what is worth telling."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.interface: Section | None = None
        self.peers: list[Section] = []
        self.mistakes: list[ConfigError] = []
        self.notices: list[Notice] = []
        self.understood = True
        """Whether each line has a known key in its section: else one that seems to be missing may stand there."""
        self._current: Section | None = None
        self._name = ""
        for line in lines:
            match line:
                case Header(name):
                    self._open(name)
                case Setting(key, value):
                    try:
                        self._take(key, value)
                    except ConfigError as error:
                        self.mistakes += error.all()
                case Notice():
                    self.notices.append(line)
                case _:
                    self._pass_over(line)

    def _open(self, header: Text) -> None:
        known = {section.lower(): section for section in SECTIONS}
        self._name = known.get(compact(header).lower(), "")
        if not self._name:
            message = f"found section {shown(header.text)}, expected [Interface] or [Peer]"
            self._pass_over(header.error(message, nearest(header.text, SECTIONS)))
            # What follows belongs to nothing: its lines are checked no further, for they would repeat this mistake.
            self._current = Section(header)
        elif self._name == INTERFACE:
            self._current = self.interface = self.interface or Section(header)
        else:
            self._current = Section(header)
            self.peers.append(self._current)

    def _pass_over(self, mistake: ConfigError) -> None:
        self.understood = False
        self.mistakes.append(mistake)

    def _take(self, key: Text, raw: Text) -> None:
        if self._current is None:
            # one mistake of the file, not of each line
            self._pass_over(key.error(f"found {shown(key.text)} before any section", "put [Interface] above it"))
            self._current = Section(key)
        if not self._name:
            return
        try:
            kind = self._kind(key)
        except ConfigError as error:
            self._pass_over(error)
            return
        value = kind.value(raw)
        if kind.read is None:
            self._current.unused.append((kind.name, value.text))
            self._notice(key, f"{kind.name} is not used: {kind.unused_because}")
            return
        self._current.faulty.add(kind.name)
        if not value.text and not kind.is_list:
            raise key.error(f"found {kind.name} without a value, expected one after '='")
        reject_quotes(value)
        read = list(kind.read(value))
        values = self._current.values.setdefault(kind.name, [])
        if values and not kind.is_list:
            self._notice(
                key, f"{kind.name} stands in line {values[-1][0].line} too; this line counts", "keep one of them"
            )
        values.extend(read)
        for item, network in read:
            if kind.read is prefixes and has_host_bits(item):
                self._notice(item, f"{shown(item.text)} has bits set behind its prefix length; it is read as {network}")
        self._current.faulty.discard(kind.name)

    def _kind(self, key: Text) -> KeyKind:
        name = key.text.lower()
        kind = KEYS.get(name)
        if kind is None and name in FOREIGN:
            raise key.error(f"found {key.text}, a key of {FOREIGN[name]}", "remove the line")
        if kind is None:
            here = [known.name for known in KEYS.values() if known.section == self._name]
            remedy = nearest(key.text, here) or nearest(key.text, [known.name for known in KEYS.values()])
            raise key.error(f"found {shown(key.text)}, expected a key of [{self._name}]", remedy)
        if kind.section != self._name:
            message = f"found {key.text} in [{self._name}], but it belongs to [{kind.section}]"
            raise key.error(message, f"move the line below [{kind.section}]")
        return kind

    def _notice(self, at: Text, message: str, remedy: str = "") -> None:
        self.notices.append(Notice(message, remedy, at.file, at.line, at.column))
