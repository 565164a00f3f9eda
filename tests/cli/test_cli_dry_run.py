import json

import pytest

from condgen.cli.dry_run import duration

QUICK = (
    *("--set", "score.network={kind: mlp, width: 8, depth: 1, embedding: 8}"),
    *("--set", "classifiers={}", "--set", "scores={}", "--set", "generators={}", "--set", "calibrate=null"),
    *("--set", "sample.methods={unguided: {}}", "--set", "diagnose=null", "--set", "evaluate=false"),
)


def test_a_dry_run_shows_every_stage_and_the_sum_and_leaves_nothing(condgen, tmp_path):
    place, file = tmp_path / "runs", tmp_path / "rows.json"
    code, out, err = condgen("run", "recipes/digits.yaml", *QUICK, "--out", place, "--dry-run", "--json", file)
    assert (code, err) == (0, "")
    assert not place.exists()
    rows = json.loads(file.read_text())
    assert [stage["stage"] for stage in rows["stages"]] == ["score", "sample unguided", "trajectories"]
    assert rows["seconds"] == pytest.approx(sum(stage["seconds"] for stage in rows["stages"]))
    for text in ("nothing of it was run", "sample unguided", "4,000 steps", "360 samples", "in all"):
        assert text in out


def test_json_is_of_the_dry_run_alone(condgen, tmp_path):
    code, _, err = condgen("run", "recipes/digits.yaml", "--out", tmp_path / "run", "--json", tmp_path / "rows.json")
    assert code != 0
    assert "--json goes with --dry-run" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0.4 s"), (59, "59 s"), (300, "5 min"), (3600, "60 min"), (7200, "2 h"), (2e5, "2.3 d"), (1e7, "116 d")],
)
def test_times_in_words(seconds, words):
    assert duration(seconds) == words
