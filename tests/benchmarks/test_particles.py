"""Particles under exact judges, a few of them."""

import math

import pytest
import torch

from benchmarks.fixed_points import LEVELS, Objective
from benchmarks.particles import FRESH, follow, line_facts, moons, normal, plane_facts, two_modes
from benchmarks.seeds import rows_over_seeds

SMALL = LEVELS["0.2 0.5 1"]


def ended(work):
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def test_particles_widen_to_the_data_by_matching_and_not_by_mismatching():
    std = {}
    for loss in ("smm", "dmd", "sid"):
        x, _ = follow(Objective(loss), normal(), SMALL, 150, 80, seed=0)
        std[loss] = float(x.std())
    assert std["dmd"] == pytest.approx(1, abs=0.05)
    assert std["sid"] == pytest.approx(1, abs=0.08)
    assert 0.5 < std["smm"] < 0.85


def test_weights_of_two_modes_are_found_by_matching():
    x, _ = follow(Objective("dmd"), two_modes(), LEVELS["1 2 3"], 150, 80, seed=0)
    assert float((x > 0).double().mean()) == pytest.approx(0.3, abs=0.06)


def test_each_class_goes_to_its_own_moon():
    x, y = follow(Objective("dmd"), moons(), SMALL, 60, 60, seed=0)
    oracle = moons().oracle(SMALL)
    t = torch.tensor(0.2, dtype=torch.float64)
    assert float((oracle.log_posterior(x, t).argmax(1) == y).double().mean()) > 0.9
    assert float(oracle.means.std(0, correction=0).square().mean().sqrt()) == pytest.approx(1, abs=1e-3)


def test_the_same_seed_gives_the_same_particles_and_another_others():
    one, again, other = (follow(Objective("smm"), normal(), SMALL, 20, 3, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_facts_become_tidy_rows():
    facts = ended(line_facts(range(2), n=20, steps=2, objectives=[Objective("dmd")], levels=["1 2 3"]))
    on_plane, plane = ended(plane_facts(range(2), n=20, steps=2, objectives=[Objective("dmd")], levels=["1 2 3"]))
    rows = rows_over_seeds(facts + on_plane)
    assert [(row["what"], row["variant"]) for row in rows] == [
        ("std", "dmd"),
        ("largest |x|", "dmd"),
        ("weight of the right mode", "dmd"),
        ("std around the modes", "dmd"),
        ("SW to the data", FRESH),
        ("std within a class", "dmd"),
        ("SW to the data", "dmd"),
    ]
    assert all(row["seeds"] == 2 and math.isfinite(row["value"]) for row in rows)
    assert all("; sigma 1 2 3" in row["size"] for row in rows if row["variant"] != FRESH)
    assert plane.data[0].shape == plane.found["1 2 3", "dmd"][0].shape == (20, 2)
    assert torch.equal(plane.found["1 2 3", "dmd"][0], follow(Objective("dmd"), moons(), LEVELS["1 2 3"], 20, 2, 0)[0])
