"""The state: it survives its file bit for bit, and its optimiser and moving average are those of the papers."""

import pytest
import torch

from condgen import UserError
from condgen.training.state import State, load_state, save_state

BETAS = (0.9, 0.99)


def linear():
    torch.manual_seed(0)
    return torch.nn.Linear(16, 3)


def test_muon_moves_a_kernel_by_an_orthogonal_matrix():
    torch.manual_seed(0)
    model = torch.nn.Conv2d(4, 8, 3, bias=False)
    state = State.fresh({"model": model}, (0.9, 0.999), "muon")
    state.optimizers["model"].param_groups[0]["lr"] = 0.1
    start = model.weight.detach().clone()
    model.weight.grad = torch.randn_like(model.weight)
    state.optimizers["model"].step()
    moved = (model.weight.detach() - start).flatten(1)
    length = 0.1 * 0.2 * 36**0.5  # so that the root mean square is 0.2 of the learning rate
    assert torch.linalg.svdvals(moved).tolist() == pytest.approx([length] * 8, rel=0.3)  # five iterations come so close
    gradient = model.weight.grad.flatten(1)
    aligned = float((moved * gradient).sum() / torch.linalg.matrix_norm(gradient, "nuc"))
    assert aligned == pytest.approx(-length, rel=0.1)


def test_moving_average_equals_its_closed_form():
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    state = State.fresh({"model": model}, (0.9, 0.999))
    average = model.weight.detach().clone()
    for step in (1, 2, 3, 4, 10**6):
        with torch.no_grad():
            model.weight.add_(step)
        state.step = step
        state.update_ema(0.9)
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(state.ema.weight, average)


def test_a_state_survives_its_file_bit_for_bit_and_is_that_of_its_key_and_architecture(tmp_path):
    state, again = (State.fresh({"model": model}, BETAS) for model in (linear(), linear()))
    state.models["model"](torch.ones(2, 16)).sum().backward()
    state.optimizers["model"].step()
    state.skipped["model"] = (3, 2)
    assert not load_state(tmp_path, state, "key")
    save_state(tmp_path, state, "key")
    assert not load_state(tmp_path, again, "another key")
    assert load_state(tmp_path, again, "key")
    assert again.skipped["model"] == (3, 2)
    torch.testing.assert_close(again.tensors(), state.tensors(), rtol=0, atol=0)
    with pytest.raises(UserError, match="does not fit this model"):
        load_state(tmp_path, State.fresh({"model": torch.nn.Linear(2, 2)}, BETAS), "key")
