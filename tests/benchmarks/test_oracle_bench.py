import pytest
import torch

from benchmarks import oracle as bench
from condgen.data import LabelledSet


@pytest.fixture
def images():
    """90 images of three classes that overlap."""
    x = torch.randint(256, (90, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return LabelledSet(x=x, y=torch.arange(90) % 3, names=("a", "b", "c"), source="random", split="train")


def rows_of(work):
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def test_the_plain_way_is_the_definition(images):
    x_t, y = torch.randn(5, 1, 4, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1])
    points = images.floats().double().flatten(1)

    def log_density(x, own):
        logits = -(x.flatten() - points).square().sum(1) / (2 * 0.7**2)
        return logits[images.y == own].logsumexp(0) if own is not None else logits.logsumexp(0)

    found = bench._Plain.of(images).scores(x_t, 0.7, y)
    for i in range(5):
        prior, posterior = (
            torch.func.grad(lambda x, own=own: log_density(x, own))(x_t[i]) for own in (None, int(y[i]))
        )
        for ours, exact in zip(found, (prior, posterior, posterior - prior), strict=True):
            torch.testing.assert_close(ours[i], exact)


def test_rows_tell_time_products_and_errors(images, monkeypatch):
    monkeypatch.setattr("benchmarks.timing.take_turns.__defaults__", (0.005,))  # least seconds
    rows = rows_of(bench.oracle_rows(images, torch.device("cpu"), queries=7, rounds=1))
    where = "random: 90 images of 16 numbers, 7 queries, 12 noise levels"
    of = {(row["what"], row["variant"]): row["value"] for row in rows if row["size"] == where}
    ways = ("all levels at once", "a level at a time", "plain float64")
    for way in ways:
        assert of["time of 1,000 queries", way] == pytest.approx(12 * of["time", way])
        # products over time is the speed
        gflop = of["speed", way] * of["time", way] * 7 * 12
        dense = 2 * 7 * 90 * 16 / 1e9
        least, most = {ways[0]: (2, 14), ways[1]: (12, 24), ways[2]: (24, 24)}[way]
        assert least * dense <= gflop * (1 + 1e-9) <= most * dense * (1 + 1e-6)
    assert of["D of the exact denoiser", ways[0]] < 1e-5
    errors = [row for row in rows if row["what"].startswith("error")]
    assert {row["variant"] for row in errors} == set(ways[:2])
    assert len({row["size"] for row in errors}) == 12
    assert max(row["value"] for row in errors) < 1e-5
