"""The evaluating stage: what it writes beside the figures, and what makes it work anew."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from stages import ALONE, DIGITS

from condgen import LabelledSet, UserError
from condgen.metrics.evaluate import Measures
from condgen.metrics.measures import REAL
from condgen.networks.cifar_resnet import CifarResNet
from condgen.recipes.schema import EvaluateStage
from condgen.runs.evaluate import Evaluate
from condgen.runs.layout import MANIFEST
from condgen.runs.sample_folder import write_samples
from condgen.runs.stage import Key, open_folder


def album(folder, x, y, names):
    """A folder of samples as the sampling stage leaves it."""
    stage = open_folder("sample", folder, Key("key", "key", 1), EvaluateStage())
    rows = [{"class": int(label), "name": names[label], "seed": 100 + i} for i, label in enumerate(y)]
    write_samples(folder, range(len(y)), x, rows)
    stage.finish([MANIFEST])
    return folder


@pytest.fixture
def evaluated(tmp_path):
    train, _, test = DIGITS
    x = torch.cat((train.floats()[:3], test.floats()[:57]))
    y = torch.cat((train.y[:3], test.y[:57]))
    samples = {"mostly new": album(tmp_path / "s", x, y, train.names)}
    list(Evaluate("evaluate", tmp_path / "run" / "e", EvaluateStage(), samples, train, test).run(ALONE))
    return tmp_path / "run"


def test_copies_come_first_beside_the_image_that_they_copy(evaluated):
    train = DIGITS.train
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


def test_another_network_under_the_same_name_is_measured_anew(tmp_path):
    train, _, test = DIGITS
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


def named(x, labels, names, split):
    return LabelledSet(x, torch.tensor([names.index(label) for label in labels]), names, "pets", split)


@pytest.fixture(scope="module")
def pets():
    """Real images of two classes, and samples of two classes of which one is the same, under another number."""
    x = torch.randint(256, (80, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    real = [
        named(x[part], ["ant", "cat"] * 20, ("ant", "cat"), split)
        for part, split in ((slice(40), "train"), (slice(40, 80), "test"))
    ]
    return *real, x[:20].float() / 127.5 - 1, ("cat", "dog")


def test_labels_are_matched_by_the_names_of_classes(pets, tmp_path):
    *real, x, names = pets
    samples = album(tmp_path / "s", x, [0, 1] * 10, names)
    work = list(Evaluate("evaluate", tmp_path / "e", EvaluateStage(), {"s": samples}, *real).run(ALONE))
    assert work[0].message == "evaluate: s: 10 samples are left out, since pets has no class dog"
    found = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert found["what"]["samples"] == {"s": 10}
    assert {row["name"] for row in found["by_class"] if row["method"] == "s"} == {"cat"}
    own = album(tmp_path / "own", x[::2], [1] * 10, ("ant", "cat"))
    list(Evaluate("evaluate", tmp_path / "f", EvaluateStage(), {"s": own}, *real).run(ALONE))
    assert json.loads((tmp_path / "f" / "metrics.json").read_text())["rows"] == found["rows"]


def test_samples_of_other_classes_alone_are_refused(pets, tmp_path):
    *real, x, _ = pets
    samples = album(tmp_path / "s", x, [0, 1] * 10, ("dog", "wolf"))
    with pytest.raises(UserError, match="dog, wolf, and pets has other classes, ant, cat"):
        list(Evaluate("evaluate", tmp_path / "e", EvaluateStage(), {"s": samples}, *real).run(ALONE))


def test_images_of_any_origin_by_folder_and_of_one_class(pets, tmp_path):
    *real, x, _ = pets
    pixels = ((x + 1) * 127.5).round().byte().numpy()
    for i, picture in enumerate(pixels[:, 0]):
        place = tmp_path / "made" / ("ant", "cat")[i % 2] / f"{i:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place)
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    same = album(tmp_path / "same", x[order], [0] * 10 + [1] * 10, ("ant", "cat"))
    samples = {"made": tmp_path / "made", "same": same}
    list(Evaluate("evaluate", tmp_path / "e", EvaluateStage(), samples, *real).run(ALONE))
    rows = json.loads((tmp_path / "e" / "metrics.json").read_text())["rows"]
    made, expected = ([row | {"method": ""} for row in rows if row["method"] == name] for name in samples)
    assert made == expected
    samples = {"cats": tmp_path / "made" / "cat"}
    stage = Evaluate("evaluate", tmp_path / "f", EvaluateStage(), samples, *real, of="cat")
    list(stage.run(ALONE))
    assert list(stage.run(ALONE)) == []
    Image.fromarray(pixels[0, 0]).save(tmp_path / "made" / "cat" / "more.png")
    assert stage.key().whole != json.loads((tmp_path / "f" / "stage.json").read_text())["key"]
    (tmp_path / "empty").mkdir()
    empty = Evaluate("evaluate", tmp_path, EvaluateStage(), {"a": tmp_path / "empty"}, *real)
    assert empty.reads() == [tmp_path / "empty" / MANIFEST]
