import json

from condgen.bench.reliability import service
from condgen.bench.reliability.files.commands import COMMANDS
from condgen.bench.reliability.files.kinds import KINDS
from condgen.cli.bench_reliability import FILES


def test_parts_on_the_command_line(condgen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ("--only", "score", "--times", 2, "--json", "rows.json")
    code, out, err = condgen("bench", "reliability", "stops", *rows)
    assert code == 0, err
    assert "slowest to end" in out
    code, _, err = condgen("bench", "reliability", "files", "--only", "includes", "--cases", 3, *rows[4:])
    assert code == 0, err
    found = json.loads((tmp_path / "rows.json").read_text())
    assert set(found["what"]) == {"stops: score", "files: includes"}
    assert {row["variant"] for row in found["rows"]} == {"score", "includes"}
    code, out, err = condgen("bench", "reliability", "--replay", "includes/0/2")
    assert code == 0, err
    assert (tmp_path / "runs" / "bench" / "reliability" / "case").is_dir()
    for wrong in (("everything",), ("kills", "--only", "love")):
        code, _, err = condgen("bench", "reliability", *wrong)
        assert (code, "choose among" in err) == (2, True)


def test_rows_of_no_variant_are_shown_and_kept(condgen, tmp_path, monkeypatch):
    def rows_of(*_):
        yield "asking"
        row = {"what": "hostile requests", "variant": None, "value": 2000, "unit": "requests"}
        return [row, {"what": "requests", "variant": "10 at once", "value": 10, "unit": "requests"}]

    monkeypatch.setattr(service, "studio_rows", rows_of)
    code, out, err = condgen("bench", "reliability", "studio", "--json", tmp_path / "rows.json")
    assert code == 0, err
    assert "2,000 requests" in out
    found = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert found[0] == {"part": "studio", "what": "hostile requests", "value": 2000, "unit": "requests"}


def test_kinds_of_files_are_all_named():
    assert (*KINDS, COMMANDS) == FILES
