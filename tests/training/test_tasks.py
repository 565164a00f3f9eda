"""How score models are taught labels, adversarial score matching (two networks, two optimisers), DLSM's balance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from models import classifier, score_model
from processes import ALONE, Rank

from condgen import DLSM, EDM, LogNormal, MLPSettings, Oracle, ResNetSettings, UserError, parse_data
from condgen.checkpoint import load_tensors, save_tensors
from condgen.data.sets import load
from condgen.losses.score_matching import AdversarialScoreMatching
from condgen.networks.discriminator import MLPDiscriminatorSettings
from condgen.training.batch import Batch
from condgen.training.loop import Task, train
from condgen.training.settings import TrainingSettings
from condgen.training.state import State, load_state, save_state
from condgen.training.tasks import AdversarialScoreTask, ClassifierTask, ScoreTask

SETTINGS = TrainingSettings(steps=6, batch=12, lr=1e-2, warmup=2)
OBJECTIVE = AdversarialScoreMatching(network=MLPDiscriminatorSettings(width=16, depth=1))
each_labels = pytest.mark.parametrize("labels", ["none", "embedding", "separate"])


def plain(data, labels="none", dropout=0.5):
    torch.manual_seed(0)
    return ScoreTask(score_model(data, labels), LogNormal(), dropout)


def adversarial(data, labels="none", **changes):
    objective, score = OBJECTIVE.model_copy(update=changes), plain(data, labels).model
    return AdversarialScoreTask(score, LogNormal(), 0.5, objective=objective)


def batch(data, step=0, settings=SETTINGS, processes=ALONE):
    return Batch(data, settings, 0, step, processes.rows(settings.batch))


def losses_of(_part, losses, *rows):
    return losses(*rows)


def trained(learner, data, settings=SETTINGS):
    state = State.fresh(learner.models, settings.betas)
    return state, list(train(learner, state, data, settings, 0, ALONE))


@each_labels
@pytest.mark.parametrize("make", [plain, adversarial, lambda *how: adversarial(*how, told_noise=True)])
def test_gradients_of_two_ranks_add_up_to_those_of_one(make, labels, tiny_images):
    """Also where a rank lacks a class: every parameter has a gradient on every rank."""
    learner, small = make(tiny_images, labels), SETTINGS.model_copy(update={"batch": 4})
    if "discriminator" in learner.models:
        learner.discriminator.eval()  # a power iteration is a state, which comes along; here no step moves the weights

    def gradients(batch):
        found = []

        def apply(part, losses, *rows):
            shown = losses(*rows)
            found.extend(torch.autograd.grad(shown["loss"].mean(), list(learner.models[part].parameters())))
            return shown

        learner.update(batch, apply)
        return found

    parts = [gradients(batch(tiny_images, settings=small, processes=Rank(rank))) for rank in (0, 1)]
    for one, first, second in zip(gradients(batch(tiny_images, settings=small)), *parts, strict=True):
        torch.testing.assert_close(one, (first + second) / 2, rtol=1e-4, atol=1e-6)


# Labels


@pytest.mark.parametrize(("dropout", "slack"), [(0.0, 0.0), (0.5, 0.15), (1.0, 0.0)])
def test_so_many_labels_are_left_out_and_the_others_are_told(dropout, slack, tiny_images):
    learner, told = plain(tiny_images, "embedding", dropout), []
    learner.model.register_forward_pre_hook(lambda _, inputs: told.append(inputs[2]))
    for step in range(20):
        learner.update(batch(tiny_images, step), losses_of)
    left_out = torch.cat(told) == 3
    true = torch.cat([batch(tiny_images, step).y for step in range(20)])
    assert float(left_out.double().mean()) == pytest.approx(dropout, abs=slack)
    assert torch.equal(torch.cat(told)[~left_out], true[~left_out])


# An adversary


class Slope(Task):
    """One weight, whose gradient in step k is a given number."""

    def __init__(self, gradients, betas):
        self.model, self.gradients = torch.nn.Linear(1, 1, bias=False), iter(gradients)
        self.models, self.betas = {"model": self.model}, {"model": betas}

    def update(self, batch, apply):
        gradient = next(self.gradients)
        return apply("model", lambda x: {"loss": gradient * self.model.weight[0].expand(len(x))}, batch.x)


@pytest.mark.parametrize("betas", [(-0.5, 0.9), (0.0, 0.9), (0.9, 0.999)])
def test_adam_with_any_momentum_is_its_equations(betas, tiny_images):
    """Kingma & Ba 2015, algorithm 1: with a negative beta1 every line of it still holds."""
    gradients = [0.3, -0.2, 0.05, 0.4, -0.1]
    settings = SETTINGS.model_copy(update={"steps": 5, "warmup": 0, "decay": "constant", "clip": 1e9})
    learner = Slope(gradients, betas)
    m = v = 0.0
    expected = learner.model.weight.item()
    state = State.fresh(learner.models, settings.betas)
    for k, (g, _) in enumerate(zip(gradients, train(learner, state, tiny_images, settings, 0, ALONE), strict=True), 1):
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        expected -= settings.lr * (m / (1 - betas[0] ** k)) / (np.sqrt(v / (1 - betas[1] ** k)) + 1e-8)
        assert learner.model.weight.item() == pytest.approx(expected, abs=1e-6)


def test_each_network_has_its_own_betas_and_learning_rate(tiny_images):
    state, _ = trained(adversarial(tiny_images), tiny_images, SETTINGS.model_copy(update={"decay": "constant"}))
    groups = {part: optimizer.param_groups[0] for part, optimizer in state.optimizers.items()}
    assert (groups["model"]["betas"], groups["model"]["lr"]) == ((0.0, 0.9), 1e-2)
    assert (groups["discriminator"]["betas"], groups["discriminator"]["lr"]) == ((-0.5, 0.9), 1e-4)


@each_labels
def test_weight_zero_trains_the_model_of_plain_score_matching_bit_for_bit(labels, tiny_images):
    """Same initial weights, draws and betas; the discriminator looks on."""
    expected, _ = trained(plain(tiny_images, labels), tiny_images)
    for weight, same in ((0.0, True), (1.0, False)):
        learner = adversarial(tiny_images, labels, weight=weight, score_betas=SETTINGS.betas)
        watched, records = trained(learner, tiny_images)
        found = [torch.equal(a, b) for a, b in zip(expected.ema.parameters(), watched.ema.parameters(), strict=True)]
        assert all(found) is same
        assert bool(torch.equal(records[-1].metrics["loss"], records[-1].metrics["dsm"])) is same


def test_the_discriminator_learns_from_its_own_loss_alone(tiny_images):
    def judge(**changes):
        learner = adversarial(tiny_images, **changes)
        trained(learner, tiny_images, SETTINGS.model_copy(update={"steps": 1, "decay": "constant"}))
        return [p.detach() for p in learner.discriminator.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(judge(weight=0.0), judge(weight=100.0), strict=True))


def test_a_discriminator_learns_to_tell_estimates_from_data(tiny_images):
    """Against a model that hardly learns, at noise levels where it says next to nothing: the loss of 1 + 1 falls."""
    settings = TrainingSettings(steps=120, batch=60, lr=1e-9, warmup=0, decay="constant")
    learner = adversarial(tiny_images, weight=0.0, discriminator_lr=1e-2)
    learner.density = LogNormal(mean=3, std=0.1)
    _, records = trained(learner, tiny_images, settings)
    halves = [sum(float(r.metrics[f"discriminator_{half}"]) for half in ("real", "fake")) for r in records]
    assert halves[0] > 1.5
    assert sum(halves[-10:]) / 10 < 0.6
    assert float(records[-1].metrics["adversarial"]) > 2  # and so the model has something to mend


def test_discriminator_steps_are_as_many_as_asked_on_fresh_noise(tiny_images):
    learner, applied, seen = adversarial(tiny_images, discriminator_steps=3), [], []
    learner.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    learner.update(batch(tiny_images), lambda part, *how: applied.append(part) or losses_of(part, *how))
    assert applied == ["discriminator"] * 3 + ["model"]
    assert len({float(x_t.sum()) for x_t in seen}) == 4


@pytest.mark.parametrize("lost", ["models/discriminator/", "optimizers/discriminator/", "optimizers/model/", "0._u"])
def test_a_state_without_part_of_what_is_needed_is_refused(lost, tiny_images, tmp_path):
    state, _ = trained(adversarial(tiny_images), tiny_images)
    save_state(tmp_path, state, "key")
    path = tmp_path / "state" / "state.safetensors"
    tensors, about = load_tensors(path)
    save_tensors(path, {name: tensor for name, tensor in tensors.items() if lost not in name}, about)
    fresh = State.fresh(adversarial(tiny_images).models, SETTINGS.betas)
    with pytest.raises(UserError, match=r"does not fit this model .* to train afresh"):
        load_state(tmp_path, fresh, "key")


@pytest.mark.parametrize(
    ("shape", "level", "network"),
    [  # digits, and digits of as many pixels as CIFAR's images, whose class more noise hides
        ((1, 8, 8), 0.0, MLPSettings(width=64, depth=2)),
        ((3, 32, 32), 2.0, ResNetSettings(width=8, blocks=(1, 1))),
    ],
    ids=["digits", "cifar"],
)
def test_the_balance_of_dlsm_is_logged_and_the_default_trains_both_terms(shape, level, network):
    data = load(parse_data("digits"), "train").at_most(200, torch.Generator().manual_seed(0))
    x = torch.nn.functional.interpolate(data.x.float(), shape[1:]).expand(-1, *shape).to(torch.uint8).contiguous()
    data = replace(data, x=x)
    prior = Oracle(EDM(), data.floats(), data.y, 10)

    def balances(loss):
        torch.manual_seed(0)
        learner = ClassifierTask(classifier(data, network=network, sigma_data=0.7), loss, LogNormal(mean=level), prior)
        settings = TrainingSettings(steps=20, batch=32, lr=3e-3, warmup=0, log_every=10)
        state = State.fresh(learner.models, settings.betas)
        rows = [record.metrics for record in train(learner, state, data, settings, 0, ALONE)]
        assert [step for step, row in enumerate(rows, 1) if "dlsm_to_ce_gradient" in row] == [10, 20]
        found = [float(row["dlsm_to_ce_gradient"]) for row in rows if "dlsm_to_ce_gradient" in row]
        return found[-1], learner.warning({"dlsm_to_ce_gradient": found[-1]})

    found, warning = balances(DLSM())
    assert found > 0.05
    assert not warning
    found, warning = balances(DLSM(reduction="mean", ce_weight=10.0))
    assert found < 0.01
    assert "the gradient of dlsm is" in warning


def test_the_balance_is_the_ratio_of_the_terms_gradients(tiny_images):
    prior = Oracle(EDM(), tiny_images.floats(), tiny_images.y, 3)

    def gradients(ce_weight, of=None):
        torch.manual_seed(0)
        learner = ClassifierTask(classifier(tiny_images), DLSM(ce_weight=ce_weight), LogNormal(), prior)
        learner.prepare_(SETTINGS.model_copy(update={"log_every": 1}))
        kept = {}

        def apply(_part, losses, *tensors):
            term = losses(*tensors)[of or "loss"].mean()
            found = torch.autograd.grad(term, list(learner.model.parameters()), materialize_grads=True)
            kept["norm"] = torch.cat([gradient.flatten() for gradient in found]).norm()
            return {}

        return float(learner.update(batch(tiny_images), apply)["dlsm_to_ce_gradient"]), float(kept["norm"])

    ratio, dlsm = gradients(0.5, "dlsm")
    _, ce = gradients(0.5, "ce")
    assert ratio == pytest.approx(dlsm / (0.5 * ce), rel=1e-4)
