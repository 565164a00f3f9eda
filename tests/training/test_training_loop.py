import itertools

import pytest
import torch

from condgen.classifier import ClassifierConfig
from condgen.generator import GeneratorConfig
from condgen.losses import (
    AdversarialScoreMatching,
    Critic,
    Discriminator,
    DistributionMatching,
    ScoreIdentity,
    ScoreMismatching,
    classifier_loss,
    mismatching_levels,
)
from condgen.networks import MLPDiscriminatorSettings, MLPSettings
from condgen.schedules import EDM, LogNormal
from condgen.score import ScoreConfig
from condgen.training import Batch, Processes, State, TrainingSettings, load_state, save_state, train
from condgen.training.generator_tasks import MatchingTask, MismatchingTask
from condgen.training.settings import learning_rate_factor
from condgen.training.state import ema_decay
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask, ScoreTask

NET = MLPSettings(width=16, depth=1, embedding=8)
SETTINGS = TrainingSettings(steps=10, batch=12, lr=1e-2, warmup=5, save_every=5)
ALONE = Processes(cpu=True)


def score_task(data, labels="none"):
    about = {"shape": data.shape, "names": data.names, "labels": labels}
    return ScoreTask(
        ScoreConfig(network=NET, schedule=EDM(), sigma_data=0.5, **about).build(),
        LogNormal(),
    )


def adversarial_task(data):
    model = score_task(data).model
    objective = AdversarialScoreMatching(network=MLPDiscriminatorSettings(width=16, depth=1), discriminator_steps=2)
    return AdversarialScoreTask(model, Discriminator(objective.network, True, model), objective, LogNormal())


def classifier_task(data, loss="dlsm"):
    prior = score_task(data).model.eval().requires_grad_(False)
    config = ClassifierConfig(network=NET, schedule=EDM(), shape=data.shape, names=data.names, sigma_data=0.5)
    return ClassifierTask(config.build(), classifier_loss({"loss": loss}, ""), LogNormal(), prior)


def generator(data):
    return GeneratorConfig(network=NET, shape=data.shape, names=data.names, latent=4).build()


def mismatching_task(data):
    critic = Critic(NET, data.shape, data.n_classes, mismatching_levels())
    return MismatchingTask(generator(data), critic, ScoreMismatching(network=NET, critic_steps=2))


def matching_task(data, objective=ScoreIdentity):
    real, fake = (score_task(data, "embedding").model for _ in range(2))
    return MatchingTask(generator(data), real, fake, objective(network=NET))


TASKS = {
    "score": score_task,
    "adversarial": adversarial_task,
    "ce": lambda data: classifier_task(data, "ce"),
    "dlsm": classifier_task,
    "smm": mismatching_task,
    "sid": matching_task,
    "dmd": lambda data: matching_task(data, DistributionMatching),
}


def fresh(make, data, seed=0):
    torch.manual_seed(seed)
    task = make(data)
    return task, State.fresh(task.models(), SETTINGS.betas)


@pytest.mark.parametrize("name", TASKS)
def test_every_parameter_moves_in_the_first_step_with_warm_up_on(name, tiny_images):
    task, state = fresh(TASKS[name], tiny_images)
    before = {part: [p.detach().clone() for p in model.parameters()] for part, model in state.models.items()}
    next(train(task, state, tiny_images, SETTINGS, 0, ALONE))
    for part, model in state.models.items():
        moved = [not torch.equal(old, new) for old, new in zip(before[part], model.parameters(), strict=True)]
        assert all(moved), f"{part}: {moved.count(False)} of {len(moved)} stand still"


@pytest.mark.parametrize("name", TASKS)
def test_ten_steps_are_five_and_five_bit_for_bit(name, tiny_images, tmp_path):
    task, whole = fresh(TASKS[name], tiny_images)
    records = list(train(task, whole, tiny_images, SETTINGS, 0, ALONE))
    task, first = fresh(TASKS[name], tiny_images)
    for _ in itertools.islice(train(task, first, tiny_images, SETTINGS, 0, ALONE), 5):
        pass
    save_state(tmp_path, first, "key")
    task, second = fresh(TASKS[name], tiny_images, seed=99)  # other weights, which the file replaces
    if name in ("dlsm", "ce"):
        task.prior = fresh(TASKS[name], tiny_images)[0].prior
    assert load_state(tmp_path, second, "key")
    resumed = list(train(task, second, tiny_images, SETTINGS, 0, ALONE))
    assert [record.step for record in resumed] == [6, 7, 8, 9, 10]
    assert [float(r.metrics["loss"]) for r in resumed] == [float(r.metrics["loss"]) for r in records[5:]]
    expected, found = whole.tensors(), second.tensors()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_training_lowers_the_loss(tiny_images):
    settings = SETTINGS.model_copy(update={"steps": 200, "batch": 60})
    for name, metric in (("score", "loss"), ("adversarial", "dsm"), ("dlsm", "ce"), ("ce", "ce")):
        task, state = fresh(TASKS[name], tiny_images)
        losses = [float(r.metrics[metric]) for r in train(task, state, tiny_images, settings, 0, ALONE)]
        assert sum(losses[-20:]) < 0.9 * sum(losses[:20]), name


def test_the_learning_rate_is_a_pure_function_of_the_step():
    factors = [learning_rate_factor(SETTINGS, step) for step in range(10)]
    assert factors[0] > 0
    assert factors == [learning_rate_factor(SETTINGS, step) for step in range(10)]
    assert max(factors) == max(factors[4:]) <= 1
    constant = SETTINGS.model_copy(update={"decay": "constant", "warmup": 0})
    assert [learning_rate_factor(constant, step) for step in (0, 9)] == [1, 1]


def test_a_tail_is_constant_for_seven_tenths_and_then_falls_in_a_straight_line():
    tail = TrainingSettings(steps=100, batch=12, warmup=10, decay="tail")
    factors = [learning_rate_factor(tail, step) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10:71] == pytest.approx([1.0] * 61)
    assert factors[70:] == pytest.approx([(100 - step) / 30 for step in range(70, 100)])
    assert factors[-1] > 0
    warm = tail.model_copy(update={"warmup": 90})  # a warm-up that is not over when the fall begins
    assert learning_rate_factor(warm, 84) == pytest.approx(85 / 90 * 16 / 30)


def test_every_pass_sees_every_row_once(tiny_images):
    seen = [Batch(tiny_images, SETTINGS, 0, step, ALONE) for step in range(10)]  # two passes of 60 rows, 12 a step
    for half in (seen[:5], seen[5:]):
        rows = torch.cat([batch.x for batch in half]).flatten(1)
        assert torch.equal(rows.sort(0).values, tiny_images.floats().flatten(1).sort(0).values)
    assert not torch.equal(seen[0].x, seen[5].x)


def test_uniform_draws_are_even_and_fresh(tiny_images):
    batch = Batch(tiny_images, SETTINGS, 0, 3, ALONE)
    first, second = batch.uniform(), batch.uniform()
    for draws in (first, second):
        assert sorted((draws * 12).long().tolist()) == list(range(12))
    assert not torch.equal(first, second)
    assert first.dtype == torch.float64


def test_two_ranks_see_the_rows_of_one(tiny_images):
    class Rank(Processes):
        def __init__(self, rank):
            self.rank, self.count = rank, 2

    whole = Batch(tiny_images, SETTINGS, 0, 3, ALONE)
    parts = [Batch(tiny_images, SETTINGS, 0, 3, Rank(rank)) for rank in (0, 1)]
    assert torch.equal(whole.x, torch.cat([part.x for part in parts]))
    assert torch.equal(whole.normal(2), torch.cat([part.normal(2) for part in parts]))
    assert sum(part.weight for part in parts) == 1


def test_moving_average_equals_its_closed_form():
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    state = State.fresh({"model": model}, (0.9, 0.999))
    average = model.weight.detach().clone()
    for step in range(1, 6):
        with torch.no_grad():
            model.weight.add_(step)
        state.step = step
        state.update_ema(0.9)
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(state.ema.weight, average)
    assert ema_decay(0.9, 10**6) == 0.9


def test_state_of_another_key_or_architecture(tiny_images, tmp_path):
    from condgen.errors import UserError

    task, state = fresh(score_task, tiny_images)
    next(train(task, state, tiny_images, SETTINGS, 0, ALONE))
    assert not load_state(tmp_path, state, "key")
    save_state(tmp_path, state, "key")
    assert not load_state(tmp_path, state, "another key")
    other = State.fresh({"model": torch.nn.Linear(2, 2)}, (0.9, 0.999))
    with pytest.raises(UserError, match="does not fit this model"):
        load_state(tmp_path, other, "key")
