"""What cards say of models: nothing that is not so."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from condgen.export.folder import model_card
from condgen.export.sources import Model, Source
from condgen.metrics import REAL, MetricRow
from condgen.report import Run

NETWORK = {"network": {"kind": "mlp"}, "shape": [1, 4, 4], "names": ["ant", "b|e*"], "labels": "none"}


def card(stage, kind="score model", **measured):
    model = Model(Path("nowhere"), "score", NETWORK | {"kind": kind}, stage, {}, parameters=10)
    return ModelCard(model_card(Source(Path("nowhere"), (model,), Run(Path("nowhere"), "r", **measured)), [], "mit"))


@pytest.mark.parametrize("data", [None, {"kind": "cifar10"}])
def test_nothing_is_claimed_of_the_data_of_an_imported_model(data):
    imported = card({"imported": "hf:them/ddpm@v1/unet", "data": data})
    assert imported.data.base_model == "them/ddpm"
    assert "data: it was trained by others, on data that are unknown here" in imported.text
    assert "What the unknown data lack or overstate" in imported.text
    assert "cifar10" not in imported.text
    own = card({"data": {"kind": "cifar10"}}).text
    assert "data: cifar10, images of shape 1 x 4 x 4" in own
    assert "by others" not in own


def test_names_are_shown_as_they_are_written():
    assert "classes: 2 (ant, b\\|e\\*)" in card({}).text


def test_metrics_have_their_conditions_and_no_path():
    row = {"metric": "FD@100", "value": 1.25, "low": 1.0, "high": 1.5, "n": 1000, "features": "f", "floor": 1.0}
    row |= {"reference": "/home/me/pets train", "floor_n": 100, "seed": 0}
    metrics = [MetricRow(method=method, **row) for method in ("a", REAL)]
    made = card({"data": {"kind": "folder", "root": "/home/me/pets"}}, metrics=metrics)
    assert "Real data in the last row: 100." in made.text
    assert "/home/me" not in made.text


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("score model", "condgen sample --score hf:OWNER/NAME --n 16"),
        ("classifier", "condgen sample --score runs/RUN/score --classifier hf:OWNER/NAME --class 0"),
        ("generator", "condgen sample --generator hf:OWNER/NAME --class 0"),
    ],
)
def test_the_use_is_that_of_the_kind_of_model(kind, command):
    assert command in card({}, kind).text
