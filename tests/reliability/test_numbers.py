"""Numbers that are not finite, in whole commands: found, named, never drawn, and the state that is saved is good.

Every sampler at an absurd guidance scale: `uv run pytest -m slow tests/reliability/test_numbers.py`.
"""

import math
import re
from functools import partial

import pytest
from reliability import faults
from reliability.commands import run

from condgen.checkpoint import load_tensors
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


def guided(models, *more):
    return ("sample", "--score", models / "score", "--classifier", models / "classifier-ce", "--per-class", 2, *more)


def test_a_sample_that_is_not_finite_is_named_and_drawn_again_when_mended(digits_of_few_steps, tmp_path):
    command = guided(digits_of_few_steps, "--nfe", 8, "--out", tmp_path / "s")
    error = run(*command, prepare=partial(faults.bad_guidance, 3, 5.0)).error
    all_of(["2 of 20 samples", "class '3'", "seed 3", r"evaluation \d", "noise level"], error)
    assert len(list((tmp_path / "s").glob("[0-9]*.png"))) == len(read_rows(tmp_path / "s" / "manifest.jsonl")) == 18
    run(*command).check()
    assert len(list((tmp_path / "s").glob("[0-9]*.png"))) == 20


def test_one_step_samples_that_are_not_finite_are_named(digits_of_few_steps, tmp_path):
    command = (
        "sample",
        "--generator",
        digits_of_few_steps / "generator-sid",
        "--per-class",
        2,
        "--out",
        tmp_path / "s",
    )
    all_of(["2 of 20 samples", "class '7'", "seed 7"], run(*command, prepare=partial(faults.bad_generator, 7)).error)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_absurd_guidance_scale_is_reported_and_nothing_bad_is_drawn(sampler, digits_of_few_steps, tmp_path):
    chosen = ("--scale", "1e6", "--class", "3,4,5", "--sampler", sampler, "--out", tmp_path / "s")
    ended = run(*guided(digits_of_few_steps, *chosen))
    said = ended.out + ended.err
    bad = re.search(r"(\d+) of 6 samples cannot be used", said)
    assert ended.code == (2 if bad else 0)
    assert len(list((tmp_path / "s").glob("[0-9]*.png"))) == 6 - (int(bad[1]) if bad else 0)
