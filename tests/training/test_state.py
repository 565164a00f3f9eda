"""Updates that are not finite: they move nothing, are counted."""

import pytest
import torch

from condgen.training import Processes, State, Task, TrainingSettings, load_state, save_state, train

ALONE = Processes(cpu=True)
SETTINGS = TrainingSettings(steps=8, batch=12, lr=1e-2, warmup=2)


def linear():
    torch.manual_seed(0)
    return torch.nn.Linear(16, 3)


def bits(state):
    return {name: tensor.clone() for name, tensor in state.tensors().items() if not name.startswith("skipped")}


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_a_gradient_that_is_not_finite_moves_neither_weights_nor_moments(bad):
    model = linear()
    state = State.fresh({"model": model}, (0.9, 0.999))
    state.optimizers["model"].param_groups[0]["lr"] = 0.1

    def step(poison=None):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        if poison is not None:
            model.bias.grad[1] = poison  # a single number is enough to spoil all
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        state.step_optimizer("model", norm.isfinite())

    step()
    before = bits(state)
    step(bad)
    assert_same_bits(before, bits(state))
    assert state.skipped["model"].tolist() == [1, 1]
    step(bad)
    assert state.skipped["model"].tolist() == [2, 2]
    step()
    assert state.skipped["model"].tolist() == [2, 0]
    after = bits(state)
    for name in ("models/model/weight", "models/model/bias", "optimizers/model/0/exp_avg", "optimizers/model/1/step"):
        assert not torch.equal(before[name], after[name])


class Fitting(Task):
    """Least squares, of which some steps go wrong or are left out."""

    def __init__(self, bad=(), left_out=()):
        self.model, self.bad, self.left_out, self.step = linear(), bad, left_out, 0

    def models(self):
        return {"model": self.model}

    def update(self, batch, apply):
        def losses(x, y):
            loss = (self.model(x.flatten(1)) - torch.eye(3)[y]).square().mean(1)
            if self.step in self.bad:
                loss = loss * torch.where(torch.arange(len(loss)) == 0, torch.inf, 1.0)
            return {"loss": loss}

        if self.step in self.left_out:
            shown = {"loss": losses(batch.x, batch.y)["loss"].mean()}
        else:
            shown = apply("model", losses, batch.x, batch.y)
        self.step += 1
        return shown


def trained(data, **wrong):
    task = Fitting(**wrong)
    state = State.fresh(task.models(), SETTINGS.betas)
    records = list(train(task, state, data, SETTINGS, 0, ALONE))
    return state, [bool(record.metrics["loss"].isfinite()) for record in records]


def test_a_bad_batch_in_the_middle_costs_its_own_step_alone(tiny_images):
    state, finite = trained(tiny_images, bad=(3,))
    without, _ = trained(tiny_images, left_out=(3,))
    assert_same_bits(bits(state), bits(without))
    assert finite == [True] * 3 + [False] + [True] * 4
    assert state.skipped["model"].tolist() == [1, 0]
    assert all(tensor.isfinite().all() for tensor in bits(state).values())
    assert without.skipped["model"].tolist() == [0, 0]


def test_the_count_survives_the_file(tiny_images, tmp_path):
    state, _ = trained(tiny_images, bad=(1, 6, 7))
    assert state.skipped["model"].tolist() == [3, 2]
    save_state(tmp_path, state, "key")
    again = State.fresh({"model": linear()}, SETTINGS.betas)
    assert load_state(tmp_path, again, "key")
    assert again.skipped["model"].tolist() == [3, 2]
    assert_same_bits(bits(state), bits(again))


def test_a_state_that_knows_of_no_skips_is_taken_up_with_none():
    state = State.fresh({"model": linear()}, (0.9, 0.999))
    for parameter in state.models["model"].parameters():
        parameter.grad = torch.ones_like(parameter)
    state.step_optimizer("model", torch.tensor(False))
    state.step_optimizer("model", torch.tensor(True))
    earlier = {name: tensor for name, tensor in state.tensors().items() if not name.startswith("skipped")}
    again = State.fresh({"model": linear()}, (0.9, 0.999))
    again.load_tensors(earlier, 1)
    assert_same_bits(bits(state), bits(again))
    assert again.skipped["model"].tolist() == [0, 0]
