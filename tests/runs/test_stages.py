"""Stages on a real run folder: trained, interrupted, resumed, sampled, measured."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from finish import begin
from PIL import Image
from stages import ALONE, DIGITS, NETWORK, model_key, small_stage, train

from condgen.checkpoint import load_tensors
from condgen.errors import UserError
from condgen.recipes.guidance import Method
from condgen.recipes.schema import EvaluateStage, SampleStage
from condgen.rng import Streams, keyed_generator
from condgen.runs.evaluate import Evaluate
from condgen.runs.folder import read_rows
from condgen.runs.layout import MANIFEST
from condgen.runs.models import Folders
from condgen.runs.sample import Sample
from condgen.runs.sample_folder import read_samples
from condgen.runs.train import training_cost

ADVERSARY = {"network": {"kind": "mlp", "width": 24}, "told_noise": True}
PARTS = {
    "score": ("score", {}),
    "adversarial": ("score", {"adversarial": ADVERSARY}),
    "classifier": ("classifier", {}),
    "pooled": ("classifier", {"prior": {"pool": 200, "reuse": 2}}),
    **{loss: ("generator", {"objective": {"loss": loss, "network": NETWORK}}) for loss in ("smm", "dmd", "sid")},
    "mmd": ("generator", {"objective": {"loss": "mmd"}}),
}


def small(name, training=None, **changes):
    kind, part = PARTS[name]
    return small_stage(kind, {"steps": 12, "save_every": 5, "log_every": 4} | (training or {}), **part | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    for part in PARTS:
        list(train(root / part, small(part), Folders(root / "score")))
    return root


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("stop_at", [1, 6, 12])
def test_stopping_anywhere_and_going_on_gives_the_same_bits(part, stop_at, trained, tmp_path):
    folders = Folders(trained / "score")
    begin(train(tmp_path / part, small(part), folders), stop_at)
    list(train(tmp_path / part, small(part), folders))
    assert model_key(tmp_path / part) == model_key(trained / part)
    logs = [[row["step"] for row in read_rows(root / part / "log.jsonl")] for root in (trained, tmp_path)]
    assert logs[0] == logs[1] == [4, 8, 12]
    assert not list(train(tmp_path / part, small(part), folders))


def test_a_pool_lies_with_its_score_model_and_a_full_disk_is_told(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "score", tmp_path / "score")
    files = list((tmp_path / "score" / "prior-pool").glob("*/*.safetensors"))
    assert len(files) == 3  # 200 entries at first, and then every second of 184, 128 a file
    for file in files:
        file.unlink()
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    work = train(tmp_path / "c", small("pooled"), Folders(tmp_path / "score"))
    first, *_ = [progress.message for progress in work if progress.message]
    assert "has no room for a pool of the prior's estimates" in first
    assert not list((tmp_path / "score" / "prior-pool").glob("*/*.safetensors"))


def test_the_pool_of_a_score_model_from_elsewhere_lies_in_the_cache(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "score", tmp_path / "score", ignore=shutil.ignore_patterns("stage.json", "prior-pool"))
    monkeypatch.setenv("CONDGEN_CACHE", str(tmp_path / "cache"))
    list(train(tmp_path / "c", small("pooled"), Folders(tmp_path / "score")))
    assert not (tmp_path / "score" / "prior-pool").exists()
    assert len(list((tmp_path / "cache" / "prior-pool").glob("*/*.safetensors"))) == 3


def test_a_classifier_may_learn_from_a_few_images_of_every_class(trained, tmp_path):
    few, folders = small("classifier", {"per_class": 3}), Folders(trained / "score")
    list(train(tmp_path / "few", few, folders))
    list(train(tmp_path / "same", small("classifier"), folders, DIGITS.train.per_class(3, keyed_generator(few.seed))))
    assert model_key(tmp_path / "few") == model_key(tmp_path / "same")


@pytest.mark.parametrize("part", ["score", "adversarial", "pooled", "sid"])
def test_more_steps_at_a_constant_rate_are_those_of_one_training(part, trained, tmp_path):
    def until(steps, folder):
        return train(folder, small(part, {"steps": steps, "decay": "constant"}), Folders(trained / "score"))

    begin(until(6, tmp_path / "parts"), 5)
    done = [event.done for event in until(8, tmp_path / "parts")]
    assert done == [0, 6, 7, 8]  # the first event tells that it goes on
    list(until(8, tmp_path / "whole"))
    assert model_key(tmp_path / "parts") == model_key(tmp_path / "whole")
    assert [row["step"] for row in read_rows(tmp_path / "parts" / "log.jsonl")] == [4, 8]
    assert yaml.safe_load((tmp_path / "parts" / "recipe.yaml").read_text())[small(part).kind]["training"]["steps"] == 8
    assert "went on after 5 steps" in json.loads((tmp_path / "parts" / "stage.json").read_text())["what"]


def test_training_that_cannot_go_on_says_that_it_begins_anew(tmp_path):
    for steps in (2, 3):
        events = list(train(tmp_path / "s", small("score", {"steps": steps})))
        shutil.rmtree(tmp_path / "s" / "state")
    assert any("begins anew" in event.message for event in events)
    assert events[-3].done == 1


@pytest.mark.parametrize("part", ["score", "classifier", "sid"])
def test_a_model_starts_from_the_weights_of_another(part, trained, tmp_path):
    stage = small(part, {"lr": 1e-12, "steps": 3}, init=str(trained / part))
    list(train(tmp_path / "on", stage, Folders(trained / "score")))
    first, found = (load_tensors(place / "model.safetensors")[0] for place in (trained / part, tmp_path / "on"))
    for name, tensor in first.items():
        torch.testing.assert_close(found[name], tensor)
    whole, half = training_cost(tmp_path / "on", stage.kind), training_cost(trained / part, stage.kind)
    own = json.loads((tmp_path / "on" / "stage.json").read_text())["seconds"]
    assert (whole["steps"], whole["seconds"]) == (15, pytest.approx(own + half["seconds"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": "DIR/sid"}, "holds a generator, where a classifier is needed"),
        ({"init": "DIR/none"}, "none"),
        ({"init": "ce"}, "there is no classifier to start from, --init, 'ce' among: none"),
        (
            {"network": {"kind": "mlp", "width": 25, "depth": 1, "embedding": 8}},
            "network is {'width': 24} where {'width",
        ),
    ],
)
def test_weights_that_do_not_go_with_the_model_are_refused(change, message, trained, tmp_path):
    part = {"init": "DIR/classifier", "objective": {"loss": "ce"}} | change
    part["init"] = part["init"].replace("DIR", str(trained))
    with pytest.raises(UserError, match=re.escape(message)):
        list(train(tmp_path / "c", small("classifier", **part)))


def test_a_model_with_an_adversary_is_a_score_model_like_any_other(trained):
    plain, about = load_tensors(trained / "score" / "model.safetensors")
    found, same = load_tensors(trained / "adversarial" / "model.safetensors")
    assert (about, plain.keys()) == (same, found.keys())
    assert not all(torch.equal(plain[name], found[name]) for name in plain)
    for row in read_rows(trained / "adversarial" / "log.jsonl"):
        assert {"loss", "dsm", "adversarial", "discriminator_real", "discriminator_fake"} <= row.keys()


METHODS = {
    "unguided": Method(steps=4),
    "guided": Method(classifier="c", steps=4, sampler="ancestral"),
    "one step": Method(generator="smm"),
    "adaptive": Method(classifier="c", sampler="adaptive-sde", options={"relative": 0.2}),
}
LABELS = tuple(label for label in range(10) for _ in range(2))


def draw(root, folder, method, *, batch=7, labels=LABELS, n=None, seed=5):
    folders = Folders(root / "score", classifiers={"c": root / "classifier"}, generators={"smm": root / "smm"})
    stage = SampleStage(method=method, classes=labels, n=n or len(labels), seed=seed, batch=batch)
    return Sample("sample", folder, stage, folders).run(ALONE)


@pytest.mark.parametrize("name", METHODS)
def test_samples_come_back_as_they_were_drawn(name, trained, tmp_path):
    list(draw(trained, tmp_path / "s", METHODS[name]))
    rows = read_rows(tmp_path / "s" / MANIFEST)
    assert [(row["class"], row["name"], row["seed"]) for row in rows] == [
        (label, str(label), 5 + i) for i, label in enumerate(LABELS)
    ]
    x, y, *_ = read_samples(tmp_path / "s")
    assert (x.shape, tuple(y.tolist())) == ((20, 1, 8, 8), LABELS)
    with Image.open(tmp_path / "s" / rows[3]["file"]) as picture:
        assert np.array_equal(np.asarray(picture), ((x[3, 0] + 1) * 127.5).round().numpy().astype(np.uint8))
    record = json.loads((tmp_path / "s" / "stage.json").read_text())
    assert record["evaluations_per_image"] == pytest.approx(sum(row["evaluations"] for row in rows) / 20, abs=0.06)


@pytest.mark.parametrize("name", ["guided", "adaptive"])
def test_stopped_sampling_goes_on_with_the_same_pictures(name, trained, tmp_path):
    list(draw(trained, tmp_path / "whole", METHODS[name]))
    work = draw(trained, tmp_path / "parts", METHODS[name])
    while next(work).done < 4:
        pass
    work.close()
    manifest = tmp_path / "parts" / MANIFEST
    assert 0 < len(read_rows(manifest)) < 20  # what was finished is there, in any order
    manifest.write_bytes(manifest.read_bytes()[:-20])  # as a kill leaves it
    with pytest.raises(UserError, match="not finished"):
        read_samples(tmp_path / "parts")
    list(draw(trained, tmp_path / "parts", METHODS[name]))
    assert not list(draw(trained, tmp_path / "parts", METHODS[name]))
    rows = [read_rows(tmp_path / part / MANIFEST) for part in ("whole", "parts")]
    assert [row["seed"] for row in rows[1]] == list(range(5, 25))
    records = [json.loads((tmp_path / part / "stage.json").read_text()) for part in ("whole", "parts")]
    assert records[0]["evaluations_per_image"] == pytest.approx(records[1]["evaluations_per_image"], abs=0.2)
    if name == "adaptive":  # others share its batches now, whose rounding may, rarely, tip the verdict on a step
        x, y = (read_samples(tmp_path / part)[0] for part in ("whole", "parts"))
        assert int(((x - y).abs().flatten(1).amax(1) > 0.1).sum()) <= 2
        return
    for file in sorted((tmp_path / "whole").glob("*.png")):
        assert file.read_bytes() == (tmp_path / "parts" / file.name).read_bytes()


def test_more_samples_are_those_of_one_command(trained, tmp_path):
    for n in (7, 20):
        drawn = [event.images for event in draw(trained, tmp_path / "parts", METHODS["guided"], n=n)]
    assert drawn[-1] == 13  # those that were missing
    list(draw(trained, tmp_path / "whole", METHODS["guided"]))
    for file in (tmp_path / "whole").glob("*.png"):
        assert file.read_bytes() == (tmp_path / "parts" / file.name).read_bytes()
    manifests = [(tmp_path / part / MANIFEST).read_bytes() for part in ("whole", "parts")]
    assert manifests[0] == manifests[1]


@pytest.mark.parametrize("name", METHODS)
def test_bad_samples_cost_no_good_ones(name, trained, tmp_path, monkeypatch):
    honest = Streams.normal

    def planted(self, *arguments, **named):
        noise = honest(self, *arguments, **named)
        pairs = zip(self.seeds, noise, strict=True)
        return torch.stack([part * torch.nan if seed in (7, 11) else part for seed, part in pairs])

    with monkeypatch.context() as patch:
        patch.setattr(Streams, "normal", planted)
        for _ in range(2):  # the second time the bad ones alone are tried again
            with pytest.raises(UserError, match=r"2 of 20 samples .*, of classes '1', '3'; with seed 7 its"):
                list(draw(trained, tmp_path / "bad", METHODS[name]))
            rows = read_rows(tmp_path / "bad" / MANIFEST)
            assert [row["seed"] for row in rows] == [seed for seed in range(5, 25) if seed not in (7, 11)]
    assert not json.loads((tmp_path / "bad" / "stage.json").read_text())["finished"]
    list(draw(trained, tmp_path / "bad", METHODS[name]))  # mended: all are there
    assert [row["seed"] for row in read_rows(tmp_path / "bad" / MANIFEST)] == list(range(5, 25))


def test_a_manifest_that_points_elsewhere_is_refused(trained, tmp_path):
    folder = tmp_path / "s"
    list(draw(trained, folder, METHODS["one step"]))
    rows = read_rows(folder / MANIFEST)
    (tmp_path / "secret.png").write_bytes((folder / rows[0]["file"]).read_bytes())
    rows[0]["file"] = "../secret.png"
    (folder / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="outside the folder"):
        read_samples(folder)


def test_evaluation_is_written_once_and_remade_when_samples_change(trained, tmp_path):
    list(draw(trained, tmp_path / "s", METHODS["one step"]))

    def evaluate():
        samples = {"one step": tmp_path / "s"}
        return list(Evaluate("evaluate", tmp_path / "e", EvaluateStage(), samples, *DIGITS[::2]).run(ALONE))

    assert evaluate()
    assert not evaluate()
    list(draw(trained, tmp_path / "s", METHODS["one step"], seed=6))
    assert evaluate()
