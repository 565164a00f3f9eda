"""The bench of metrics: what it compares agrees, and its memory is that of the work."""

import json
import sys

import pytest

from benchmarks import metrics as bench
from benchmarks.metrics import CASES, metric_rows
from condgen.cli import main


def finish(work):
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize("name", CASES)
def test_all_libraries_say_the_same(name):
    rows = finish(metric_rows(name, 300, 12, rounds=1, memory=False))
    found = {(row["what"], row["variant"]): row["value"] for row in rows}
    others = [variant for what, variant in found if what == "difference"]
    assert others
    for variant in others:
        limit = 1e-6 if CASES[name].same else 0.2
        assert found["difference", variant] < limit
        ratio = found["time", variant] / found["time", "condgen"]
        assert found["relative time", variant] == pytest.approx(ratio)


def test_what_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(bench, "find_spec", lambda name: None if name == "torch_fidelity" else object())
    rows = finish(metric_rows("frechet", 60, 5, rounds=1, memory=False))
    assert {row["variant"] for row in rows} == {"condgen", "scipy sqrtm"}


def test_the_command_writes_rows(tmp_path, monkeypatch, capsys):
    out = tmp_path / "rows.json"
    command = ["bench", "metrics", "score", "--n", "200", "--features", "8", "--rounds", "1", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["condgen", "--threads", "1", *command])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert "condgen's times" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert {row["what"] for row in found["rows"]} == {"time", "relative time", "difference", "memory"}
    assert all(row["value"] >= 0 for row in found["rows"] if row["what"] == "memory")
