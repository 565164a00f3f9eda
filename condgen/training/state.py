"""All that training needs to go on, and its file. No random state is in it: that is a function of (seed, step)."""

import copy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from condgen.checkpoint import load_tensors, save_tensors
from condgen.errors import UNSUITABLE, explain
from condgen.training.distributed import Processes

STATE_FILE = Path("state") / "state.safetensors"

_ADAM, _MUON = {"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"}  # what they keep of a parameter


@dataclass
class State:
    models: dict[str, nn.Module]  # "model" is the one that is shipped; others, such as a critic, are trained with it
    optimizers: dict[str, Optimizer]  # one for each
    ema: nn.Module  # the exponential moving average of "model"
    step: int = 0  # finished
    whole: bool = True  # not in the midst of a step, which has changed some networks
    skipped: dict[str, tuple[int, int]] = field(default_factory=dict)  # updates of each: in all, and in a row until now

    @classmethod
    def fresh(
        cls, models: dict[str, nn.Module], betas: tuple[float, float], optimizer: str = "adam", weight_decay: float = 0
    ) -> "State":
        """A state before the first step, by adam or muon. Learning rates are set by the loop at every step."""
        optimizers = {name: _optimizer(optimizer, model, betas, weight_decay) for name, model in models.items()}
        ema = copy.deepcopy(models["model"]).eval().requires_grad_(False)
        return cls(models, optimizers, ema, skipped=dict.fromkeys(models, (0, 0)))

    @torch.no_grad()
    def update_ema(self, limit: float) -> None:
        """Moves the average towards the current weights, after `step` was counted up. Buffers are constants.

        Its decay warms up to the limit, so that early weights are forgotten.
        """
        move = get_ema_multi_avg_fn(min(limit, (1 + self.step) / (10 + self.step)))
        move(tuple(self.ema.parameters()), tuple(self.models["model"].parameters()), self.step)

    def tensors(self) -> dict[str, Tensor]:
        flat = {f"ema/{name}": tensor for name, tensor in self.ema.state_dict().items()}
        for part, model in self.models.items():
            flat |= {f"models/{part}/{name}": tensor for name, tensor in model.state_dict().items()}
            flat[f"skipped/{part}"] = torch.tensor(self.skipped[part])
            for index, slots in self.optimizers[part].state_dict()["state"].items():
                kept = {slot: tensor for slot, tensor in slots.items() if isinstance(tensor, Tensor)}
                flat |= {f"optimizers/{part}/{index}/{slot}": tensor for slot, tensor in kept.items()}
        return flat

    def load_tensors(self, flat: dict[str, Tensor], step: int) -> None:
        """Restores what `tensors` gave; KeyError, RuntimeError or ValueError where they are of another architecture."""
        self.ema.load_state_dict(_below(flat, "ema/"))
        for part, model in self.models.items():
            model.load_state_dict(_below(flat, f"models/{part}/"))
            total, in_a_row = flat[f"skipped/{part}"].tolist()
            self.skipped[part] = (int(total), int(in_a_row))
            slots: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _below(flat, f"optimizers/{part}/").items():
                index, slot = name.split("/")
                slots.setdefault(int(index), {})[slot] = tensor
            if step > total and not slots:  # unless every update was skipped
                raise KeyError(f"no state of the optimiser of {part!r}")
            optimizer = self.optimizers[part]
            _check_slots(slots, optimizer, list(model.parameters()), part)
            optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        self.step = step


def save_state(folder: Path, state: State, key: str) -> None:
    """Saves the state of the run whose content hash is `key`, atomically."""
    save_tensors(folder / STATE_FILE, state.tensors(), {"kind": "training state", "step": state.step, "key": key})


def load_state(folder: Path, state: State, key: str) -> bool:
    """Restores the state saved under the same key; whether there was one. UserError where it does not fit."""
    path = folder / STATE_FILE
    if not path.exists():
        return False
    tensors, description = load_tensors(path)
    if description.get("key") != key:
        return False
    with explain(f"{path} does not fit this model", f"delete {path.parent} to train afresh", *UNSUITABLE):
        state.load_tensors(tensors, int(description["step"]))
    return True


def share_state(state: State, processes: Processes) -> None:
    """Gives every process the state of process 0, also a fresh one: machines may round initial weights differently."""
    step, tensors = processes.once(lambda: (state.step, {n: t.detach().cpu() for n, t in state.tensors().items()}))
    if not processes.is_main:
        state.load_tensors(tensors, step)


def _optimizer(kind: str, model: nn.Module, betas: tuple[float, float], weight_decay: float) -> Optimizer:
    parameters = list(model.parameters())
    if kind == "adam":
        return AdamW(parameters, lr=0.0, betas=betas, weight_decay=weight_decay, fused=True)
    from timm.optim import Muon  # here, because the import takes seconds

    return Muon(
        parameters,
        lr=0.0,
        weight_decay=weight_decay,
        nesterov=True,
        adjust_lr_fn="match_rms_adamw",
        betas=betas,
        capturable=parameters[0].is_cuda,  # steps are counted on the device
    )


def _check_slots(
    slots: dict[int, dict[str, Tensor]], optimizer: Optimizer, parameters: list[nn.Parameter], part: str
) -> None:
    """Raises ValueError where moments are not of their parameter's shape: the fused optimiser does not look."""
    known = [_ADAM] if isinstance(optimizer, Adam) else [_ADAM, _MUON]
    for index, found in slots.items():
        shapes = {slot: tensor.shape for slot, tensor in found.items() if tensor.is_floating_point()}
        if not 0 <= index < len(parameters) or shapes.keys() not in known:
            raise ValueError(f"the optimiser has for parameter {index} of {part!r}: {', '.join(found)}")
        wrong = [slot for slot, size in shapes.items() if size != (() if slot == "step" else parameters[index].shape)]
        if wrong:
            raise ValueError(f"{wrong[0]} of parameter {index} of {part!r} has shape {tuple(shapes[wrong[0]])}")


def _below(flat: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in flat.items() if name.startswith(prefix)}
