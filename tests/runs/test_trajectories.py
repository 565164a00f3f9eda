"""The trajectories stage: kept as pictures or coordinates, ending in the samples, drawn once."""

import itertools

import numpy as np
import pytest
from PIL import Image

from condgen.data import load, parse_data
from condgen.recipes import SampleRecipe, SampleStage, ScoreStage, default_recipe
from condgen.runs import Folders, Sample, Train, Trajectories, read_json, read_rows
from condgen.runs.layout import TRAJECTORIES
from condgen.runs.plan import trajectories_of
from condgen.training import Processes

ALONE = Processes(cpu=True)
METHODS = {"plain": {"steps": 12}, "own": {"sampler": "adaptive-ode"}, "short": {"sampler": "ddim", "steps": 3}}


def recipe_of(**changes):
    return SampleRecipe.model_validate({"per_class": 3, "seed": 7, "methods": METHODS} | changes)


@pytest.fixture(scope="module", params=["digits", "moons"])
def model(request, tmp_path_factory):
    """A score model of two training steps, and its number of classes."""
    data = load(parse_data(request.param), "train")
    base = default_recipe(parse_data(request.param), data).model_dump(mode="json")
    base["score"]["training"] |= {"steps": 2, "batch": 16}
    base["score"]["network"] |= {"width": 16, "depth": 1}
    stage = ScoreStage.model_validate({key: base[key] for key in ("data", "schedule", "seed", "score")})
    folder = tmp_path_factory.mktemp(request.param) / "score"
    list(Train("score", folder, stage, data).run(ALONE))
    return Folders(folder), data


def test_trajectories_end_in_the_samples_of_their_seeds(model, tmp_path):
    folders, data = model
    stage = trajectories_of(recipe_of(trajectories=2), data)
    if data.is_images:
        assert (stage.labels, stage.seeds) == ((0, 1), (7, 10))
    work = list(Trajectories("trajectories", tmp_path / "t", stage, folders).run(ALONE))
    assert work
    rows = read_json(tmp_path / "t" / TRAJECTORIES)["rows"]
    assert [(row["method"], row["class"], row["seed"]) for row in rows] == [
        (name, y, seed) for name in METHODS for y, seed in zip(stage.labels, stage.seeds, strict=True)
    ]
    labels = tuple(y for y in range(2) for _ in range(3))
    for name, method in stage.methods.items():
        list(Sample("s", tmp_path / name, SampleStage(method=method, labels=labels, seed=7), folders).run(ALONE))
        drawn = {row["seed"]: row for row in read_rows(tmp_path / name / "manifest.jsonl")}
        for row in rows:
            if row["method"] != name:
                continue
            noise = row["noise"]
            assert all(before > after for before, after in itertools.pairwise(noise))
            assert row["evaluations"] == drawn[row["seed"]]["evaluations"]
            if not data.is_images:
                assert len(row["x_t"]) == len(row["denoised"]) == len(noise) <= 40
                assert np.allclose(row["denoised"][-1], drawn[row["seed"]]["x"], atol=1e-3)
                continue
            assert len(noise) == {"plain": 9, "own": 9, "short": 3}[name]
            strips = [np.asarray(Image.open(tmp_path / "t" / row[kind])).astype(int) for kind in ("x_t", "denoised")]
            assert {strip.shape for strip in strips} == {(8, 8 * len(noise))}
            sample = np.asarray(Image.open(tmp_path / name / drawn[row["seed"]]["file"])).astype(int)
            assert np.abs(strips[1][:, -8:] - sample).max() <= 1  # another batch, other rounding
            assert strips[0][:, :8].std() > 60  # noise at first


def test_trajectories_are_drawn_once_and_again_when_methods_change(model, tmp_path):
    folders, data = model
    stage = trajectories_of(recipe_of(), data)
    assert list(Trajectories("trajectories", tmp_path / "t", stage, folders).run(ALONE))
    assert not list(Trajectories("trajectories", tmp_path / "t", stage, folders).run(ALONE))
    other = trajectories_of(recipe_of(methods=METHODS | {"plain": {"steps": 13}}), data)
    assert list(Trajectories("trajectories", tmp_path / "t", other, folders).run(ALONE))


def test_who_is_shown():
    data = load(parse_data("digits"), "train")
    assert trajectories_of(recipe_of(trajectories=0), data) is None
    assert trajectories_of(recipe_of(methods={"one": {"generator": "g"}}), data) is None
    points = trajectories_of(
        recipe_of(methods=METHODS | {"one": {"generator": "g"}}), load(parse_data("moons"), "train")
    )
    assert list(points.methods) == list(METHODS)
    assert points.labels == (0, 0, 0, 1, 1, 1)  # no more than are drawn of a class
    assert points.seeds == (7, 8, 9, 10, 11, 12)
