"""Whom each loss of a generator's training reaches, and what it leaves behind."""

import copy

import pytest
import torch
from models import NET, classifier, frozen, generator, score_model
from processes import ALONE

from condgen import ClassifierGuided, UNetSettings
from condgen.losses.distillation import DistributionMatching, LikelihoodTerm, ScoreIdentity
from condgen.losses.score_mismatching import Critic, ScoreMismatching
from condgen.training.batch import Batch
from condgen.training.generator_tasks import LikelihoodGuide, MatchingTask, MismatchingTask, MomentTask
from condgen.training.loop import train
from condgen.training.settings import TrainingSettings
from condgen.training.state import State

SETTINGS = TrainingSettings(steps=3, batch=12, lr=1e-2, warmup=0)
MATCHING = {"dmd": DistributionMatching, "sid": ScoreIdentity}


def task(name, data, teacher=None, likely=None):
    torch.manual_seed(0)
    model = generator(data)
    if name == "smm":
        objective = ScoreMismatching(network=NET, levels=(0.1, 0.3), critic_steps=3, critic_lr=0.5)
        return MismatchingTask(model, Critic(objective, data.shape, 3), objective, likely=likely)
    if name == "mmd":
        return MomentTask(model, 1.0, likely=likely)
    objective = MATCHING[name](network=NET, denoiser_steps=2, denoiser_lr=0.5)
    fake, real = score_model(data, "embedding"), score_model(data, "embedding")
    return MatchingTask(model, teacher or real, fake, objective, likely=likely)


def reached(learner, data):
    """Which networks the losses reach, in order: (whom the loss is for, those with a gradient)."""
    found = []

    def apply(part, losses, *rows):
        shown = losses(*rows)
        with_gradient = []
        for name, model in learner.models.items():
            how = {"materialize_grads": True, "retain_graph": True}
            if any(g.any() for g in torch.autograd.grad(shown["loss"].mean(), list(model.parameters()), **how)):
                with_gradient.append(name)
        found.append((part, with_gradient))
        return shown

    learner.update(Batch(data, SETTINGS, 0, 0), apply)
    return found


def test_losses_of_the_judges_never_reach_the_generator(tiny_images):
    assert reached(task("smm", tiny_images), tiny_images) == [
        *[("critic", ["critic"])] * 3,
        ("model", ["model", "critic"]),  # through the critic, whose weights that step leaves alone
    ]
    judges = [("fake", ["fake"]), ("real", ["real"])] * 2
    assert reached(task("dmd", tiny_images), tiny_images) == [*judges, ("model", ["model"])]
    assert reached(task("sid", tiny_images), tiny_images) == [*judges, ("model", ["model", "fake", "real"])]


def test_the_generators_step_moves_the_generator_alone(tiny_images):
    """After one step the judges are the same whatever the generator minimised: they learnt before it moved."""
    states = {}
    for name in MATCHING:
        learner = task(name, tiny_images)
        states[name] = State.fresh(learner.models, SETTINGS.betas)
        next(train(learner, states[name], tiny_images, SETTINGS, 0, ALONE))
    dmd, sid = (state.tensors() for state in states.values())
    judges = [key for key in dmd if "/fake/" in key or "/real/" in key]
    assert judges
    assert all(torch.equal(dmd[key], sid[key]) for key in judges)
    assert not all(torch.equal(dmd[key], sid[key]) for key in dmd if "/model/" in key)


@pytest.mark.parametrize("name", MATCHING)
@pytest.mark.parametrize("guided", [False, True])
def test_a_frozen_teacher_is_never_trained_and_keeps_no_gradient(name, guided, tiny_images):
    torch.manual_seed(1)
    networks = [frozen(score_model(tiny_images, "none" if guided else "embedding"))]
    networks += [frozen(classifier(tiny_images))] if guided else []
    teacher = ClassifierGuided(*networks) if guided else networks[0]
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    learner = task(name, tiny_images, teacher)
    assert set(learner.models) == {"model", "fake"}
    state = State.fresh(learner.models, SETTINGS.betas)
    for record in train(learner, state, tiny_images, SETTINGS, 0, ALONE):
        assert set(record.metrics) == {"loss", "fake_dsm"}
    for network, weights in zip(networks, before, strict=True):
        assert all(parameter.grad is None for parameter in network.parameters())
        assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["smm", "mmd", *MATCHING])
def test_a_likelihood_term_adds_its_weight_and_leaves_the_classifier_alone(name, tiny_images):
    torch.manual_seed(1)
    judge, losses = frozen(classifier(tiny_images)), []
    for weight in (None, 0.01, 100.0):
        likely = None if weight is None else LikelihoodGuide(judge, LikelihoodTerm(weight=weight))
        learner = task(name, tiny_images, likely=likely)
        applied = {}

        def apply(part, losses, *rows, applied=applied):
            applied[part] = {key: value.mean() for key, value in losses(*rows).items()}
            return dict(applied[part])

        metrics = learner.update(Batch(tiny_images, SETTINGS, 0, 0), apply)
        losses.append(applied["model"]["loss"])
        assert ("likelihood" in metrics) == (weight is not None)
        torch.testing.assert_close(losses[-1] - losses[0], (weight or 0.0) * metrics.get("likelihood", losses[0]))
    assert all(parameter.grad is None for parameter in judge.parameters())


def test_judges_have_learning_rates_of_their_own(tiny_images):
    assert task("smm", tiny_images).learning_rates == {"critic": 0.5}
    assert task("sid", tiny_images).learning_rates == {"fake": 0.5, "real": 0.5}


def test_the_generators_loss_is_the_mean_of_its_draws(tiny_images):
    """More draws, less noise: over steps the variance of the mean of eight is about an eighth."""
    torch.manual_seed(0)
    model = generator(tiny_images)
    critic = Critic(ScoreMismatching(network=NET, levels=(0.1, 0.3)), tiny_images.shape, 3)
    spread = {}
    for draws in (1, 8):
        learner = MismatchingTask(model, critic, ScoreMismatching(network=NET, draws=draws))
        x = model(torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3).detach()
        batches = (Batch(tiny_images, SETTINGS, 0, step) for step in range(60))
        judged = [learner.judge(x, torch.arange(12) % 3, *learner.draw(batch)).detach() for batch in batches]
        spread[draws] = float(torch.stack(judged).var(0).mean())
    assert spread[8] == pytest.approx(spread[1] / 8, rel=0.35)


def test_judges_are_asked_without_dropout_and_learn_with_it(tiny_images):
    """With equal judges nothing is left of the difference, which masks that differ would leave."""
    net = UNetSettings(channels=8, multipliers=(1,), blocks=1, attention=(), dropout=0.5)
    fake = score_model(tiny_images, "embedding", network=net)
    learner = task("sid", tiny_images)
    learner = MatchingTask(learner.model, copy.deepcopy(fake), fake, ScoreIdentity(network=net))
    batch = Batch(tiny_images, SETTINGS, 0, 0)
    z = batch.normal(*learner.model.latent_shape)
    assert not learner.judge(learner.model(z, batch.y), batch.y, *learner.draw(batch)).any()
    assert all(pupil.training for pupil in learner.pupils.values())
