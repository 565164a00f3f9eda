"""One object that holds all that training needs to go on: models, their optimisers, the moving average, the step.

There is no random state and no data cursor in it: both are functions of (seed, step).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

_ADAM, _MUON = {"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"}  # what they keep of a parameter

__all__ = ["State", "ema_decay", "lying_like"]


def ema_decay(limit: float, step: int) -> float:
    """The decay of the moving average after `step` steps: it warms up, so that early weights are forgotten."""
    return min(limit, (1 + step) / (10 + step))


def lying_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """A tensor of a parameter's shape, in the order in memory that the parameter has."""
    if tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


@dataclass
class State:
    """Training state.

    Args:
        models: networks by name. "model" is the one that is shipped; others (a critic, a discriminator) are trained
            beside it.
        optimizers: an optimiser for each.
        ema: the exponential moving average of "model".
        step: finished steps.
        skipped: for each network, how many updates were skipped because a gradient was not finite: in all, and in a row
            until now. Counted on the device, so that nothing waits for it.
    """

    models: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    ema: nn.Module
    step: int = 0
    skipped: dict[str, Tensor] = field(default_factory=dict)
    _pairs: tuple[list[Tensor], list[Tensor]] | None = field(default=None, init=False, repr=False)

    @classmethod
    def fresh(
        cls, models: dict[str, nn.Module], betas: tuple[float, float], optimizer: Literal["adam", "muon"] = "adam"
    ) -> "State":
        """A state before the first step. Learning rates are set by the loop at every step."""
        make = _muon if optimizer == "muon" else _adam
        optimizers = {name: make(list(model.parameters()), betas) for name, model in models.items()}
        ema = copy.deepcopy(models["model"]).eval().requires_grad_(False)
        return cls(models, optimizers, ema)

    def __post_init__(self) -> None:
        for name, model in self.models.items():
            device = next(model.parameters()).device
            self.skipped.setdefault(name, torch.zeros(2, dtype=torch.int64, device=device))

    @torch.no_grad()
    def lay_out(self) -> None:
        """Lays averages and moments out in memory as their parameters lie.

        The fused optimiser takes all of them for rows of numbers, in whatever order they lie, and would mix them up.
        """
        for average, current in zip(self.ema.parameters(), self.models["model"].parameters(), strict=True):
            average.data = lying_like(current, average.data)
        for optimizer in self.optimizers.values():
            for parameter, slots in optimizer.state.items():
                for slot, tensor in slots.items():
                    if isinstance(tensor, Tensor) and tensor.shape == parameter.shape:
                        slots[slot] = lying_like(parameter, tensor)

    @torch.no_grad()
    def step_optimizer(self, name: str, finite: Tensor) -> None:
        """Steps the optimiser of a network, or, where `finite` (scalar bool) is false, leaves it and counts that.

        Fused Adam leaves weights and moments untouched where it is told that infinities were found, as gradient scalers
        for half precision do. With Muon they are put back.
        """
        optimizer = self.optimizers[name]
        if isinstance(optimizer, Adam):
            for key, value in {"found_inf": (~finite).float(), "grad_scale": None}.items():
                setattr(optimizer, key, value)
            optimizer.step()
        else:
            before = {place: tensor.clone() for place, tensor in _changing(optimizer)}
            optimizer.step()
            for place, tensor in _changing(optimizer):
                old = before.get(place, torch.zeros_like(tensor))  # moments begin at zero
                tensor.copy_(torch.where(finite, tensor, old))
        bad = (~finite).long()
        self.skipped[name] = torch.stack((self.skipped[name][0] + bad, (self.skipped[name][1] + 1) * bad))

    @torch.no_grad()
    def update_ema(self, limit: float) -> None:
        """Moves the average towards the current weights; call after `step` has been counted up.

        Buffers stay as they were: those of models that are shipped are constants.
        """
        if self._pairs is None:
            self._pairs = (list(self.ema.parameters()), list(self.models["model"].parameters()))
        average, current = self._pairs
        torch._foreach_lerp_(average, current, 1 - ema_decay(limit, self.step))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state under a flat name."""
        flat = {f"ema/{name}": tensor for name, tensor in self.ema.state_dict().items()}
        for part, model in self.models.items():
            flat |= {f"models/{part}/{name}": tensor for name, tensor in model.state_dict().items()}
            flat[f"skipped/{part}"] = self.skipped[part]
            for index, slots in self.optimizers[part].state_dict()["state"].items():
                flat |= {
                    f"optimizers/{part}/{index}/{slot}": tensor
                    for slot, tensor in slots.items()
                    if isinstance(tensor, Tensor)
                }
        return flat

    def load_tensors(self, flat: dict[str, Tensor], step: int) -> None:
        """Restores what `tensors` gave.

        Raises:
            KeyError, RuntimeError, ValueError: where the tensors are of another architecture.
        """
        self.ema.load_state_dict(_below(flat, "ema/"))
        for part, model in self.models.items():
            model.load_state_dict(_below(flat, f"models/{part}/"))
            if f"skipped/{part}" in flat:  # states of earlier versions have none
                self.skipped[part].copy_(flat[f"skipped/{part}"])
            slots: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _below(flat, f"optimizers/{part}/").items():
                index, slot = name.split("/")
                slots.setdefault(int(index), {})[slot] = tensor
            if step > 0 and not slots:
                raise KeyError(f"no state of the optimiser of {part!r}")
            optimizer = self.optimizers[part]
            _check_slots(slots, optimizer, list(model.parameters()), part)
            optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        self.step = step


def _adam(parameters: list[nn.Parameter], betas: tuple[float, float]) -> Optimizer:
    return Adam(parameters, lr=0.0, betas=betas, fused=True)


def _muon(parameters: list[nn.Parameter], betas: tuple[float, float]) -> Optimizer:
    from timm.optim import Muon  # here, because the import takes seconds

    optimizer: Optimizer = Muon(
        parameters,
        lr=0.0,
        nesterov=True,
        adjust_lr_fn="match_rms_adamw",
        betas=betas,
        capturable=parameters[0].is_cuda,  # steps are counted on the device
    )
    return optimizer


def _changing(optimizer: Optimizer) -> Iterator[tuple[tuple[Tensor, str], Tensor]]:
    """Weights and what the optimiser keeps of each, by weight and name."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield (parameter, ""), parameter
            for slot, tensor in optimizer.state.get(parameter, {}).items():
                if isinstance(tensor, Tensor):
                    yield (parameter, slot), tensor


def _check_slots(
    slots: dict[int, dict[str, Tensor]], optimizer: Optimizer, parameters: list[nn.Parameter], part: str
) -> None:
    """Raises ValueError where moments are not of their parameter's shape: the fused optimiser does not look."""
    known = [_ADAM] if isinstance(optimizer, Adam) else [_ADAM, _MUON]
    for index, found in slots.items():
        if not 0 <= index < len(parameters):
            raise ValueError(f"{part!r} has no parameter {index}")
        for slot, tensor in found.items():
            shape = () if slot == "step" else tuple(parameters[index].shape)
            if tuple(tensor.shape) != shape or not tensor.is_floating_point():
                raise ValueError(f"{slot} of parameter {index} of {part!r} is {tensor.dtype} {tuple(tensor.shape)}")
        if found.keys() not in known:
            raise ValueError(f"the optimiser has for parameter {index} of {part!r}: {', '.join(found)}")


def _below(flat: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in flat.items() if name.startswith(prefix)}
