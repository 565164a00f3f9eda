"""The bench of numbers that go bad: what it finds of condgen, and of defects planted in what it does about them."""

import functools
import inspect
import math
import shutil

import pytest

from condgen.oracle import Oracle
from reliability import numbers, plants
from reliability.extremes import oracle_rows
from reliability.numbers import Case, run_case


@pytest.fixture(scope="module")
def run(digits_of_few_steps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    shutil.copytree(digits_of_few_steps, folder / "run")
    return folder / "run"


def values(rows):
    return {row["what"]: row["value"] for row in rows}


GOOD = {"detected": 1, "named": 1, "good samples kept": 1, "images of bad samples": 0}


def test_bad_samples_of_a_real_command(run):
    cases = {case.name: case for case in numbers._in_sampling(run.parent, run)}
    for name in ("a guided score that is NaN for a class", "the same again, mended", "every sample is bad"):
        assert values(run_case(cases[name])) == GOOD
    assert values(run_case(cases["NaN in a model's weights"])) == {"detected": 1, "named": 1}


def test_bad_losses_of_a_real_command(tmp_path):
    plant = functools.partial(plants.bad_losses, 4, 10**9, math.nan)
    settings = numbers._set("steps=40", "batch=32", "skip_limit=5")
    arguments = ("train-score", "--data", "digits", *settings, "--out", tmp_path / "s")
    case = Case("NaN", arguments, [r"step 8", r"noise level \d", r"class '\d'"], plant, state=tmp_path / "s")
    assert values(run_case(case)) == {"detected": 1, "named": 1, "state saved, all of it finite": 1}


def as_source(plant):
    """The function as a process understands it that knows no tests."""
    return functools.partial(exec, f"{inspect.getsource(plant)}\n{plant.__name__}()", {})


def careless():
    """In the command's process: bad samples are taken for good ones, and written."""
    import torch

    from condgen.runs import sample_folder, unusable_samples
    from reliability import plants

    plants.bad_guidance(3, 5.0)
    unusable_samples._unusable = lambda *_: {}
    honest = sample_folder.to_uint8
    sample_folder.to_uint8 = lambda x: honest(torch.nan_to_num(x))


def silent():
    """In the command's process: bad samples are left out, and nobody is told."""
    from condgen.runs import unusable_samples
    from reliability import plants

    plants.bad_guidance(3, 5.0)
    unusable_samples.UnusableSamples.note = lambda *_: ""


def test_planted_defects_are_noticed(run):
    whole = next(case for case in numbers._in_sampling(run.parent, run) if case.name.startswith("a guided score"))
    found = {}
    for plant in (careless, silent):
        place = run.parent / plant.__name__
        arguments = (*whole.arguments[:-1], place)
        case = Case("x", arguments, whole.words, as_source(plant), samples=(place, 18))
        found[plant] = values(run_case(case))
    assert found[careless] == {"detected": 0, "named": 0, "good samples kept": 1, "images of bad samples": 2}
    assert found[silent] == {"detected": 0, "named": 0, "good samples kept": 1, "images of bad samples": 0}


def test_a_guidance_scale_of_a_million_is_told(run):
    found = values(numbers._exploding(run.parent, run, "ddim"))
    assert (found["detected"], found["named"], found["images of bad samples"]) == (1, 1, 0)


def test_the_oracle_is_exact_or_refuses_at_extreme_noise_levels():
    rows = oracle_rows()
    assert len(rows) == 12
    refused = [row["variant"] for row in rows if row["what"] == "oracle: refused by name"]
    assert refused == ["sigma 1e-30, float32"]
    for row in rows:
        assert row["value"] == 1 if row["variant"] in refused else row["value"] < 1e-6


def test_an_oracle_that_is_wrong_is_noticed(monkeypatch):
    honest = Oracle.scores
    monkeypatch.setattr(Oracle, "scores", lambda *a: type(s := honest(*a))(*(1.001 * part for part in s)))
    assert min(row["value"] for row in oracle_rows([1e4])) > 1e-4
    monkeypatch.setattr(Oracle, "scores", lambda o, x, t, y: honest(o, x.double(), t, y))
    assert next(row["value"] for row in oracle_rows([1e-30])) != 1
