"""Logs as event files, read back by TensorBoard's own reader."""

import json
import sys

import pytest
from libraries import library

from condgen.errors import UserError
from condgen.export.events import write_events

library("tensorboard")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of other people's code

PART = {"network": {"kind": "mlp"}, "training": {"steps": 1}}
RECIPE = {"name": "r", "data": {"kind": "digits"}, "schedule": {"kind": "edm"}, "score": PART}
RECIPE["classifiers"] = {"dlsm": PART}
LEVEL = {"sigma": 0.5, "n": 10, "draws": 1, "accuracy": 0.25, "gain": None, "scale": float("inf")}


def _read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    read.Reload()
    return read


def _scalars(folder):
    read = _read(folder)
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def _log(place, rows):
    place.mkdir(parents=True, exist_ok=True)
    (place / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def run(tmp_path):
    """A run whose classifier is in training; its score model is finished, and an earlier recipe has left a folder."""
    folder = tmp_path / "run"
    _log(folder / "score", [{"step": step, "lr": 1e-3, "loss": 1 / step} for step in (1, 2, 3)])
    _log(folder / "classifier-dlsm", [{"step": 1, "loss": 0.5}, {"step": 1, "levels": [LEVEL]}])
    _log(folder / "classifier-old", [{"step": 1, "loss": 0.5}])
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE))
    (folder / "run.json").write_text(json.dumps({"stages": [{"stage": "score", "folder": "score"}]}))
    return folder


def test_events_are_the_figures_of_the_logs(run, tmp_path):
    assert write_events(run, tmp_path / "tb") == 5
    assert sorted(path.name for path in (tmp_path / "tb").iterdir()) == ["classifier-dlsm", "score"]
    found = _scalars(tmp_path / "tb" / "score")
    assert found["loss"] == [(step, pytest.approx(1 / step)) for step in (1, 2, 3)]
    assert found.keys() == {"loss", "lr"}
    found = _scalars(tmp_path / "tb" / "classifier-dlsm")
    assert found == {"loss": [(1, 0.5)], "accuracy/noise level 0.5": [(1, 0.25)]}


def test_they_are_written_anew_by_each_command(run, tmp_path):
    write_events(run, tmp_path / "tb")
    _log(run / "score", [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 7.0}])
    with (run / "score" / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    assert write_events(run, tmp_path / "tb") == 4
    assert _scalars(tmp_path / "tb" / "score") == {"loss": [(1, 1.0), (2, 7.0)]}


@pytest.mark.parametrize("row", [{"preview": "words"}, {"levels": [3]}, {"levels": [{"accuracy": 0.5}]}])
def test_rows_that_condgen_does_not_write_are_named(run, tmp_path, row):
    _log(run / "classifier-dlsm", [{"step": 1, **row}])
    with pytest.raises(UserError, match=r"classifier-dlsm/log\.jsonl holds what condgen does not write"):
        write_events(run, tmp_path / "tb")


def test_looks_at_a_generator_are_pictures(make_a_generator, tmp_path):
    place = tmp_path / "generator-sid"
    place.mkdir()
    make_a_generator(place)
    write_events(place, tmp_path / "tb")
    out = tmp_path / "tb" / "generator-sid"
    assert [event.step for event in _read(out).Images("samples")] == [100, 200, 300, 400]
    assert [step for step, _ in _scalars(out)["preview/std_ratio"]] == [100, 200, 300, 400]


def test_nothing_of_the_run_is_touched(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert write_events(run, run) == 5  # the worst place that anyone could name
    assert all(path.read_bytes() == content for path, content in before.items())


def test_what_has_no_log_is_said(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"holds no log\.jsonl"):
        write_events(tmp_path, tmp_path / "tb")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'condgen\[tensorboard\]'"):
        write_events(tmp_path, tmp_path / "tb")
