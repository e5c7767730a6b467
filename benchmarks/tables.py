"""The results as Markdown: what docs/performance.md and README.md show."""

import statistics
import textwrap
from collections.abc import Callable, Iterable, Sequence

from benchmarks import both, bypass, engine, growth, latency, life, tunnel
from benchmarks.clients import OTHERS, OURS, PLAIN, TITLES
from benchmarks.results import Results

THROUGHPUT = {
    "tcp-4-up": "4 up",
    "tcp-4-down": "4 down",
    "tcp-1-up": "1 up",
    "tcp-1-down": "1 down",
    "tcp-4-v6-up": "4 up, IPv6",
    "tcp-4-v6-down": "4 down, IPv6",
}
"""The TCP cases and their columns."""
DATAGRAMS = ("udp-up", "udp-down", "small-up", "small-down")
NOT_TAKEN = "–"
WIDTH = 120
"""Of the lines of prose."""


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: names to the left, figures to the right. Empty without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    rule = "|---|" + "---:|" * (len(heading) - 1)
    return "\n".join((f"| {' | '.join(heading)} |", rule, *lines)) + "\n"


def number(value: float | None, form: str = ",.0f") -> str:
    """A figure as text; a dash for one that was not taken."""
    return NOT_TAKEN if value is None else format(value, form)


def title(subject: str) -> str:
    """A client's name; ours stand out."""
    return f"**{TITLES[subject]}**" if subject in OURS else TITLES.get(subject, subject)


def by_client(
    results: Results,
    figure: str,
    columns: dict[str, str],
    form: str = ",.0f",
    *,
    plain: bool = True,
    section: str = tunnel.SECTION,
) -> str:
    """One figure: a row a client, a column a case."""
    taken = [case for case in columns if case in results.cases(section)]
    return table(
        ["client", *(columns[case] for case in taken)],
        (
            [title(name), *(number(results.median(section, name, case, figure), form) for case in taken)]
            for name in results.subjects(section)
            if (plain or name != PLAIN) and taken
        ),
    )


def ratios(results: Results, mine: str, figure: str, columns: dict[str, str]) -> str:
    """How many times each other client's figure ours is, case by case."""
    taken = [case for case in columns if case in results.cases(tunnel.SECTION)]
    subjects = results.subjects(tunnel.SECTION)
    if mine not in subjects or not taken:
        return ""
    return table(
        [f"{TITLES[mine]}, times", *(columns[case] for case in taken)],
        (
            [title(name), *(number(results.ratio(tunnel.SECTION, mine, name, case, figure), ".2f") for case in taken)]
            for name in subjects
            if name not in (mine, PLAIN)
        ),
    )


def datagrams(results: Results) -> str:
    """UDP: what arrived, and the percentage that did not."""
    taken = [case for case in DATAGRAMS if case in results.cases(tunnel.SECTION)]

    def cell(name: str, case: str) -> str:
        figure, scale = ("packets", 1e-3) if case.startswith("small") else ("mbit", 1.0)
        value = results.median(tunnel.SECTION, name, case, figure)
        lost = results.median(tunnel.SECTION, name, case, "lost")
        return NOT_TAKEN if value is None else f"{value * scale:,.0f} ({number(lost, '.1f')} %)"

    heading = {
        "udp-up": "200 Mbit/s up: Mbit/s (lost)",
        "udp-down": "down",
        "small-up": "64 bytes up: 1000/s (lost)",
        "small-down": "down",
    }
    return table(
        ["client", *(heading[case] for case in taken)],
        ([title(name), *(cell(name, case) for case in taken)] for name in results.subjects(tunnel.SECTION) if taken),
    )


def round_trips(results: Results) -> str:
    """Round trips in microseconds, and what a client adds to those of the plain link."""
    taken = [case for case in latency.CASES if case in results.cases(tunnel.SECTION)]
    if not taken:
        return ""

    def added(name: str) -> str:
        mine, bare = (results.median(tunnel.SECTION, subject, "rtt-idle", "p50") for subject in (name, PLAIN))
        return NOT_TAKEN if mine is None or bare is None or name == PLAIN else number(mine - bare)

    heading = {"rtt-idle": "idle", "rtt-up": "beside 4 up", "rtt-down": "beside 4 down"}
    return table(
        ["client", *(f"{heading[case]} {figure}" for case in taken for figure in ("p50", "p99")), "added, idle p50"],
        (
            [
                title(name),
                *(
                    number(results.median(tunnel.SECTION, name, case, figure))
                    for case in taken
                    for figure in ("p50", "p99")
                ),
                added(name),
            ]
            for name in results.subjects(tunnel.SECTION)
        ),
    )


def household(results: Results) -> str:
    """Start, rest and memory of each client."""
    section = life.SECTION
    names = results.subjects(section) or [name for name in results.subjects(tunnel.SECTION) if name != PLAIN]
    return table(
        ["client", "first answer, s", "reload, ms", "idle CPU, %", "resident, MiB", "shared once", "peak, MiB"],
        (
            [
                title(name),
                number(results.median(section, name, "start", "seconds"), ".2f"),
                number(results.median(section, name, "reload", "ms"), ".0f"),
                number(results.median(section, name, "idle", "cpu_percent"), ".2f"),
                number(results.median(section, name, "idle", "resident_mib")),
                number(results.median(section, name, "idle", "proportional_mib")),
                number(results.median(tunnel.SECTION, name, "memory", "peak_mib")),
            ]
            for name in names
        ),
    )


def direct(results: Results) -> str:
    """What is left of an application's throughput beside each of our clients that it does not belong to."""
    section, cases = bypass.SECTION, results.cases(bypass.SECTION)

    def cell(name: str, case: str) -> str:
        value = number(results.median(section, name, case, "mbit"))
        shares = results.values(section, name, case, bypass.SHARE)
        if len(shares) < 2:
            return value
        low, middle, high = statistics.quantiles(shares, n=4)
        return f"{value} ({middle:.2f}; {low:.2f} to {high:.2f})"

    return table(
        ["beside", *(tunnel.TITLES[case] for case in cases)],
        ([title(name), *(cell(name, case) for case in cases)] for name in results.subjects(section)),
    )


def grown(results: Results) -> str:
    """Microseconds at each size, and how many times the first size's the last one's are."""
    rows = []
    for name, path in growths(results):
        costs = growth_of(results, name, path)
        ratio = costs[-1][1] / costs[0][1]
        bound = f"≤ {growth.BOUND}" if name in growth.BOUNDED else ""
        figures = ", ".join(f"{size:,}: {cost:.1f}" for size, cost in costs)
        rows.append([growth_title(name, path), figures, f"{ratio:.2f}", bound])
    return table(["what becomes many: the cost that is watched", "µs at each size", "last ÷ first", "wanted"], rows)


def growths(results: Results) -> list[tuple[str, str]]:
    """The growths that were measured, each with each of its data paths."""
    runs = [run for run in results.runs if run.section == growth.SECTION]
    return list(dict.fromkeys((run.subject, path) for run in runs for path in run.figures))


def growth_title(name: str, path: str) -> str:
    return growth.TITLES[name] if path == growth.ANY else f"{growth.TITLES[name]} ({path})"


def growth_of(results: Results, name: str, path: str) -> list[tuple[int, float]]:
    """(size, microseconds) of one growth, the smallest size first."""
    found = {
        int(case): cost
        for case in results.cases(growth.SECTION)
        if (cost := results.median(growth.SECTION, name, case, path)) is not None
    }
    return sorted(found.items())


def engine_costs(results: Results) -> str:
    """Of each kind of packet: the bare AEAD call, and each data path as a multiple of it."""
    section = engine.SECTION
    paths = [name for name in OURS if any(name in run.figures for run in results.runs if run.section == section)]

    def cells(subject: str, path: str) -> list[str]:
        mine, bare = (results.median(section, subject, engine.COST, figure) for figure in (path, engine.BARE))
        return [number(mine, ".2f"), NOT_TAKEN if mine is None or not bare else f"{mine / bare:.2f}"]

    return table(
        ["packets", "bare AEAD, µs", *(text for path in paths for text in (f"{path}, µs", "× bare"))],
        (
            [
                subject,
                number(results.median(section, subject, engine.COST, engine.BARE), ".2f"),
                *(cell for path in paths for cell in cells(subject, path)),
            ]
            for subject in results.subjects(section)
        ),
    )


def micro(results: Results) -> str:
    """Single steps, as pytest-benchmark has them."""
    section = "micro"
    return table(
        ["step", "median, µs"],
        ([name, number(results.median(section, name, "step", "us"), ",.2f")] for name in results.subjects(section)),
    )


def machine(results: Results) -> str:
    """One paragraph: what the figures were taken on, when, and of what."""
    told = results.machine
    versions = ", ".join(f"{TITLES.get(name, name)} {version}" for name, version in results.versions.items())
    settings = ", ".join(f"{name} {value}" for name, value in results.settings.items())
    text = (
        f"{told.get('date')}, commit {told.get('commit')}: {told.get('cores')} cores of {told.get('processor')}, "
        f"{told.get('system')}, Linux {told.get('kernel')}, CPython {told.get('python')}, {told.get('openssl')}; "
        f"load before {told.get('load_before')}; {settings}. Versions: {versions}."
    )
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def missing(results: Results) -> str:
    """What could not be measured, and why."""
    return "".join(f"- not measured: {what}: {reason}\n" for what, reason in results.missing.items())


def document(results: Results, plots: dict[str, str]) -> str:
    """Everything, for docs/performance.md; *plots* are paths of pictures by name, relative to it."""
    parts: list[tuple[str, Callable[[], str]]] = [
        ("Throughput", lambda: by_client(results, "mbit", THROUGHPUT)),
        *(("", lambda mine=mine: ratios(results, mine, "mbit", THROUGHPUT)) for mine in OURS),
        (
            "CPU time of the client",
            lambda: by_client(results, "client_seconds_per_gib", THROUGHPUT, ".2f", plain=False),
        ),
        *(("", lambda mine=mine: ratios(results, mine, "client_seconds_per_gib", THROUGHPUT)) for mine in OURS),
        ("Datagrams", lambda: datagrams(results)),
        ("Round trips", lambda: round_trips(results)),
        ("The same at both ends", lambda: by_client(results, "mbit", THROUGHPUT, section=both.SECTION)),
        ("Start, rest, memory", lambda: household(results)),
        ("Beside our client, outside the tunnel", lambda: direct(results)),
        ("A packet in the engine", lambda: engine_costs(results)),
        ("With many of everything", lambda: grown(results)),
        ("Single steps", lambda: micro(results)),
    ]
    pictures = {
        "Throughput": "throughput",
        "CPU time of the client": "cpu",
        "Round trips": "round-trips",
        "With many of everything": "growth",
    }
    lines = [machine(results)]
    for heading, make in parts:
        text = make()
        if not text:
            continue
        if heading:
            lines.append(f"### {heading}\n\n{NOTES[heading]}\n")
            if (picture := pictures.get(heading)) in plots:
                lines.append(f"![{heading}]({plots[picture]})\n")
        lines.append(text)
    if results.missing:
        lines.append(missing(results))
    return "\n".join(lines)


NOTES = {
    "Throughput": "iperf3 over TCP, 1 and 4 streams, in Mbit/s; then ours as a multiple of each other client's.",
    "CPU time of the client": "Seconds of the client's processes for each GiB carried; less is better.",
    "Datagrams": "iperf3 over UDP. The small ones are sent as fast as iperf3 can, far faster than any client carries.",
    "Round trips": "64-byte datagrams and their echoes, one after the other, in µs.",
    "The same at both ends": "Each program as client and as server, in Mbit/s.",
    "Start, rest, memory": "From the start of the program to the first answer through its tunnel. Without traffic: CPU "
    "time and memory, of our two processes together; then again with the pages that both use counted once. The peak is "
    "under load.",
    "Beside our client, outside the tunnel": "Mbit/s of an application that is not meant, and its share of what it has "
    "without our client a moment before or after: the median and the quartiles of all pairs. 0.97 and more is wanted.",
    "A packet in the engine": "Without any network: what the data path costs a packet, and what the whole engine does "
    "over the Windows backend and its emulated driver, beside one call of the encryption on as many bytes.",
    "With many of everything": "µs for each packet, flow or turn.",
    "Single steps": "The WireGuard core's handshakes, the configuration, the decision.",
}
"""What stands below each heading."""


def summary(results: Results, plots: dict[str, str]) -> str:
    """The few figures for README.md."""
    columns = {case: f"{name}, Mbit/s" for case, name in list(THROUGHPUT.items())[:2]}
    section, rows = tunnel.SECTION, []
    for name in results.subjects(section):
        if name not in (*OURS, *OTHERS):
            continue
        rows.append(
            [
                title(name),
                *(number(results.median(section, name, case, "mbit")) for case in columns),
                number(results.median(section, name, "tcp-4-up", "client_seconds_per_gib"), ".2f"),
                number(results.median(section, name, "rtt-idle", "p50")),
            ]
        )
    picture = f"![Throughput]({plots['throughput']})\n\n" if "throughput" in plots else ""
    heading = ["client", *columns.values(), "CPU s per GiB up", "round trip, µs"]
    return picture + table(heading, rows)
