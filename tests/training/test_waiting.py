"""The program never waits for the device inside a step."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from condgen.classifier import ClassifierConfig
from condgen.data import LabelledSet
from condgen.generator import GeneratorConfig
from condgen.guidance import ClassifierGuided, DenoiserGuided
from condgen.losses import (
    AdversarialScoreMatching,
    Critic,
    Discriminator,
    DistributionMatching,
    ScoreIdentity,
    ScoreMismatching,
    classifier_loss,
)
from condgen.networks import ConvDiscriminatorSettings, ConvGeneratorSettings, ResNetSettings, UNetSettings
from condgen.schedules import VP, LogNormal
from condgen.score import ScoreConfig
from condgen.training import Augmentation, Processes, State, TrainingSettings, train
from condgen.training.generator_tasks import MatchingTask, MismatchingTask
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask, ScoreTask

NET = UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=(4,))
WAITING = {"_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal", "bincount", "_unique2"}


def images(device):
    x = torch.randint(256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return LabelledSet(x, torch.arange(40) % 2, ("a", "b"), "noise", "train").to(device)


def score_model(data, labels="none"):
    about = {"schedule": VP(), "shape": data.shape, "names": data.names, "sigma_data": 0.5}
    return ScoreConfig(network=NET, labels=labels, **about).build().to(data.x.device)


def adversarial(data):
    objective = AdversarialScoreMatching(network=ConvDiscriminatorSettings(channels=(8, 8), halvings=1))
    model = score_model(data)
    judge = Discriminator(objective.network, True, model).to(data.x.device)
    return AdversarialScoreTask(model, judge, objective, LogNormal())


def discriminating(data, loss):
    prior = score_model(data).eval().requires_grad_(False)
    network = ResNetSettings(width=8, blocks=(1, 1))
    config = ClassifierConfig(network=network, schedule=VP(), shape=data.shape, names=data.names, sigma_data=0.5)
    return ClassifierTask(config.build().to(data.x.device), classifier_loss({"loss": loss}, ""), LogNormal(), prior)


def generator(data, **about):
    config = GeneratorConfig(shape=data.shape, names=data.names, **about)
    return config.build().to(data.x.device)


def matching(data, objective):
    real, fake = score_model(data, "embedding"), score_model(data, "embedding")
    model = generator(data, network=NET, scale=0.5, level=2.5)
    return MatchingTask(model, real, fake, objective(network=NET), Augmentation(probability=0.5))


def taught(data, labels):
    """By a frozen teacher: one that a classifier guides, or one of a network per class."""
    teacher = score_model(data, labels)
    if labels == "none":
        config = ClassifierConfig(
            network=ResNetSettings(width=8, blocks=(1, 1)),
            schedule=VP(),
            shape=data.shape,
            names=data.names,
            sigma_data=0.5,
        )
        teacher = ClassifierGuided(teacher, config.build().to(data.x.device), 1.5)
    elif labels == "embedding":
        teacher = DenoiserGuided(teacher, scale=1.5)
    teacher = teacher.eval().requires_grad_(False)
    model = generator(data, network=NET, scale=0.5, level=2.5)
    return MatchingTask(model, teacher, score_model(data, "embedding"), ScoreIdentity(network=NET))


def mismatching(data):
    critic = Critic(NET, data.shape, data.n_classes, (0.1, 0.3)).to(data.x.device)
    model = generator(data, network=ConvGeneratorSettings(channels=8, multipliers=(2, 1)), latent=4)
    return MismatchingTask(model, critic, ScoreMismatching(network=NET), Augmentation(probability=0.5))


TASKS = {
    "score": lambda data: ScoreTask(score_model(data), LogNormal()),
    "conditional score": lambda data: ScoreTask(score_model(data, "embedding"), LogNormal(), 0.3),
    "a score model per class": lambda data: ScoreTask(score_model(data, "separate"), LogNormal()),
    "adversarial": adversarial,
    "ce": lambda data: discriminating(data, "ce"),
    "dlsm": lambda data: discriminating(data, "dlsm"),
    "smm": mismatching,
    "sid": lambda data: matching(data, ScoreIdentity),
    "sid, guided by a classifier": lambda data: taught(data, "none"),
    "sid, guided without a label": lambda data: taught(data, "embedding"),
    "dmd": lambda data: matching(data, DistributionMatching),
}


UPDATES = {"adversarial": 2, "smm": 4, "sid": 5, "dmd": 5} | dict.fromkeys(
    ("sid, guided by a classifier", "sid, guided without a label"), 3
)


def steps(name, device, **how):
    data = images(device)
    torch.manual_seed(0)
    learner = TASKS[name](data)
    settings = TrainingSettings(steps=9, batch=12, flip=True, **how)
    state = State.fresh(learner.models(), settings.betas)
    return train(learner, state, data, settings, 0, Processes(cpu=device == "cpu"))


class Watch(TorchDispatchMode):
    """Notes what a device would have to answer at once."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        boolean = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in WAITING or boolean:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("how", [{}, {"precision": "bfloat16", "micro_batch": 5}], ids=["plain", "in parts"])
@pytest.mark.parametrize("name", TASKS)
def test_no_operation_of_a_step_reads_a_value(name, how):
    records = steps(name, "cpu", **how)
    next(records)
    with Watch() as watch:
        next(records)
    counted = watch.seen.count("bincount") if name == "a score model per class" else 0  # of labels that are on the CPU
    assert len(watch.seen) == counted + UPDATES.get(name, 1)  # each update is asked once whether it is finite


def test_the_watch_sees_what_waits():
    with Watch() as watch:
        x = torch.arange(4.0)
        float(x[0])
        x[x > 1]
        x[torch.tensor([0, 1])]
    assert watch.seen == ["_local_scalar_dense", "index"]
