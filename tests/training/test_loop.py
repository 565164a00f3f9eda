import pytest
import torch
from finish import begin
from models import NET, classifier, frozen, generator, score_model
from processes import ALONE, Rank, Watched

from condgen import EDM, LogNormal, UNetSettings, UserError
from condgen.losses import classifier_loss
from condgen.losses.distillation import DistributionMatching, LikelihoodTerm, ScoreIdentity
from condgen.losses.score_matching import AdversarialScoreMatching
from condgen.losses.score_mismatching import Critic, ScoreMismatching
from condgen.networks.discriminator import MLPDiscriminatorSettings
from condgen.training.generator_tasks import LikelihoodGuide, MatchingTask, MismatchingTask, MomentTask
from condgen.training.loop import Task, train
from condgen.training.settings import TrainingSettings
from condgen.training.state import State, load_state, save_state
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask, ScoreTask

SETTINGS = TrainingSettings(steps=10, batch=12, lr=1e-2, warmup=5, save_every=5)
UNET = UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=())


def score_task(data, labels="none", **changes):
    return ScoreTask(score_model(data, labels, **changes), LogNormal())


def adversarial_task(data):
    network = MLPDiscriminatorSettings(width=16, depth=1)
    objective = AdversarialScoreMatching(network=network, told_noise=True, discriminator_steps=2)
    return AdversarialScoreTask(score_task(data).model, LogNormal(), objective=objective)


def classifier_task(data, loss="dlsm"):
    prior = frozen(score_model(data))
    return ClassifierTask(classifier(data), classifier_loss({"loss": loss}, ""), LogNormal(), prior)


def mismatching_task(data):
    guide = LikelihoodGuide(frozen(classifier_task(data).model), LikelihoodTerm(weight=0.3))
    objective = ScoreMismatching(network=NET, critic_steps=2)
    return MismatchingTask(generator(data), Critic(objective, data.shape, data.n_classes), objective, likely=guide)


def matching_task(data, objective=ScoreIdentity):
    real, fake = (score_model(data, "embedding") for _ in range(2))
    return MatchingTask(generator(data), real, fake, objective(network=NET))


TASKS = {
    "score": score_task,
    "unet": lambda data: score_task(data, network=UNET),
    "conditional": lambda data: ScoreTask(score_task(data, "embedding").model, LogNormal(), 0.3),
    "per class": lambda data: score_task(data, "separate"),
    "adversarial": adversarial_task,
    "ce": lambda data: classifier_task(data, "ce"),
    "dlsm": classifier_task,
    "smm": mismatching_task,
    "sid": matching_task,
    "dmd": lambda data: matching_task(data, DistributionMatching),
    "mmd": lambda data: MomentTask(generator(data), 1.0),
}


def fresh(make, data, seed=0, optimizer="adam"):
    torch.manual_seed(seed)
    task = make(data)
    return task, State.fresh(task.models, SETTINGS.betas, optimizer)


@pytest.mark.parametrize("name", TASKS)
def test_every_parameter_moves_in_the_first_step_with_warm_up_on(name, tiny_images):
    task, state = fresh(TASKS[name], tiny_images)
    before = {part: [p.detach().clone() for p in model.parameters()] for part, model in state.models.items()}
    next(train(task, state, tiny_images, SETTINGS, 0, ALONE))
    for part, model in state.models.items():
        moved = [not torch.equal(old, new) for old, new in zip(before[part], model.parameters(), strict=True)]
        assert all(moved), f"{part}: {moved.count(False)} of {len(moved)} stand still"


@pytest.mark.parametrize(("name", "optimizer"), [*((name, "adam") for name in TASKS), ("unet", "muon")])
def test_ten_steps_are_five_and_five_bit_for_bit(name, optimizer, tiny_images, tmp_path):
    task, whole = fresh(TASKS[name], tiny_images, 0, optimizer)
    records = list(train(task, whole, tiny_images, SETTINGS, 0, ALONE))
    task, first = fresh(TASKS[name], tiny_images, 0, optimizer)
    begin(train(task, first, tiny_images, SETTINGS, 0, ALONE), 5)
    save_state(tmp_path, first, "key")
    task, second = fresh(TASKS[name], tiny_images, 99, optimizer)  # other weights, which the file replaces
    if name in ("dlsm", "ce"):
        task.prior = fresh(TASKS[name], tiny_images)[0].prior
    if name == "smm":
        task.likely = fresh(TASKS[name], tiny_images)[0].likely
    assert load_state(tmp_path, second, "key")
    resumed = list(train(task, second, tiny_images, SETTINGS, 0, ALONE))
    assert [record.step for record in resumed] == [6, 7, 8, 9, 10]
    assert [float(r.metrics["loss"]) for r in resumed] == [float(r.metrics["loss"]) for r in records[5:]]
    torch.testing.assert_close(second.tensors(), whole.tensors(), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "metric"), [("score", "loss"), ("adversarial", "dsm"), ("dlsm", "ce")])
def test_training_lowers_the_loss(name, metric, tiny_images):
    settings = SETTINGS.model_copy(update={"steps": 60, "batch": 60})
    task, state = fresh(TASKS[name], tiny_images)
    losses = [float(r.metrics[metric]) for r in train(task, state, tiny_images, settings, 0, ALONE)]
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_gradients_are_clipped_to_the_greatest_norm(tiny_images):
    task, state = fresh(score_task, tiny_images)
    next(train(task, state, tiny_images, SETTINGS.model_copy(update={"clip": 1e-3}), 0, ALONE))
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in task.model.parameters()])
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


# A batch in parts


def first_step(name, data, **changes):
    task, state = fresh(TASKS[name], data)
    watched = Watched()
    settings = SETTINGS.model_copy(update={"batch": 13} | changes)
    return watched.gradients, next(train(task, state, data, settings, 0, watched)).metrics


# The adversary's spectral norms take a step for each part, and moment matching is of pairs.
@pytest.mark.parametrize("name", sorted(TASKS.keys() - {"adversarial", "mmd"}))
@pytest.mark.parametrize("size", [1, 5, 12])
def test_parts_give_the_gradient_and_the_metrics_of_the_whole(name, size, tiny_images):
    """13 rows, which no size divides. Judges are equal to rounding only after their own first update."""
    whole, metrics = first_step(name, tiny_images)
    parts, shown = first_step(name, tiny_images, micro_batch=size)
    assert metrics.keys() == shown.keys()
    for key, value in metrics.items():
        torch.testing.assert_close(shown[key], value, rtol=1e-3, atol=1e-5)
    for update, (expected, found) in enumerate(zip(whole, parts, strict=True)):
        scale = max(float(gradient.abs().max()) for gradient in expected if gradient is not None)
        for one, other in zip(expected, found, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(other / scale, one / scale, rtol=0, atol=1e-6 if update == 0 else 1e-2)


class Twice(Task):
    """Two updates a step, each of which is noted."""

    def __init__(self, note):
        self.model, self.note = torch.nn.Linear(16, 1), note
        self.models = {"model": self.model}

    def losses(self, x):
        self.note(x)
        return {"loss": self.model(x.flatten(1))[:, 0]}

    def update(self, batch, apply):
        for _ in range(2):
            shown = apply("model", self.losses, batch.x)
        return shown


@pytest.mark.parametrize(("size", "expected"), [(4, [4, 4, 2]), (3, [3, 3, 3, 1]), (6, [5, 5]), (99, [10])])
def test_no_part_is_larger_than_asked(size, expected, tiny_images):
    seen, settings = [], TrainingSettings(steps=1, batch=10, micro_batch=size)
    task = Twice(lambda x: seen.append(len(x)))
    list(train(task, State.fresh(task.models, settings.betas), tiny_images, settings, 0, ALONE))
    assert seen == 2 * expected


def test_dropout_differs_between_updates_steps_and_ranks(tiny_images):
    masks = set()

    def note(_):
        masks.add(tuple(torch.nn.functional.dropout(torch.ones(40), 0.5).tolist()))

    settings = SETTINGS.model_copy(update={"steps": 3})
    for _ in range(2):  # the second time they are the same
        for rank in (0, 1):
            task = Twice(note)
            list(train(task, State.fresh(task.models, settings.betas), tiny_images, settings, 0, Rank(rank)))
        assert len(masks) == 12


@pytest.mark.parametrize(("updates", "whole"), [(3, False), (4, True)])
def test_a_state_is_not_whole_in_the_midst_of_a_step(updates, whole, tiny_images):
    left = iter(range(updates))
    task = Twice(lambda _: next(left))
    state = State.fresh(task.models, SETTINGS.betas)
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(train(task, state, tiny_images, SETTINGS, 0, ALONE))
    assert (state.step, state.whole) == (updates // 2, whole)


def test_frozen_parameters_stay_as_they_are(tiny_images):
    task = Twice(lambda _: None)
    task.model.weight.requires_grad_(False)
    before = task.model.weight.clone()
    list(train(task, State.fresh(task.models, SETTINGS.betas), tiny_images, SETTINGS, 0, ALONE))
    assert torch.equal(task.model.weight, before)
    assert task.model.bias.grad.all()


# Updates that are not finite


class OneBadRow(Task):
    """Least squares, of which row 7 goes wrong in some steps."""

    def __init__(self, value, steps, *, flat=False):
        torch.manual_seed(0)
        self.model, self.value, self.steps, self.flat = torch.nn.Linear(16, 3), torch.tensor(value), steps, flat
        self.step, self.models = 0, {"model": self.model}

    def update(self, batch, apply):
        self.step += 1

        def losses(x, y, place):
            loss = (self.model(x.flatten(1)) - torch.eye(3)[y]).square().mean(1)
            chosen = (place == 7) & (self.step in self.steps)
            factor = torch.where(chosen, self.value, 1.0)
            return {"loss": torch.where(chosen, self.value, loss) if self.flat else loss * factor}

        return apply("model", losses, batch.x, batch.y, torch.arange(12))


@pytest.mark.parametrize("flat", [False, True], ids=["with a gradient", "without"])
@pytest.mark.parametrize(
    ("value", "micro_batch", "optimizer"),
    [(torch.nan, None, "adam"), (torch.inf, 5, "adam"), (-torch.inf, None, "muon")],
)
def test_a_bad_row_is_counted_and_moves_neither_weights_nor_moments(tiny_images, value, micro_batch, flat, optimizer):
    task = OneBadRow(value, {3}, flat=flat)
    settings = SETTINGS.model_copy(update={"steps": 6, "micro_batch": micro_batch})
    state, states = State.fresh(task.models, SETTINGS.betas, optimizer), []
    for record in train(task, state, tiny_images, settings, 0, ALONE):
        states.append({name: v.clone() for name, v in state.tensors().items() if name.startswith(("models", "opt"))})
        assert bool(record.skipped) == (record.step == 3)
        if record.skipped:
            assert record.skipped == {"model": "loss is not a finite number in 1 of 12 rows"}
    assert state.skipped == {"model": (1, 0)}
    assert all(torch.equal(states[1][name], states[2][name]) for name in states[1])
    assert not torch.equal(states[2]["models/model/weight"], states[3]["models/model/weight"])


def test_after_too_many_in_a_row_training_ends_and_does_so_again(tiny_images):
    task = OneBadRow(torch.nan, range(3, 100))
    settings = SETTINGS.model_copy(update={"steps": 40, "skip_limit": 4})
    state = State.fresh(task.models, SETTINGS.betas)
    for _ in range(2):
        with pytest.raises(UserError, match=r"the last 4 updates of model until step 6 were skipped"):
            list(train(task, state, tiny_images, settings, 0, ALONE))
    records = train(task, state, tiny_images, settings.model_copy(update={"skip_limit": 5}), 0, ALONE)
    assert next(records).step == 7


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("huge", ["weights", "inputs"])
def test_overflow_in_a_network_is_detected(tiny_images, precision, huge):
    schedule, sigma_data = EDM(sigma_min=1e-32, sigma_max=80), 1e-30 if huge == "inputs" else 0.5
    model = score_model(tiny_images, schedule=schedule, sigma_data=sigma_data)
    if huge == "weights":
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1e25).add_(1e25)
    task = ScoreTask(model, LogNormal(mean=-60.0 if huge == "inputs" else -1.2))
    state = State.fresh(task.models, SETTINGS.betas)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = TrainingSettings(steps=6, batch=12, precision=precision)
    with pytest.raises(UserError, match="the last 3 updates"):
        list(train(task, state, tiny_images, settings, 0, ALONE))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    state.load_tensors(state.tensors(), state.step)  # though there are no moments


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_weight_decay_shrinks_weights_by_the_learning_rate_times_it(optimizer, tiny_images):
    """One step from the same weights: the gradient moves both alike."""
    found = []
    for decay in (0.0, 0.3):
        settings = SETTINGS.model_copy(update={"weight_decay": decay, "warmup": 0, "optimizer": optimizer})
        task, _ = fresh(classifier_task, tiny_images)
        before = [parameter.detach().clone() for parameter in task.model.parameters()]
        state = State.fresh(task.models, settings.betas, optimizer, decay)
        next(train(task, state, tiny_images, settings, 0, ALONE))
        found.append([parameter.detach() for parameter in task.model.parameters()])
    for plain, shrunk, start in zip(*found, before, strict=True):
        torch.testing.assert_close(shrunk, plain - 0.3 * SETTINGS.lr * start, rtol=1e-5, atol=1e-6)
