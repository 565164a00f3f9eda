import pytest
import torch
from processes import ALONE
from samplers.conftest import GaussianDenoiser

from condgen import EDM, LogNormal, perturb
from condgen.training.batch import Batch
from condgen.training.prior_pool import PooledPrior, PriorPool
from condgen.training.settings import TrainingSettings

TRAINING = TrainingSettings(steps=40, batch=24, lr=1e-2, warmup=5, flip=True)


def pool(data, folder, pool=300, reuse=4, prior=None):
    settings = PooledPrior(pool=pool, reuse=reuse)
    return PriorPool(prior or GaussianDenoiser(EDM()), data, LogNormal(), settings, TRAINING, folder, ALONE)


def batches(data, seed=0, steps=40):
    return [Batch(data, TRAINING, seed, step) for step in range(steps)]


def test_an_entry_is_a_noised_image_with_the_priors_estimate(tiny_images, tmp_path):
    prior, made = GaussianDenoiser(EDM()), pool(tiny_images, tmp_path)
    kept = tiny_images.floats()
    mirrored, times = 0, []
    for batch in batches(tiny_images, steps=10):
        x, y, t, eps, estimate = made.draw(batch)
        times += t.tolist()
        torch.testing.assert_close(estimate, prior.eps(perturb(EDM(), x, t, eps), t), rtol=1e-3, atol=1e-3)
        for image, label in zip(x, y, strict=True):
            same = [torch.equal(image, other) for other in kept]
            same_mirrored = [torch.equal(image, other.flip(-1)) for other in kept]
            mirrored += not any(same)
            assert label in tiny_images.y[torch.tensor(same) | torch.tensor(same_mirrored)]
    assert 80 < mirrored < 160  # of 240
    assert len(set(times)) == 240  # each entry is drawn once before any is again
    assert abs(float(eps.mean())) < 5 / eps.numel() ** 0.5


def test_entries_are_fresh_until_the_pool_is_full_and_then_one_in_so_many(tiny_images, tmp_path):
    made, seen = pool(tiny_images, tmp_path, pool=300, reuse=4), set()
    numbers = torch.cat([made._entries(batch) for batch in batches(tiny_images, steps=200)]).tolist()
    assert numbers[:300] == list(range(300))
    for place, number in enumerate(numbers):
        newest = max(seen, default=-1)
        if number in seen:
            assert number > newest - 300
        else:
            assert number == newest + 1
            assert place < 300 or (place - 300) % 4 == 3
        seen.add(number)
    assert len(seen) == 300 + (len(numbers) - 300) // 4
    uses = torch.bincount(torch.tensor(numbers))[300:-300].double()  # of those that have come and gone
    assert float(uses.mean()) == pytest.approx(4, rel=0.05)
    other = torch.cat([made._entries(batch) for batch in batches(tiny_images, seed=1, steps=200)]).tolist()
    assert sum(one == two for one, two in zip(numbers[300:], other[300:], strict=True)) < 0.4 * len(numbers)


def test_the_prior_is_asked_once_for_each_entry_whoever_trains(tiny_images, tmp_path):
    for seed, asked in ((0, 512), (1, 0)):  # 300 + 660 / 4 entries are in 4 chunks of 128
        prior = GaussianDenoiser(EDM())
        made = pool(tiny_images, tmp_path, prior=prior)
        for batch in batches(tiny_images, seed=seed):
            made.draw(batch)
        assert sum(prior.batches) == asked


def test_chunks_that_lie_behind_are_let_go(tiny_images, tmp_path):
    made = pool(tiny_images, tmp_path, pool=130, reuse=1)
    for batch in batches(tiny_images):
        made.draw(batch)
    assert len(made._chunks) <= 3
    assert len(list(tmp_path.iterdir())) == 8


def test_a_disk_without_room_is_told_before(tiny_images, tmp_path, monkeypatch):
    made = pool(tiny_images, tmp_path / "deep" / "er")
    assert made.fits(960)
    free = 4 * 128 * 4 * 16  # four chunks of 4x4 images
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free})())
    assert not made.fits(960)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free + 1})())
    assert made.fits(960)
    for batch in batches(tiny_images, steps=10):  # two chunks are there now, and need no more room
        made.draw(batch)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": free // 2 + 1})())
    assert made.fits(960)
