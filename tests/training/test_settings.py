import copy
import math

import pytest
import torch
from models import classifier, noise_images, score_model

from condgen import LogNormal, ResNetSettings, UNetSettings
from condgen.losses import classifier_loss
from condgen.losses.base import gradient_of
from condgen.training import settings as of_training
from condgen.training.distributed import Processes
from condgen.training.loop import train
from condgen.training.settings import (
    PriorSettings,
    TrainingSettings,
    describe_precision,
    learning_rate_factor,
    lighten_,
    multiplies_in_bfloat16,
)
from condgen.training.state import State
from condgen.training.tasks import ClassifierTask, ScoreTask

LIGHT = PriorSettings(precision="bfloat16")
IMAGES = noise_images(classes=3)


def unet(labels="none"):
    torch.manual_seed(0)
    network = UNetSettings(channels=8, multipliers=(1, 2), blocks=1, attention=(4,))
    return score_model(IMAGES, labels, network=network)


def resnet():
    torch.manual_seed(0)
    return classifier(IMAGES, network=ResNetSettings(width=16, blocks=(1, 1)))


def noised():
    draws = torch.Generator().manual_seed(1)
    t = torch.linspace(0.1, 3, 6, dtype=torch.float64)
    return torch.randn(6, 1, 8, 8, generator=draws), t, torch.arange(6) % 3


@pytest.mark.parametrize("labels", ["none", "embedding", "separate"])
def test_names_stay_and_a_copy_made_before_is_computed_as_it_was(labels):
    model, (x_t, t, y) = unet(labels), noised()
    before, names = copy.deepcopy(model), list(model.state_dict())
    lighten_(model, LIGHT)
    assert list(model.state_dict()) == names
    again = copy.deepcopy(model)  # and a copy made afterwards is light, with weights of its own
    with torch.no_grad():
        exact, light = before(x_t, t, y), model(x_t, t, y)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(again(x_t, t, y), light)
    assert light.dtype == torch.float32
    assert 0 < (light - exact).norm() < 0.02 * exact.norm()


def test_no_half_precision_is_left_outside_the_network():
    """What the network is given and what becomes of its output is float32, and so are gradients."""
    model, (x_t, t, y) = lighten_(unet(), LIGHT), noised()
    given = []
    model.net.register_forward_pre_hook(lambda _, inputs: given.extend(inputs[:2]))
    out = model(x_t, t, y)
    assert {out.dtype, *(tensor.dtype for tensor in given)} == {torch.float32}
    gradients = torch.autograd.grad(out.square().sum(), list(model.parameters()))
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


def dlsm_gradient(model):
    """The gradient of a DLSM loss, all parameters as one vector."""
    x_t, t, y = noised()
    log_p, score = gradient_of(model, x_t, t, y)
    loss = (score - x_t / 4).square().sum() - log_p.gather(1, y[:, None]).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]), score


def test_second_derivatives_in_half_precision_are_right_to_two_per_cent():
    exact, exact_score = dlsm_gradient(resnet())
    light, score = dlsm_gradient(lighten_(resnet(), LIGHT))
    assert light.dtype == score.dtype == torch.float32
    assert 0 < (score - exact_score).norm() < 0.02 * exact_score.norm()
    assert 0 < (light - exact).norm() < 0.02 * exact.norm()


def trained(learner, **how):
    settings = TrainingSettings(steps=12, batch=12, lr=1e-3, **how)
    state = State.fresh(learner.models, settings.betas)
    losses = [float(r.metrics["loss"]) for r in train(learner, state, IMAGES, settings, 0, Processes(cpu=True))]
    return state, losses


def task(loss):
    if loss == "score":
        return ScoreTask(unet(), LogNormal())
    return ClassifierTask(resnet(), classifier_loss({"loss": loss}, ""), LogNormal(), unet().eval())


@pytest.mark.parametrize("loss", ["score", "ce", "dlsm"])
def test_training_in_half_precision_follows_that_in_full(loss):
    (full, exact), (half, light) = (trained(task(loss), precision=p) for p in ("float32", "bfloat16"))
    assert light != exact
    assert light == pytest.approx(exact, rel=0.05)
    assert all(t.dtype != torch.bfloat16 for t in half.tensors().values())
    start = next(iter(task(loss).models.values())).requires_grad_(False)
    gap = moved = 0.0
    for a, b, c in zip(full.ema.parameters(), half.ema.parameters(), start.parameters(), strict=True):
        gap, moved = gap + float((a - b).square().sum()), moved + float((a - c).square().sum())
    assert 0 < gap < 0.1 * moved


def test_compilation_is_of_networks_and_for_dlsm_of_the_gradient(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compiled.append((type(self).__name__, how)))
    settings = TrainingSettings(steps=1, compile=True)
    task("score").prepare_(settings)
    task("ce").prepare_(settings)
    assert compiled == [("UNet", {"dynamic": False}), ("ResNet", {"dynamic": False})]
    compiled.clear()
    twice = task("dlsm")
    twice.prepare_(settings)
    assert compiled == []
    assert twice.gradient is not gradient_of


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss", ["score", "ce", "dlsm"])
def test_compiled_training_is_training(loss, precision):
    """Also in parts, the last of which is filled up so that nothing is compiled for another size."""
    _, plain = trained(task(loss), precision=precision)
    torch._dynamo.reset()
    state, fast = trained(task(loss), precision=precision, compile=True, micro_batch=5)
    assert fast == pytest.approx(plain, rel=0.05 if precision == "bfloat16" else 1e-3)
    assert list(state.models["model"].state_dict()) == list(task(loss).models["model"].state_dict())


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fma avx2 avx512f", False), ("avx512_bf16 avx2", True), ("amx_bf16", True), ("asimd bf16 i8mm", True)],
)
def test_processors_with_bfloat16_are_known_by_their_flags(flags, expected, monkeypatch):
    monkeypatch.setattr(of_training.Path, "exists", lambda path: True)
    monkeypatch.setattr(of_training.Path, "read_text", lambda path: f"model name : any\nflags : {flags}\n")
    assert multiplies_in_bfloat16(torch.device("cpu")) is expected


@pytest.mark.parametrize("able", [True, False])
def test_automatic_precision_is_that_of_the_device(able, monkeypatch):
    monkeypatch.setattr(of_training, "multiplies_in_bfloat16", lambda device: able)
    found = {
        precision: lighten_(unet().eval(), PriorSettings(precision=precision))(*noised()[:2])
        for precision in ("auto", "float32", "bfloat16")
    }
    assert torch.equal(found["auto"], found["bfloat16" if able else "float32"])
    assert not torch.equal(found["float32"], found["bfloat16"])
    cpu = torch.device("cpu")
    assert ("no instructions" in describe_precision("bfloat16", cpu)) is not able
    assert ("bfloat16" if able else "float32") in describe_precision("auto", cpu)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_a_network_without_parameters_is_on_the_cpu(precision):
    net = torch.nn.Identity()
    x = torch.linspace(-1, 1, 5)
    torch.testing.assert_close(lighten_(net, PriorSettings(precision=precision))(x), x, rtol=2**-8, atol=0)


def factors(**how):
    settings = TrainingSettings(steps=100, **how)
    return [learning_rate_factor(settings, step) for step in range(100)]


def test_a_cosine_falls_to_zero_after_a_warm_up():
    found = factors(warmup=5)
    assert found[0] > 0
    assert found[4:] == pytest.approx([0.5 + 0.5 * math.cos(math.pi * step / 100) for step in range(4, 100)])
    assert factors(decay="constant", warmup=0) == [1] * 100


def test_a_tail_is_constant_for_seven_tenths_and_then_falls_in_a_straight_line():
    found = factors(warmup=10, decay="tail")
    assert found[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert found[10:71] == pytest.approx([1.0] * 61)
    assert found[70:] == pytest.approx([(100 - step) / 30 for step in range(70, 100)])
    assert found[-1] > 0
    # A warm-up that is not over when the fall begins
    assert factors(warmup=90, decay="tail")[84] == pytest.approx(85 / 90 * 16 / 30)
