"""The evaluating stage: what it writes beside the figures, and what makes it work anew."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from condgen.data import load, parse_data
from condgen.metrics import REAL, Measures
from condgen.networks.cifar_resnet import CifarResNet
from condgen.recipes import EvaluateStage, Recipe
from condgen.runs import Evaluate
from condgen.runs.layout import MANIFEST
from condgen.runs.sample_folder import write_samples
from condgen.runs.stage import open_folder
from condgen.training import Processes

ALONE = Processes(cpu=True)


def album(folder, x, y, names):
    """A folder of samples as the sampling stage leaves it."""
    stage = open_folder("sample", folder, "key", EvaluateStage())
    rows = [{"class": int(label), "name": names[label], "seed": 100 + i} for i, label in enumerate(y)]
    write_samples(folder, range(len(y)), x, rows)
    stage.finish([MANIFEST])
    return folder


@pytest.fixture(scope="module")
def digits():
    return load(parse_data("digits"), "train"), load(parse_data("digits"), "test")


@pytest.fixture
def evaluated(digits, tmp_path):
    train, test = digits
    x = torch.cat((train.floats()[:3], test.floats()[:57]))
    y = torch.cat((train.y[:3], test.y[:57]))
    samples = {"mostly new": album(tmp_path / "s", x, y, train.names)}
    list(Evaluate("evaluate", tmp_path / "run" / "e", EvaluateStage(), samples, train, test).run(ALONE))
    return tmp_path / "run"


def test_copies_come_first_beside_the_image_that_they_copy(evaluated, digits):
    train, _ = digits
    found = json.loads((evaluated / "e" / "neighbours.json").read_text())
    rows = [row for row in found["rows"] if row["method"] == "mostly new"]
    assert len(rows) == 6
    assert {row["seed"] for row in rows[:3]} == {100, 101, 102}
    for row in rows[:3]:
        near = row["neighbours"][0]
        assert near["index"] == row["seed"] - 100
        assert near["distance"] == 0
        assert not row["authentic"]
        assert row["name"] == train.names[row["class"]] == near["name"]
        pictures = [np.asarray(Image.open(evaluated / "e" / one["file"])) for one in (row, near)]
        assert (pictures[0] == pictures[1]).all()
        assert (pictures[1] == train.x[near["index"], 0].numpy()).all()
    assert {len(row["neighbours"]) for row in found["rows"]} == {3}
    assert {row["method"] for row in found["rows"]} == {"mostly new", REAL}
    assert {row["seed"] for row in found["rows"] if row["method"] == REAL} == {None}


def test_another_network_under_the_same_name_is_measured_anew(digits, tmp_path):
    train, test = digits
    samples = {"new": album(tmp_path / "s", test.floats()[:60], test.y[:60], train.names)}
    weights = tmp_path / "net.safetensors"
    stage = EvaluateStage(measures=Measures(features=str(weights), cas="none"))
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        save_file(CifarResNet(3, 10, 8).state_dict(), weights)
        work = list(Evaluate("evaluate", tmp_path / "e", stage, samples, train, test).run(ALONE))
        rows = json.loads((tmp_path / "e" / "metrics.json").read_text())["rows"]
        values.append((bool(work), next(row["value"] for row in rows if row["metric"] == "FD@60")))
        assert {row["features"] for row in rows if row["metric"] == "FD@60"} == {"net"}
    assert [worked for worked, _ in values] == [True, False, True]
    assert values[0][1] == values[1][1] != values[2][1]


@pytest.mark.parametrize(
    ("given", "features"), [(True, "pixels"), (False, None), ({"features": "inception"}, "inception")]
)
def test_recipes_say_yes_no_or_how(given, features):
    tree = {
        "name": "r",
        "data": {"kind": "digits"},
        "schedule": {"kind": "edm"},
        "score": {"network": {"kind": "mlp"}, "training": {"steps": 2}},
    }
    recipe = Recipe.model_validate(tree | {"evaluate": given})
    assert (recipe.evaluate.features if recipe.evaluate else None) == features
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
