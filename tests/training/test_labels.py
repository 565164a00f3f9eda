"""How a score model is taught labels: dropout of the label, and a network for each class."""

import pytest
import torch

from condgen.networks import MLPSettings
from condgen.schedules import EDM, LogNormal
from condgen.score import ScoreConfig
from condgen.training import Batch, Processes, TrainingSettings
from condgen.training.tasks import ScoreTask

SETTINGS = TrainingSettings(steps=6, batch=12, lr=1e-2, warmup=2)
ALONE = Processes(cpu=True)


def task(data, labels, dropout=0.5):
    torch.manual_seed(0)
    network = MLPSettings(width=16, depth=1, embedding=8)
    config = ScoreConfig(
        network=network, schedule=EDM(), shape=data.shape, names=data.names, labels=labels, sigma_data=0.5
    )
    return ScoreTask(config.build(), LogNormal(), dropout)


class Rank(Processes):
    def __init__(self, rank):
        self.rank, self.count = rank, 2


def test_chances_have_their_probability_and_are_shared_among_ranks(tiny_images):
    many = TrainingSettings(steps=1, batch=40_000)
    found = Batch(tiny_images, many, 0, 0, ALONE).chance(0.3)
    assert float(found.double().mean()) == pytest.approx(0.3, abs=0.01)  # four standard errors
    assert float((found[1:] & found[:-1]).double().mean()) == pytest.approx(0.09, abs=0.01)  # independent
    assert not bool(Batch(tiny_images, many, 0, 0, ALONE).chance(0.0).any())
    assert bool(Batch(tiny_images, many, 0, 0, ALONE).chance(1.0).all())
    whole, parts = (
        Batch(tiny_images, SETTINGS, 0, 3, ALONE),
        [Batch(tiny_images, SETTINGS, 0, 3, Rank(r)) for r in (0, 1)],
    )
    assert torch.equal(whole.chance(0.5), torch.cat([part.chance(0.5) for part in parts]))


@pytest.mark.parametrize(("dropout", "taught"), [(0.0, [True, True, True, False]), (1.0, [False, False, False, True])])
def test_dropout_decides_which_rows_of_the_embedding_learn(dropout, taught, tiny_images):
    learner = task(tiny_images, "embedding", dropout)
    (table,) = (p for name, p in learner.model.named_parameters() if "label" in name)
    learner.update(
        Batch(tiny_images, SETTINGS, 0, 0, ALONE),
        lambda _, losses, *rows: losses(*rows)["loss"].mean().backward() or {},
    )
    assert (table.grad.abs().sum(1) > 0).tolist() == taught


def test_half_the_labels_are_left_out_and_the_loss_is_that_of_what_was_told(tiny_images):
    learner, told = task(tiny_images, "embedding"), []
    learner.model.register_forward_pre_hook(lambda _, inputs: told.append(inputs[2]))
    for step in range(20):
        learner.update(Batch(tiny_images, SETTINGS, 0, step, ALONE), lambda _, losses, *rows: losses(*rows))
    left_out = torch.cat(told) == 3
    true = torch.cat([Batch(tiny_images, SETTINGS, 0, step, ALONE).y for step in range(20)])
    assert 0.35 < float(left_out.double().mean()) < 0.65
    assert torch.equal(torch.cat(told)[~left_out], true[~left_out])


def test_models_without_labels_draw_what_they_always_drew(tiny_images):
    """The chance is drawn last and only where it is used, so the other draws of a step stay what they were."""
    loss = task(tiny_images, "none", 0.5).update(
        Batch(tiny_images, SETTINGS, 0, 0, ALONE), lambda _, losses, *rows: losses(*rows)
    )
    same = task(tiny_images, "none", 0.0).update(
        Batch(tiny_images, SETTINGS, 0, 0, ALONE), lambda _, losses, *rows: losses(*rows)
    )
    assert torch.equal(loss["loss"], same["loss"])


@pytest.mark.parametrize("labels", ["embedding", "separate"])
def test_gradients_of_two_ranks_add_up_to_those_of_one(labels, tiny_images):
    """Also where a rank lacks a class: every parameter has a gradient on every rank."""
    learner = task(tiny_images, labels)
    parameters = list(learner.model.parameters())

    def gradients(batch):
        found = []

        def apply(_, losses, *rows):
            shown = losses(*rows)
            found.extend(torch.autograd.grad(shown["loss"].mean(), parameters))
            return shown

        learner.update(batch, apply)
        return found

    small = SETTINGS.model_copy(update={"batch": 4})
    whole = gradients(Batch(tiny_images, small, 0, 0, ALONE))
    parts = [gradients(Batch(tiny_images, small, 0, 0, Rank(rank))) for rank in (0, 1)]
    for one, first, second in zip(whole, *parts, strict=True):
        torch.testing.assert_close(one, (first + second) / 2, rtol=1e-4, atol=1e-6)
