"""Every stage on a device without float64, such as Apple's.

The device is played by torch's "meta": its tensors hold numbers on the CPU, and an operation fails that makes one of
them float64, or that mixes them with those of the CPU.
"""

import pytest
import torch
from torch.optim import AdamW
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from condgen import rng
from condgen.recipes.compose import load_recipe
from condgen.runs.plan import run_recipe
from condgen.training import state
from condgen.training.distributed import Processes

DEVICE = torch.device("meta")
MOVES = ("aten::_to_copy", "aten::copy_", "aten::index.Tensor", "aten::index_put_", "aten::_index_put_impl_")


class Placed(torch.Tensor):
    """A tensor of the device."""

    @staticmethod
    def __new__(cls, numbers):
        placed = torch.Tensor._make_wrapper_subclass(
            cls, numbers.size(), strides=numbers.stride(), dtype=numbers.dtype, device=DEVICE
        )
        placed.numbers = numbers
        return placed

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return dispatch(function, args, kwargs or {})

    def tolist(self):
        return self.numbers.tolist()


def numbers_of(value):
    return value.numbers if isinstance(value, Placed) else value


def place(value):
    if not isinstance(value, torch.Tensor) or isinstance(value, Placed):
        return value
    assert value.dtype != torch.float64, "the device has no float64"
    return Placed(value)


def dispatch(function, args, kwargs):
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    placed = [isinstance(value, Placed) for value in tensors]
    if any(placed) and function.name() not in MOVES:
        others = [value for value, here in zip(tensors, placed, strict=True) if not here and value.ndim > 0]
        assert not others, f"{function}: tensors of two devices"
    here = any(placed)
    if function.name() == "aten::copy_":
        here = placed[0]
    if kwargs.get("device") is not None:
        here = torch.device(kwargs["device"]) == DEVICE
        if placed and placed[0] and not here:
            assert kwargs.get("dtype") != torch.float64, "the device converts before it copies"
        kwargs = {**kwargs, "device": "cpu"}
    if function.name() in ("aten::_local_scalar_dense",):
        here = False
    in_place = function._schema.is_mutable and not function.name().endswith("out")
    found = function(*tree_map(numbers_of, args), **tree_map(numbers_of, kwargs))
    if in_place and isinstance(args[0], torch.Tensor):
        return args[0]
    return tree_map(place, found) if here else found


class Device(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return dispatch(function, args, kwargs or {})


class Made(TorchFunctionMode):
    """`torch.tensor` makes tensors where `Device` does not see it."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.tensor and (device := kwargs.pop("device", None)) is not None:
            return function(*args, **kwargs).to(device)
        return function(*args, **kwargs)


MORE = """
classifiers.dlsm={NET, objective: {loss: dlsm}, training: {steps: 2, batch: 8}, prior: {pool: 16}}
generators.smm={NET, objective: {loss: smm, NET}, training: {steps: 2, batch: 8}}
calibrate={draws: 1, most: 50, levels: [0.1, 1]}
sample.per_class=1
sample.methods.unguided={sampler: adaptive-sde, options: {relative: 0.9}}
sample.methods.ce={classifier: dlsm, interval: [0.1, 10], sampler: unipc, nfe: 4}
sample.methods.own-steps.options={relative: 0.5}
sample.methods.smm={generator: smm}
evaluate=true
diagnose={levels: [0.1, 1], most: 20, queries: 20, oracle: true}
""".replace("NET", "network: {kind: mlp, width: 8, depth: 1, embedding: 8}")


@pytest.mark.slow
def test_nothing_on_the_device_is_float64(digits_of_few_steps, tmp_path, monkeypatch):
    recipe = load_recipe(digits_of_few_steps / "recipe.yaml", MORE.split("\n")[1:-1])
    monkeypatch.setattr(rng, "WITHOUT_FLOAT64", ("mps", "meta"))
    monkeypatch.setattr(state, "AdamW", lambda *args, fused, **options: AdamW(*args, **options))  # has no such kernel
    processes = Processes(cpu=True)
    processes.device = DEVICE
    with Made(), Device():
        list(run_recipe(recipe, tmp_path / "run", processes, "test"))
    assert (tmp_path / "run" / "diagnostics.json").exists()
