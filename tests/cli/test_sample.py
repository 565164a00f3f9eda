"""Many samples: a total, shards that many processes draw, and how fast networks are asked to be."""

import itertools
import shutil

import pytest

from condgen.data import load, parse_data
from condgen.errors import UserError
from condgen.files import append
from condgen.recipes import GeneratorStage, ScoreStage
from condgen.runs import lock, read_json, read_rows, sample_folder, shard_folder, train_stage
from condgen.training import Processes

NETWORK = {"kind": "mlp", "width": 16, "depth": 1, "embedding": 8}
SHARED = {"data": {"kind": "digits"}, "schedule": {"kind": "edm"}}
TRAINING = {"steps": 2, "batch": 16}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A score model that knows labels, and a generator."""
    root, data = tmp_path_factory.mktemp("models"), load(parse_data("digits"), "train")
    score = {"network": NETWORK, "labels": "embedding", "training": TRAINING}
    generator = {"network": NETWORK, "objective": {"loss": "smm", "network": NETWORK}, "training": TRAINING}
    for name, stage in (
        ("score", ScoreStage.model_validate(SHARED | {"score": score})),
        ("generator", GeneratorStage.model_validate(SHARED | {"generator": generator})),
    ):
        list(train_stage(name, root / name, stage, data, Processes(cpu=True)))
    return root


def pictures(folder):
    """The content of every picture, by its name; and of the manifest, by seed."""
    files = {path.name: path.read_bytes() for path in folder.glob("[0-9]*.png")}
    return files, {row["seed"]: row for row in read_rows(folder / "manifest.jsonl")}


def test_a_total_is_spread_over_the_classes(models, condgen, tmp_path):
    source = ("sample", "--generator", models / "generator", "--n", 11, "--class", "3,7,1")
    code, out, err = condgen(*source, "--out", tmp_path)
    assert code == 0, err
    assert "11 samples, 1 network evaluation each" in out
    labels = [row["class"] for row in read_rows(tmp_path / "manifest.jsonl")]
    assert labels == [3] * 4 + [7] * 4 + [1] * 3
    code, _, err = condgen("sample", "--generator", models / "generator", "--out", tmp_path / "default")
    assert code == 0, err
    assert len(read_rows(tmp_path / "default" / "manifest.jsonl")) == 160
    code, _, err = condgen("train-classifier", "--score", tmp_path / "default", "--out", tmp_path / "c")
    assert (code, "default holds no score model" in err) == (2, True), err


@pytest.mark.parametrize(
    "how",
    [
        ("--generator", "generator"),
        ("--score", "score", "--steps", 3),
        ("--score", "score", "--sampler", "adaptive-sde"),
    ],
    ids=["one step", "unipc", "adaptive"],
)
def test_shards_hold_the_pictures_of_one_process(how, models, condgen, tmp_path):
    option, name, *more = how
    if "adaptive-sde" in more:
        more += ["--option", "relative=0.5"]
    command = ("sample", option, models / name, *more, "--n", 31, "--seed", 40, "--batch", 1)  # of one: bit for bit
    code, _, err = condgen(*command, "--out", tmp_path / "whole")
    assert code == 0, err
    whole, rows = pictures(tmp_path / "whole")
    parts, together = {}, {}
    for number in (3, 1, 2):
        code, out, err = condgen(*command, "--shard", f"{number}/3", "--out", tmp_path / "parts")
        assert code == 0, err
        place = tmp_path / "parts" / f"shard-{number}-of-3"
        assert str(place) in out.replace("\n", "")
        found, described = pictures(place)
        assert 10 <= len(found) <= 11
        assert sorted(described) == list(range(min(described), max(described) + 1))
        assert not parts.keys() & found.keys()
        parts, together = parts | found, together | described
    assert (parts, together) == (whole, rows)


def test_all_shards_are_evaluated_as_one_set(models, condgen, tmp_path):
    command = ("sample", "--generator", models / "generator", "--n", 61)
    place = tmp_path / "parts"
    code, _, err = condgen(*command, "--out", tmp_path / "whole")
    assert code == 0, err
    for number, missing in (
        (2, "1, 3 of 3; run the command that made the others with --shard 1/3"),
        (1, "3 of 3; run"),
    ):
        code, _, err = condgen(*command, "--shard", f"{number}/3", "--out", place)
        assert code == 0, err
        code, _, err = condgen("evaluate", place, "--out", tmp_path / "e")
        assert (code, missing in err, err.count("\n")) == (2, True, 1), err
    code, _, err = condgen(*command, "--shard", "3/3", "--out", place)
    assert code == 0, err
    code, _, err = condgen("evaluate", tmp_path / "whole", place, "--out", tmp_path / "e")
    assert code == 0, err
    rows = read_json(tmp_path / "e" / "metrics.json")["rows"]
    figures = [[row["value"] for row in rows if row["method"] == name] for name in ("whole", "parts")]
    assert figures[0] == figures[1]
    code, out, _ = condgen("evaluate", tmp_path / "whole", place, "--out", tmp_path / "e")
    assert (code, "nothing left to do" in out) == (0, True)
    code, out, _ = condgen(*command, "--shard", "2/3", "--out", place)
    assert (code, "nothing left to do" in out) == (0, True)


def test_shards_that_are_not_of_one_set_are_told_apart(models, condgen, tmp_path):
    command = ("sample", "--generator", models / "generator", "--n", 40)
    for shard, seed in (("1/2", 0), ("2/2", 5)):
        code, _, err = condgen(*command, "--shard", shard, "--seed", seed, "--out", tmp_path)
        assert code == 0, err
    code, _, err = condgen("evaluate", tmp_path, "--out", tmp_path / "e")
    assert (code, "shards of different settings or models" in err) == (2, True), err
    code, _, err = condgen(*command, "--shard", "2/2", "--out", tmp_path)  # sets the other one aside
    assert code == 0, err
    code, _, err = condgen("evaluate", tmp_path, "--out", tmp_path / "e")
    assert code == 0, err
    code, _, err = condgen(*command, "--out", tmp_path)
    assert (code, "add --shard, or choose another --out" in err) == (2, True), err
    code, _, err = condgen(*command, "--shard", "1/4", "--out", tmp_path)
    assert code == 0, err
    code, _, err = condgen("evaluate", tmp_path, "--out", tmp_path / "e")
    assert (code, "holds shards of 2 and 4" in err) == (2, True), err
    shutil.rmtree(tmp_path / "shard-1-of-2")
    code, _, err = condgen(*command, "--out", tmp_path / "whole")
    assert code == 0, err
    code, _, err = condgen(*command, "--shard", "1/4", "--out", tmp_path / "whole")
    assert (code, "drawn without --shard" in err) == (2, True), err
    for file in (tmp_path / "whole").iterdir():  # as an interruption before the first batch leaves it
        if file.name not in ("stage.json", "recipe.yaml"):
            file.unlink()
    code, _, err = condgen(*command, "--shard", "1/4", "--out", tmp_path / "whole")
    assert (code, "drawn without --shard" in err) == (2, True), err


def test_every_shard_has_a_lock_of_its_own(models, condgen, tmp_path):
    from condgen.recipes import Shard

    command = ("sample", "--generator", models / "generator", "--n", 20, "--out", tmp_path)
    with lock(shard_folder(tmp_path, Shard(number=1, of=2))):
        code, _, err = condgen(*command, "--shard", "1/2")
        assert (code, "another condgen process is at work" in err) == (2, True), err
        code, _, err = condgen(*command, "--shard", "2/2")
        assert code == 0, err


def test_precision_is_kept_with_the_samples_and_compilation_is_not(models, condgen, monkeypatch, tmp_path):
    import torch

    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compiled.append(how))
    command = ("sample", "--generator", models / "generator", "--n", 20)
    code, _, err = condgen(*command, "--out", tmp_path / "plain")
    assert code == 0, err
    code, out, _ = condgen(*command, "--compile", "--out", tmp_path / "plain")
    assert (code, "nothing left to do" in out) == (0, True)
    code, _, err = condgen(*command, "--precision", "bfloat16", "--compile", "--out", tmp_path / "light")
    assert code == 0, err
    assert compiled == [{"dynamic": None}] * 2
    assert {row.get("precision") for row in read_rows(tmp_path / "plain" / "manifest.jsonl")} == {None}
    assert {row["precision"] for row in read_rows(tmp_path / "light" / "manifest.jsonl")} == {"bfloat16"}
    assert "precision: bfloat16" in (tmp_path / "light" / "recipe.yaml").read_text()
    plain, light = (pictures(tmp_path / name)[0] for name in ("plain", "light"))
    assert plain.keys() == light.keys()
    assert plain != light


def test_a_grid_shows_the_first_of_many(models, condgen, monkeypatch, tmp_path):
    from condgen.cli import run
    from condgen.report import sample_grid

    shown = []

    def grid(blocks, names):
        shown.append(blocks[""][1])
        return sample_grid(blocks, names)

    monkeypatch.setattr("condgen.report.sample_grid", grid)
    monkeypatch.setattr(run, "_SHOWN", 5)
    code, _, err = condgen("sample", "--generator", models / "generator", "--n", 70, "--out", tmp_path)
    assert code == 0, err
    assert shown == [[label for label in range(10) for _ in range(5)]]


def test_the_way_from_noise_is_kept_and_leaves_the_samples_as_they_are(models, condgen, tmp_path):
    source = ("sample", "--score", models / "score", "--class", "3,7,1", "--per-class", 2, "--seed", 5, "--nfe", 8)
    code, _, err = condgen(*source, "--out", tmp_path / "plain")
    assert code == 0, err
    code, out, err = condgen(*source, "--trajectories", 2, "--out", tmp_path / "ways")
    assert code == 0, err
    assert "trajectories.png" in out
    assert pictures(tmp_path / "plain")[0] == pictures(tmp_path / "ways")[0]
    rows = read_json(tmp_path / "ways" / "trajectories" / "trajectories.json")["rows"]
    assert [(row["class"], row["seed"]) for row in rows] == [(3, 5), (7, 7)]
    code, _, err = condgen(
        "sample", "--score", models / "score", "--n", 1, "--trajectories", 4, "--out", tmp_path / "one"
    )
    assert code == 0, err
    for wrong in (("--generator", models / "generator"), ("--score", models / "score", "--shard", "1/2")):
        code, _, err = condgen("sample", *wrong, "--trajectories", 2, "--out", tmp_path / "no")
        assert code != 0
        assert "--trajectories goes with samplers of many steps" in err


@pytest.mark.parametrize("fails", [1, 3])
def test_samples_whose_manifest_had_no_room_are_paid_once(models, condgen, monkeypatch, tmp_path, fails):
    """Drawing ends with a batch that has no room, and tries to write it once more; the next command draws it again."""
    command = ("sample", "--score", models / "score", "--steps", 2, "--n", 24, "--batch", 8)
    assert condgen(*command, "--out", tmp_path / "whole")[0] == 0
    calls = itertools.count(1)

    def append_or_fail(path, text):
        if next(calls) >= fails:
            raise UserError(f"cannot write {path}: No space left on device")
        append(path, text)

    monkeypatch.setattr(sample_folder, "append", append_or_fail)
    code, _, err = condgen(*command, "--out", tmp_path / "cut")
    assert (code, "No space left on device" in err) == (2, True)
    monkeypatch.undo()
    assert len(read_rows(tmp_path / "cut" / "manifest.jsonl")) == 8 * (fails - 1)
    code, _, err = condgen(*command, "--out", tmp_path / "cut")
    assert code == 0, err
    assert pictures(tmp_path / "cut") == pictures(tmp_path / "whole")
    records = [read_json(tmp_path / name / "stage.json") for name in ("cut", "whole")]
    for cost in ("evaluations_per_image", "images"):
        assert records[0][cost] == records[1][cost]
