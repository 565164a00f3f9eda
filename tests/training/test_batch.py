"""A batch's rows and draws: functions of (seed, step, row), whatever the number of processes."""

import pytest
import torch
from models import noise_images
from processes import Rank

from condgen.rng import keyed_generator
from condgen.schedules import EDM, LogNormal
from condgen.training.batch import Batch, _order, _rows_of_step
from condgen.training.settings import TrainingSettings

DATA = noise_images()


def batches(count, total=1100, **settings):
    """One batch of so many rows, on as many processes; 64 pixels make more than one block of 2^16 numbers."""
    wanted = TrainingSettings(steps=9, batch=total, **settings)
    return [Batch(DATA, wanted, 0, 3, Rank(rank, count).rows(total)) for rank in range(count)]


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("flip", [False, True])
def test_many_processes_draw_what_one_does_bit_for_bit(count, flip):
    whole, parts = batches(1, flip=flip), batches(count, flip=flip)
    for draw in (
        lambda batch: batch.x,
        lambda batch: batch.y,
        lambda batch: batch.normal(1, 8, 8),
        lambda batch: batch.uniform_of_all()[batch.rows],
        lambda batch: batch.normal(1, 8, 8),
        lambda batch: batch.normal(3),
        lambda batch: batch.chance(0.3),
        lambda batch: batch.times(LogNormal(), EDM()),
    ):
        assert torch.equal(torch.cat([draw(part) for part in parts]), draw(whole[0]))


def test_tables_of_normal_numbers_are_fresh_normal_and_independent_of_threads(monkeypatch):
    (batch,) = batches(1)
    first, second = batch.normal(1, 8, 8), batch.normal(1, 8, 8)
    together = torch.cat((first, second))
    assert len(together.flatten().unique()) > 0.99 * together.numel()  # no block comes twice
    assert float(together.mean()) == pytest.approx(0, abs=0.01)
    assert float(together.square().mean()) == pytest.approx(1, abs=0.01)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert torch.equal(batches(1)[0].normal(1, 8, 8), first)


def test_half_of_the_images_are_mirrored_at_random_and_labels_stay():
    (plain,), (mirrored,) = batches(1), batches(1, flip=True)
    changed = (mirrored.x == plain.x.flip(-1)).flatten(1).all(1)
    assert torch.equal(mirrored.x[~changed], plain.x[~changed])
    assert torch.equal(mirrored.y, plain.y)
    assert torch.equal(mirrored.y_on_cpu, plain.y)
    assert float(changed.double().mean()) == pytest.approx(0.5, abs=0.06)
    assert float((changed[1:] & changed[:-1]).double().mean()) == pytest.approx(0.25, abs=0.06)


def test_times_are_spread_over_the_density():
    (batch,) = batches(1)
    t = batch.times(LogNormal(mean=0.5, std=0.2), EDM())
    assert t.dtype == torch.float64
    assert float(t.log().mean()) == pytest.approx(0.5, abs=0.01)
    assert float(t.log().std()) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("n", "batch"), [(60, 12), (60, 25), (7, 20), (7, 5), (10, 10)])
def test_rows_are_those_of_the_plain_formula_and_a_pass_is_shuffled_once(n, batch):
    """Row i of training is row i % n of the shuffled pass i // n."""
    _order.cache_clear()
    seen = torch.cat([_rows_of_step(n, batch, 3, step) for step in range(3 * n // batch + 2)])
    expected = torch.cat([torch.randperm(n, generator=keyed_generator(3, 0, i)) for i in range(-(-len(seen) // n))])
    assert torch.equal(seen, expected[: len(seen)])
    if n > batch:
        assert _order.cache_info().misses == len(expected) // n  # a permutation of the data costs, and is kept
