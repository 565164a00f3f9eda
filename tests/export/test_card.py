"""What cards say of models: nothing that is not so."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from condgen.export.card import model_card, run_card
from condgen.export.sources import Measured, Model, Source
from condgen.metrics import REAL
from condgen.report import MetricRow

NETWORK = {"network": {"kind": "mlp"}, "shape": [1, 4, 4], "names": ["ant", "bee"], "labels": "none"}


def _model(kind="score model", stage=None, name="score"):
    description = NETWORK | {"kind": kind}
    return Model(Path("nowhere"), name, kind, description, stage or {}, {}, parameters=10)


def _text(model, measured=None):
    return ModelCard(model_card(model, measured or Measured(), [], [], "title", "mit"))


def _row(method, metric, n, floor_n, value=1.0):
    given = {"method": method, "metric": metric, "value": value, "low": value, "high": value, "n": n}
    return MetricRow(**given, features="f", reference="d train", floor=1.0, floor_n=floor_n, seed=0)


@pytest.mark.parametrize("data", [None, {"kind": "cifar10"}])
def test_nothing_is_claimed_of_the_data_of_an_imported_model(data):
    imported = _model(stage={"imported": "hf:them/ddpm@v1/unet", "data": data})
    card = _text(imported)
    assert card.data.base_model == "them/ddpm"
    assert "data: it was trained by others, on data that are unknown here" in card.text
    assert "- It was trained by others, on data that are unknown here" in card.text
    assert "data: cifar10" not in card.text
    assert "trained on the data named above" not in card.text
    assert ("beside it: cifar10, the data that classifiers learn" in card.text) == (data is not None)
    whole = Source(Path("nowhere"), "pets", (imported,), Measured(), is_run=True)
    text = ModelCard(run_card(whole, [], [], "mit")).text
    assert "data: unknown here" in text
    assert "trained on the data named above" not in text
    own = _text(_model(stage={"data": {"kind": "cifar10"}})).text
    assert ("data: cifar10" in own, "trained on the data named above" in own, "by others" in own) == (True, True, False)


def test_the_floor_is_described_at_its_own_n():
    rows = [_row("a", "FD@100", 1000, 100), _row("a", "precision", 1000, 100), _row(REAL, "precision", 100, 100)]
    text = _text(_model(), Measured(metrics=rows, sampled={"a": {}})).text
    assert "real data that were held out: n = 100." in text
    assert "at the same n" not in text
    assert "For CAS" not in text


def test_the_last_row_of_the_accuracy_score_is_of_training_data():
    rows = [_row("a", "CAS (probe)", 1000, 400), _row("a", "precision", 1000, 100)]
    text = _text(_model(), Measured(metrics=rows, sampled={"a": {}})).text
    assert "real data that were held out: n = 100. For CAS it is what a classifier learns" in text
    assert "from real training data: n = 400." in text
