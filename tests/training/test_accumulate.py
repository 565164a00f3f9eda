"""A batch in parts: the gradient of the whole, whatever is trained."""

import copy

import pytest
import torch
from torch.nn.utils.parametrizations import spectral_norm

from condgen.classifier import ClassifierConfig
from condgen.errors import UserError
from condgen.generator import GeneratorConfig
from condgen.losses import (
    AdversarialScoreMatching,
    Critic,
    Discriminator,
    DistributionMatching,
    LikelihoodTerm,
    ScoreIdentity,
    ScoreMismatching,
    classifier_loss,
)
from condgen.networks import MLPDiscriminatorSettings, MLPSettings
from condgen.schedules import EDM, LogNormal
from condgen.score import ScoreConfig
from condgen.training import Accumulation, Augmentation, Batch, Processes, State, TrainingSettings, accumulate, train
from condgen.training.generator_tasks import LikelihoodGuide, MatchingTask, MismatchingTask
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask, ScoreTask

NET = MLPSettings(width=16, depth=1, embedding=8)
SETTINGS = TrainingSettings(steps=1, batch=13, lr=1e-2)
ALONE = Processes(cpu=True)
MOVED = Augmentation(probability=0.5)


def score_model(data, labels="none"):
    about = {"schedule": EDM(), "shape": data.shape, "names": data.names, "sigma_data": 0.5}
    return ScoreConfig(network=NET, labels=labels, **about).build()


def classifier(data):
    about = {"schedule": EDM(), "shape": data.shape, "names": data.names, "sigma_data": 0.5}
    return ClassifierConfig(network=NET, **about).build()


def adversarial(data):
    objective = AdversarialScoreMatching(network=MLPDiscriminatorSettings(width=16, depth=1), discriminator_steps=2)
    model = score_model(data)
    return AdversarialScoreTask(model, Discriminator(objective.network, True, model), objective, LogNormal())


def discriminating(data, loss):
    prior = score_model(data).eval().requires_grad_(False)
    return ClassifierTask(classifier(data), classifier_loss({"loss": loss}, ""), LogNormal(), prior)


def generator(data):
    return GeneratorConfig(network=NET, shape=data.shape, names=data.names, latent=4).build()


def matching(data, objective, **more):
    return MatchingTask(
        generator(data), score_model(data, "embedding"), score_model(data, "embedding"), objective(network=NET), **more
    )


def mismatching(data):
    critic = Critic(NET, data.shape, data.n_classes, (0.1, 0.3))
    likely = LikelihoodGuide(classifier(data).eval().requires_grad_(False), LikelihoodTerm(weight=0.3))
    return MismatchingTask(generator(data), critic, ScoreMismatching(network=NET, critic_steps=2), MOVED, likely)


TASKS = {
    "score": lambda data: ScoreTask(score_model(data), LogNormal()),
    "conditional score": lambda data: ScoreTask(score_model(data, "embedding"), LogNormal(), 0.3),
    "a score model per class": lambda data: ScoreTask(score_model(data, "separate"), LogNormal()),
    "adversarial": adversarial,
    "ce": lambda data: discriminating(data, "ce"),
    "dlsm": lambda data: discriminating(data, "dlsm"),
    "smm": mismatching,
    "sid": lambda data: matching(data, ScoreIdentity, augmentation=MOVED),
    "dmd": lambda data: matching(data, DistributionMatching),
}


def made(name, data):
    torch.manual_seed(0)
    return TASKS[name](data)


def updates(name, data, size, *, equal=False):
    """The gradient and metrics of every update in one step, and the buffers after it."""
    learner = made(name, data)
    accumulation = Accumulation(learner.models(), size, equal=equal)
    found = []

    def apply(part, losses, *rows):
        gradients, means = accumulation(part, losses, rows, 0)
        found.append((part, gradients, means))
        return means

    learner.update(Batch(data, SETTINGS, 0, 0, ALONE), apply)
    buffers = {key: value for model in learner.models().values() for key, value in model.named_buffers()}
    return found, buffers


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("size", "equal"), [(1, False), (5, False), (5, True), (12, True)])
def test_parts_give_the_gradient_and_the_metrics_of_the_whole(name, size, equal, tiny_images):
    """13 rows, which no size divides; also where the last part is filled up."""
    whole, buffers = updates(name, tiny_images, None)
    parts, afterwards = updates(name, tiny_images, size, equal=equal)
    assert [part for part, *_ in parts] == [part for part, *_ in whole]
    for (_, expected, metrics), (_, found, shown) in zip(whole, parts, strict=True):
        assert metrics.keys() == shown.keys()
        for key, value in metrics.items():
            torch.testing.assert_close(shown[key], value, rtol=1e-5, atol=1e-6)
        scale = max(float(gradient.abs().max()) for gradient in expected if gradient is not None)
        for one, other in zip(expected, found, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(other / scale, one / scale, rtol=0, atol=1e-6)
    for key, value in buffers.items():  # of spectral normalisation: as if it had seen the batch once
        torch.testing.assert_close(afterwards[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("equal", [False, True])
def test_no_part_is_larger_than_asked_and_equal_ones_are_of_one_size(equal):
    model, seen = torch.nn.Linear(2, 1), []

    def losses(x):
        seen.append(len(x))
        return {"loss": model(x)[:, 0]}

    for size, even, filled in (
        (4, [4, 3, 3], [4, 4, 4]),
        (3, [3, 3, 2, 2], [3] * 4),
        (10, [10], [10]),
        (99, [10], [10]),
    ):
        seen.clear()
        Accumulation({"model": model}, size, equal=equal)("model", losses, [torch.randn(10, 2)], 0)
        assert max(seen) <= size
        assert sum(seen) == (sum(filled) if equal else 10)
        assert len(seen) == len(even)
        assert not equal or seen == filled


class Full:
    """A network on a device that holds so many rows at once."""

    def __init__(self, most):
        self.most, self.asked = most, []
        self.model = torch.nn.Sequential(spectral_norm(torch.nn.Linear(2, 1)), torch.nn.Dropout(0.5))

    def losses(self, x):
        self.asked.append(len(x))
        loss = self.model(x)[:, 0]
        if len(x) > self.most:
            raise torch.OutOfMemoryError("no room")
        return {"loss": loss}

    def gradients(self, size):
        torch.manual_seed(0)
        accumulation = Accumulation({"model": self.model}, size)
        accumulation._size = lambda name, losses, tensors, seed: len(tensors[0]) if size == "auto" else size
        x = torch.randn(40, 2)
        return [accumulation("model", self.losses, [x], 1)[0] for _ in range(2)], accumulation.sizes["model"]


def test_auto_halves_until_it_fits_and_remembers():
    full = Full(12)
    start = copy.deepcopy(full.model.state_dict())
    found, size = full.gradients("auto")
    assert (full.asked, size) == ([40, 20] + [10] * 8, 10)
    full.model.load_state_dict(start)
    expected, _ = full.gradients(10)  # what failed has left nothing behind, neither in buffers nor in dropout
    for one, other in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("most", "size", "hint"), [(12, 20, "micro_batch to auto"), (0, "auto", "a smaller network")])
def test_where_it_cannot_fit_one_line_says_what_to_do(most, size, hint):
    with pytest.raises(UserError, match=hint) as caught:
        Full(most).gradients(size)
    assert "\n" not in str(caught.value)


def test_auto_on_a_cpu_takes_what_the_free_memory_allows(monkeypatch):
    """A row of 1 MB is kept for the backward pass, which may take as much again; half of what is free is taken."""
    model = torch.nn.Linear(250_000, 1)
    sizes = []
    for free in (40e6, 400e6, 4e12, 0):
        monkeypatch.setattr(accumulate, "_free_memory", lambda free=free: free)
        accumulation = Accumulation({"model": model}, "auto")
        x = torch.zeros(64, 1, 250_000)
        accumulation("model", lambda x: {"loss": model(2 * x).flatten()}, [x], 0)
        sizes.append(accumulation.sizes["model"])
    assert sizes == [10, 64, 64, 1]


def test_memory_that_is_free_is_a_part_of_the_machines():
    assert 2**20 < accumulate._free_memory() < 2**50


def test_dropout_differs_between_updates_steps_and_ranks(tiny_images):
    masks = set()

    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(16, 1)

        def forward(self, x):
            mask = torch.nn.functional.dropout(torch.ones(40), 0.5)
            masks.add(tuple(mask.tolist()))
            return self.net(x.flatten(1))[:, 0]

    class Twice(ScoreTask):
        def __init__(self):
            self.model = Masked()

        def update(self, batch, apply):
            for _ in range(2):
                shown = apply("model", lambda x: {"loss": self.model(x)}, batch.x)
            return shown

    class Rank(Processes):
        def __init__(self, rank):
            self.rank, self.count = rank, 2

        def average_gradients(self, parameters, weight):
            pass

        def average(self, value, weight):
            return value

    settings = SETTINGS.model_copy(update={"steps": 3})
    for _ in range(2):  # the second time they are the same
        for rank in (0, 1):
            learner = Twice()
            list(train(learner, State.fresh(learner.models(), settings.betas), tiny_images, settings, 0, Rank(rank)))
        assert len(masks) == 12


@pytest.mark.parametrize("name", ["score", "adversarial", "dlsm", "sid"])
def test_training_in_parts_is_training(name, tiny_images):
    """Several steps of the loop: equal to rounding, and the record says how many rows went at a time."""
    settings = SETTINGS.model_copy(update={"steps": 4, "warmup": 0})

    def trained(**how):
        learner = made(name, tiny_images)
        state = State.fresh(learner.models(), settings.betas)
        records = list(train(learner, state, tiny_images, settings.model_copy(update=how), 0, ALONE))
        return state.tensors(), records

    whole, records = trained()
    parts, cut = trained(micro_batch=5)
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=2e-3, atol=2e-4, msg=key)
    assert set(records[-1].rows.values()) == {13}
    assert set(cut[-1].rows.values()) == {5}
    for one, other in zip(records, cut, strict=True):
        assert float(other.metrics["loss"]) == pytest.approx(float(one.metrics["loss"]), rel=1e-3)
