"""Brownian paths: one path whatever is tried, with the right variances."""

import math

import pytest
import torch

from condgen.rng import Streams
from condgen.samplers.adaptive.brownian import BrownianPath

N = 1000


def path(seed, shape=(1,)):
    return BrownianPath(Streams([seed]), shape, torch.float64)


def test_a_path_is_the_same_path_when_a_shorter_step_is_tried():
    for seed, (length, part) in enumerate([(1.0, 0.4), (2.0, 0.7), (3.0, 2.9)]):
        tried = path(seed, (2, 2))
        whole, first = tried.increment(length), tried.increment(part)
        tried.advance(part)
        torch.testing.assert_close(first + tried.increment(length - part), whole, rtol=1e-12, atol=1e-12)


def test_what_was_seen_inside_a_longer_look_is_remembered():
    """A rejected step may have crossed what earlier ones showed; none of it may be drawn again."""
    tried = path(0)
    first, half = tried.increment(1.0), tried.increment(0.5)
    tried.advance(0.5)
    beyond = tried.increment(2.0)  # the known half and a fresh stretch
    inside = tried.increment(0.25)
    torch.testing.assert_close(tried.increment(0.5), first - half, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tried.increment(2.0), beyond, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tried.increment(0.25), inside, rtol=0, atol=0)


def test_increments_have_the_variance_of_their_length():
    paths, found = [path(seed) for seed in range(N)], []
    for one in paths:
        one.increment(2.0)
    for length in (0.3, 0.5, 3.0):
        found.append(torch.cat([one.increment(length) for one in paths]))
        for one in paths:
            one.advance(length)
        assert float(found[-1].var()) == pytest.approx(length, rel=4 * math.sqrt(2 / N))
        assert abs(float(found[-1].mean())) < 4 * math.sqrt(length / N)
    correlations = torch.corrcoef(torch.stack(found)) - torch.eye(3)
    assert float(correlations.abs().max()) < 4 / math.sqrt(N)


@pytest.mark.parametrize("forget", [False, True])
def test_rejection_does_not_choose_the_noise(forget):
    """Steps that look up are rejected and halved: with memory the end is N(0, 1) all the same, without it is not."""
    ends = torch.zeros(N, dtype=torch.float64)
    for seed in range(N):
        tried, t, h = path(seed), 0.0, 0.5
        while t < 1 - 1e-9:
            h = min(h, 1 - t)
            increment = float(tried.increment(h))
            if increment > 0.2 and h > 0.1:
                h /= 2
                if forget:
                    tried = BrownianPath(tried.streams, tried.shape, torch.float64)
                continue
            tried.advance(h)
            ends[seed] += increment
            t, h = t + h, 0.5
    mean, error = float(ends.mean()), 1 / math.sqrt(N)
    if forget:
        assert mean < -10 * error
    else:
        assert abs(mean) < 4 * error
        assert float(ends.var()) == pytest.approx(1, rel=4 * math.sqrt(2 / N))
