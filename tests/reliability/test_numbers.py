"""Numbers that are not finite, in whole commands: found, named, never drawn, and the state that is saved is good.

Every sampler at an absurd guidance scale: `uv run pytest -m slow tests/reliability/test_numbers.py`.
"""

import json
import math
import re
from functools import partial

import pytest
from reliability import faults
from reliability.commands import run

from condgen.checkpoint import load_tensors, save_tensors
from condgen.runs import read_rows
from condgen.samplers import SAMPLERS

TRAIN = ("train-score", "--data", "digits", "--set", "score.training.batch=32", "--set", "score.training.log_every=1")


def training(steps, out, *settings):
    chosen = [part for one in settings for part in ("--set", f"score.training.{one}")]
    return (*TRAIN, "--steps", steps, *chosen, "--out", out)


def state_is_finite(folder):
    tensors, _ = load_tensors(folder / "state" / "state.safetensors")
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def all_of(words, text):
    assert all(re.search(word, text) for word in words), text


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_stay_bad_end_the_training_with_a_good_state(value, tmp_path):
    fault = partial(faults.bad_losses, 4, 10**9, value)
    error = run(*training(40, tmp_path / "s", "skip_limit=3"), prepare=fault).error
    all_of([r"step \d", "last 3 updates", "not a finite number"], error)
    assert state_is_finite(tmp_path / "s")
    run(*training(8, tmp_path / "s", "skip_limit=3", "lr=1e-4")).check()


def test_an_update_with_one_bad_row_is_skipped_and_training_goes_on(tmp_path):
    run(*training(8, tmp_path / "s"), prepare=partial(faults.bad_losses, 5, 5, math.nan, 3)).check()
    assert '"skipped": 1' in (tmp_path / "s" / "log.jsonl").read_text()
    assert state_is_finite(tmp_path / "s")


@pytest.fixture(scope="module")
def models(digits_of_few_steps):
    return digits_of_few_steps


def test_a_sample_that_is_not_finite_is_named_and_drawn_again_when_mended(models, tmp_path):
    guided = ("sample", "--score", models / "score", "--classifier", models / "classifier-ce", "--per-class", 2)
    command = (*guided, "--nfe", 8, "--out", tmp_path / "s")
    error = run(*command, prepare=partial(faults.bad_guidance, 3, 5.0)).error
    all_of(["2 of 20 samples", "class '3'", "seed 6", r"evaluation \d", "noise level"], error)
    assert len(list((tmp_path / "s").glob("[0-9]*.png"))) == len(read_rows(tmp_path / "s" / "manifest.jsonl")) == 18
    run(*command).check()
    assert len(list((tmp_path / "s").glob("[0-9]*.png"))) == 20


def test_one_step_samples_and_weights_that_are_not_finite_are_named(models, tmp_path):
    command = ("sample", "--generator", models / "generator-sid", "--per-class", 2, "--out", tmp_path / "s")
    all_of(["2 of 20 samples", "class '7'", "seed 14"], run(*command, prepare=partial(faults.bad_generator, 7)).error)
    tensors, about = load_tensors(models / "score" / "model.safetensors")
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[0] = math.nan
    save_tensors(tmp_path / "score" / "model.safetensors", tensors, about)
    error = run("sample", "--score", tmp_path / "score", "--n", 4, "--out", tmp_path / "n").error
    all_of(["not finite", re.escape(name)], error)


@pytest.mark.parametrize(
    ("fault", "words"), [(faults.bad_points, "points are NaN or infinite"), (faults.bad_labels, "12")]
)
def test_data_that_are_not_finite_or_out_of_range_are_named(fault, words, tmp_path):
    data = "moons" if fault is faults.bad_points else "digits"
    assert words in run("train-score", "--data", data, "--steps", 2, "--out", tmp_path / "s", prepare=fault).error


def test_samples_and_features_that_are_not_finite_are_not_evaluated(models, tmp_path):
    points = tmp_path / "points"
    points.mkdir()
    (points / "stage.json").write_text(json.dumps({"stage": "sample", "finished": True, "outputs": []}))
    rows = [{"file": None, "x": [math.nan if n == 7 else 0.1 * n, 1.0], "class": n % 2, "seed": n} for n in range(40)]
    (points / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "1 of 40 samples" in run("evaluate", points, "--data", "moons", "--out", tmp_path / "m").error


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_absurd_guidance_scale_is_reported_and_nothing_bad_is_drawn(sampler, models, tmp_path):
    source = ("sample", "--score", models / "score", "--classifier", models / "classifier-ce", "--scale", "1e6")
    ended = run(*source, "--class", "3,4,5", "--per-class", 2, "--sampler", sampler, "--out", tmp_path / "s")
    said = ended.out + ended.err
    bad = re.search(r"(\d+) of 6 samples cannot be used", said)
    assert ended.code == (2 if bad else 0)
    assert len(list((tmp_path / "s").glob("[0-9]*.png"))) == 6 - (int(bad[1]) if bad else 0)
