"""The benchmark of the ndisapi backend measures what it says."""

import pytest

from benchmarks import ndisapi
from wiresock_py.datapath import PYTHON


def test_every_packet_goes_the_whole_way_in_both_directions() -> None:
    bench = ndisapi.Bench(PYTHON)
    for measure in (bench.out, bench.into, bench.out):
        count, took = measure()
        assert count == ndisapi.PACKETS
        assert took > 0
    counted = bench.backend.statistics()
    assert counted["captured"] == 2 * ndisapi.PACKETS + 1  # the one that began the connection
    assert counted["injected"] == ndisapi.PACKETS
    assert not any(bench.engine.counters().values())
    assert set(bench.timed.seconds) == {"driver", "backend"}
    bench.close()


def test_the_parts_add_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["ndisapi", "--rounds", "1", "--datapaths", "python"])
    ndisapi.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("python")]
    assert [row[1] for row in rows] == ["out", "in"]
    for row in rows:
        whole, backend, engine, bare, multiple, _driver = map(float, row[3:])
        assert whole == pytest.approx(backend + engine, abs=0.02)
        assert multiple == pytest.approx(whole / bare, rel=0.05)
