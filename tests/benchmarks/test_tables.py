"""benchmarks.tables: each figure in its row and column, and dashes for what was not taken."""

import pytest

from benchmarks import tables
from benchmarks.results import Results, Run


def tunnel(subject: str, case: str, **figures: float) -> Run:
    return Run("tunnel", subject, case, figures)


@pytest.fixture
def found() -> Results:
    made = Results({"cores": 2}, {"rounds": 1}, {"head": "v0"}, {"native": "not built"})
    made.runs = [
        tunnel("plain", "tcp-4-up", mbit=10_000.4, client_seconds_per_gib=0.0),
        tunnel("plain", "rtt-idle", p50=100.0, p99=200.0, lost=0.0),
        tunnel("python", "tcp-4-up", mbit=1500.0, client_seconds_per_gib=4.0),
        tunnel("python", "udp-up", mbit=199.0, packets=18_000.0, lost=0.5),
        tunnel("python", "small-up", mbit=10.0, packets=20_400.0, lost=60.0),
        tunnel("python", "rtt-idle", p50=350.0, p99=900.0, lost=0.0),
        tunnel("head", "tcp-4-up", mbit=1000.0, client_seconds_per_gib=2.0),
        Run("bypass", "plain", "tcp-4-up", {"mbit": 10_000.0}),
        *(Run("bypass", "python", "tcp-4-up", {"mbit": 9800.0, "share": share}) for share in (0.97, 0.98, 0.99)),
        *(Run("growth", "flows-out", str(size), {"python": cost}) for size, cost in ((100_000, 5.0), (10, 4.0))),
        Run("life", "python", "start", {"seconds": 0.456}),
    ]
    return made


def test_a_table_is_markdown_with_figures_to_the_right() -> None:
    assert tables.table(["a", "b"], [["x", "1"]]) == "| a | b |\n|---|---:|\n| x | 1 |\n"
    assert tables.table(["a", "b"], []) == ""


def test_each_client_has_a_row_and_each_measured_case_a_column(found: Results) -> None:
    assert tables.by_client(found, "mbit", tables.THROUGHPUT).splitlines() == [
        "| client | 4 up |",
        "|---|---:|",
        "| no tunnel | 10,000 |",
        "| **wiresock-py, Python** | 1,500 |",
        "| wireguard-go (current) | 1,000 |",
    ]


def test_ratios_are_to_each_other_client_but_not_to_the_plain_link(found: Results) -> None:
    assert tables.ratios(found, "python", "mbit", tables.THROUGHPUT).splitlines()[2:] == [
        "| wireguard-go (current) | 1.50 |"
    ]
    assert tables.ratios(found, "python", "client_seconds_per_gib", tables.THROUGHPUT).endswith("| 2.00 |\n")
    assert tables.ratios(found, "native", "mbit", tables.THROUGHPUT) == ""


def test_datagrams_are_told_with_what_was_lost(found: Results) -> None:
    rows = tables.datagrams(found).splitlines()
    assert "| **wiresock-py, Python** | 199 (0.5 %) | 20 (60.0 %) |" in rows
    assert "| wireguard-go (current) | – | – |" in rows


def test_what_a_client_adds_to_a_round_trip_is_told_beside_it(found: Results) -> None:
    rows = tables.round_trips(found).splitlines()
    assert "| no tunnel | 100 | 200 | – |" in rows
    assert "| **wiresock-py, Python** | 350 | 900 | 250 |" in rows


def test_the_bypass_is_told_as_a_share_of_what_there_is_without_us(found: Results) -> None:
    assert tables.direct(found).splitlines()[2:] == [
        "| no tunnel | 10,000 |",
        "| **wiresock-py, Python** | 9,800 (0.98; 0.97 to 0.99) |",
    ]


def test_growth_is_the_last_size_over_the_first_in_order_of_size(found: Results) -> None:
    (row,) = tables.grown(found).splitlines()[2:]
    assert row == "| flows, 10 of them busy: a packet out (python) | 10: 4.0, 100,000: 5.0 | 1.25 | ≤ 1.15 |"


def test_a_packets_cost_is_told_as_a_multiple_of_the_bare_encryption(found: Results) -> None:
    assert tables.engine_costs(found) == ""
    found.runs += [Run("engine", "out: x", "cost", {"bare": 2.0, "python": 5.0, "native": 2.2})]
    assert tables.engine_costs(found).splitlines()[2:] == ["| out: x | 2.00 | 5.00 | 2.50 | 2.20 | 1.10 |"]


def test_a_document_has_what_was_measured_and_names_what_was_not(found: Results) -> None:
    text = tables.document(found, {"throughput": "pictures/throughput.png"})
    assert "![Throughput](pictures/throughput.png)" in text
    assert "- not measured: native: not built" in text
    assert "### Single steps" not in text
    assert text.index("### Throughput") < text.index("### Round trips") < text.index("### With many")


def test_nothing_measured_makes_no_tables() -> None:
    assert "|" not in tables.document(Results(), {})


def test_the_summary_has_the_clients_only(found: Results) -> None:
    rows = tables.summary(found, {}).splitlines()
    assert rows[2:] == [
        "| **wiresock-py, Python** | 1,500 | – | 4.00 | 350 |",
        "| wireguard-go (current) | 1,000 | – | 2.00 | – |",
    ]
