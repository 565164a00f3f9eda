"""Tensors and descriptions that others wrote: models, training states, features, looks, networks of diffusers."""

import json
import logging
import math
import shutil
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load, save

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.classifier import Classifier
from condgen.generator import Generator
from condgen.metrics.extractors import open_extractor
from condgen.metrics.features import Extractor, Features, Store
from condgen.report import draw_previews
from condgen.runs.import_diffusers import find_diffusers, import_stage
from condgen.score import ScoreModel
from condgen.studio.ask import Limits
from condgen.studio.catalogue import describe_offer
from condgen.studio.models import ModelCache, read_offer
from condgen.training.checkpoint import STATE_FILE, load_state
from reliability.files.mutate import hostile_bytes, hostile_tree, value
from reliability.files.pictures import PLACES, planted
from reliability.files.valid import STATE_KEY, fresh_state

__all__ = [
    "hostile_tensors",
    "make_diffusers",
    "make_features",
    "make_model",
    "make_state",
    "read_diffusers",
    "read_features",
    "read_model",
    "read_state",
    "warm_diffusers",
    "warm_features",
    "warm_models",
    "warm_state",
]

_LENGTHS = (0, 1, 7, 2**31, 2**32, 2**63, 2**64 - 1, 10**8, 10**8 + 1)
_NUMBERS = 100_000  # of a sample that is drawn
_DTYPES = ("F64", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "C64", "XX", "")
_SHAPES: tuple[Any, ...] = ([], [0], [-1], [2**63], [2**32, 2**32], [1] * 70, [10**9, 10**9], ["2"], [2.5], None)


_WEIGHTS = "diffusion_pytorch_model"
_DIFFUSERS: dict[str, dict[str, Any]] = {
    "unet/config.json": {
        "_class_name": "UNet2DModel", "in_channels": 1, "out_channels": 1, "sample_size": 8, "layers_per_block": 1,
        "block_out_channels": [4, 4], "norm_num_groups": 2, "attention_head_dim": 2,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    },
    "scheduler/scheduler_config.json": {
        "_class_name": "DDPMScheduler", "num_train_timesteps": 20, "beta_schedule": "linear", "beta_start": 1e-4,
        "beta_end": 0.02, "prediction_type": "epsilon",
    },
    "model_index.json": {
        "_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "DDPMScheduler"],
    },
}  # fmt: skip


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _joined(header: Any, data: bytes, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def hostile_tensors(chance: Random, content: bytes) -> bytes:
    """A safetensors file that is changed in what it says of its model, in its header, its tensors or its bytes."""
    header, data = _split(content)
    draw = chance.random()
    about = header["__metadata__"].get("condgen")
    if draw < 0.55 and about is not None:
        text = json.dumps(hostile_tree(chance, json.loads(about)))
        if chance.random() < 0.05:
            text = chance.choice(("[" * 50_000, "", "null", "3", "NaN", text[:-1], '{"a":' * 9000, "9" * 5000))
        header["__metadata__"]["condgen"] = text
        return _joined(header, data)
    if draw < 0.75:
        return _joined(_with_other_header(chance, header), data)
    if draw < 0.87:
        return _with_other_tensors(chance, content)
    if draw < 0.9:
        return _joined(header, data, chance.choice(_LENGTHS))
    return hostile_bytes(chance, content)


def _with_other_header(chance: Random, header: dict[str, Any]) -> Any:
    names = [name for name in header if name != "__metadata__"]
    name = chance.choice(names)
    match chance.randrange(7):
        case 0:
            header[name]["dtype"] = chance.choice(_DTYPES)
        case 1:
            header[name]["shape"] = chance.choice(_SHAPES)
        case 2:
            header[name]["data_offsets"] = chance.choice(([0, 10**12], [8, 0], [-1, 4], [0, 2**64], [], "0", [0, 0]))
        case 3:
            header["more"] = dict(header[name])
        case 4:
            del header[name]
        case 5:
            header["__metadata__"] = chance.choice(({}, {"condgen": 3}, None, {"format": "pt"}, [], value(chance)))
        case _:
            return hostile_tree(chance, header) if chance.random() < 0.9 else {}
    return header


def _with_other_tensors(chance: Random, content: bytes) -> bytes:
    """A valid file, whose tensors are of other kinds or sizes, or hold no numbers."""
    header, _ = _split(content)
    tensors = {name: tensor.clone() for name, tensor in sorted(load(content).items())}  # else they come in any order
    name = chance.choice(list(tensors))
    tensor = tensors[name]
    match chance.randrange(7):
        case 0:
            kinds = (torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int64, torch.bool)
            tensors[name] = tensor.to(chance.choice(kinds))
        case 1:
            tensors[name] = torch.full_like(tensor.float(), chance.choice((float("nan"), float("inf"), 1e38)))
        case 2:
            tensors[name] = tensor[..., None].contiguous() if tensor.ndim else tensor
        case 3:
            tensors[name] = torch.zeros(0, *tensor.shape[1:])
        case 4:
            tensors[chance.choice(("extra", "net.x", "\x1b[2J", "a/b/c", "optimizers/model/x/exp_avg"))] = (
                tensor.clone()
            )
        case 5:
            tensors.pop(name)
        case _:
            tensors = {} if chance.random() < 0.2 else {n: t.to(torch.complex64) for n, t in tensors.items()}
    return save(tensors, metadata=header["__metadata__"])


def _hostile_place(chance: Random, path: Path, case: Path, share: float = 0.01) -> None:
    """Now and then, something else lies where the file should."""
    if chance.random() < share:
        path.unlink()
        chance.choice(list(PLACES.values()))(path, case / "outside")


def make_model(chance: Random, valid: Path, case: Path) -> None:
    """The folder of one model of any kind, with a pickle beside it."""
    source = chance.choice(sorted((valid / "models").iterdir()))
    path = case / "in" / "model" / MODEL_FILE
    path.parent.mkdir()
    path.write_bytes(hostile_tensors(chance, (source / MODEL_FILE).read_bytes()))
    for name in ("model.pt", "pytorch_model.bin", "model.pkl"):
        path.with_name(name).write_bytes(planted(chance, case / "canary"))
    if chance.random() < 0.02:
        path.write_bytes(planted(chance, case / "canary"))
    _hostile_place(chance, path, case)


def read_model(chance: Random, case: Path) -> None:
    """Loaded as what it says it is, or offered by the studio, and asked once."""
    folder = case / "in" / "model"
    if chance.random() < 0.2:
        describe_offer(read_offer(folder), Limits(), ModelCache(), torch.device("cpu"))
        return
    kinds: dict[str, Callable[[Path], Any]] = {"classifier": Classifier.load, "generator": Generator.load}
    model = kinds.get(str(read_description(folder / MODEL_FILE).get("kind")), ScoreModel.load)(folder)
    shape = model.latent_shape if isinstance(model, Generator) else model.config.shape
    if math.prod(shape) > _NUMBERS:
        return
    with torch.no_grad():
        y = torch.tensor([0, 1])
        if isinstance(model, Generator):
            model(torch.randn(2, *model.latent_shape), y)
        else:
            model(
                torch.randn(2, *model.config.shape), torch.tensor(0.5), *([y] if isinstance(model, ScoreModel) else [])
            )


def warm_models(valid: Path, out: Path) -> None:
    """Every kind of model, and the studio's offer of each."""
    for place in sorted((valid / "models").iterdir()):
        {"classifier": Classifier.load, "generator": Generator.load}.get(place.name.split("-")[0], ScoreModel.load)(
            place
        )
        if not place.name.startswith("classifier"):
            describe_offer(read_offer(place), Limits(), ModelCache(), torch.device("cpu"))


def warm_state(valid: Path, out: Path) -> None:
    """The optimiser, at its first step, loads what it needs to be compiled."""
    assert load_state(valid / "state", state := fresh_state(1), STATE_KEY)
    assert state.step == 2


def warm_features(valid: Path, out: Path) -> None:
    """A network, and pictures of looks."""
    open_extractor(str(valid / "features" / "resnet.safetensors"), (3, 8, 8)).function(torch.zeros(2, 3, 8, 8))
    for form in ("points", "pictures"):
        shutil.copytree(valid / f"run-{form}" / "generator-smm" / "previews", out / form / "previews")
        draw_previews(out / form)


def warm_diffusers(valid: Path, out: Path) -> None:
    """The library, which takes seconds to load."""
    from diffusers import DDPMScheduler, UNet2DModel

    UNet2DModel(**_DIFFUSERS["unet/config.json"]).save_pretrained(out / "unet")
    DDPMScheduler().save_pretrained(out / "scheduler")
    list(import_stage(out / "model", find_diffusers(str(out)), (1, 8, 8), ("ant", "bee"), None))


def make_state(chance: Random, valid: Path, case: Path) -> None:
    """What a training would resume from."""
    path = case / "in" / STATE_FILE
    path.parent.mkdir()
    path.write_bytes(hostile_tensors(chance, (valid / "state" / STATE_FILE).read_bytes()))
    path.with_suffix(".pt").write_bytes(planted(chance, case / "canary"))
    _hostile_place(chance, path, case)


def read_state(chance: Random, case: Path) -> None:
    """Resumed, and stepped once."""
    state = fresh_state()
    if load_state(case / "in", state, STATE_KEY):
        for name, model in state.models.items():
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            state.step_optimizer(name, torch.tensor(True))


def make_features(chance: Random, valid: Path, case: Path) -> None:
    """Features that were kept, a network whose features are asked for, looks at a generator."""
    for name in ("kept", "resnet"):
        content = (valid / "features" / f"{name}.safetensors").read_bytes()
        path = case / "in" / f"{name}.safetensors"
        path.write_bytes(hostile_tensors(chance, content))
        _hostile_place(chance, path, case)
    form = chance.choice(("points", "pictures"))
    shutil.copytree(valid / f"run-{form}" / "generator-smm" / "previews", case / "in" / "previews")
    look = chance.choice(sorted((case / "in" / "previews").iterdir()))
    look.write_bytes(hostile_tensors(chance, look.read_bytes()))
    _hostile_place(chance, look, case)
    if chance.random() < 0.05:
        look.rename(look.with_name(chance.choice(("٣.safetensors", "²²²²²²²².safetensors", "9" * 60 + ".safetensors"))))


def read_features(chance: Random, case: Path) -> None:
    """One of the three."""
    folder = case / "in"
    match chance.randrange(3):
        case 0:
            extractor = open_extractor(str(folder / "resnet.safetensors"), (3, 8, 8))
            extractor.function(torch.zeros(2, 3, 8, 8))
        case 1:
            x = torch.zeros(6, 2)
            extractor = Extractor("x", lambda x: Features(x), "key")
            store = Store(extractor, folder)
            place = next(iter(store.of_samples(x, "samples")), None)
            assert place is not None
            found = store._read(folder / "kept.safetensors", 6)
            assert found is None or found.vectors.shape[0] == 6
        case _:
            draw_previews(folder)


@cache
def _diffusers_weights() -> bytes:
    """Those of the valid network."""
    from diffusers import UNet2DModel

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        unet = UNet2DModel(**_DIFFUSERS["unet/config.json"])
    return save(unet.state_dict(), metadata={"format": "pt"})


def make_diffusers(chance: Random, valid: Path, case: Path) -> None:
    """A folder in the form of diffusers, hostile in what it says or in its weights."""
    folder = case / "in" / "pipeline"
    changed = chance.choices((*_DIFFUSERS, ""), weights=(5, 3, 1, 3))[0]
    for name, tree in _DIFFUSERS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(hostile_tree(chance, tree) if name == changed else tree))
    for name in (f"{_WEIGHTS}.bin", "modeling.py", f"{_WEIGHTS}.safetensors"):
        (folder / "unet" / name).write_bytes(planted(chance, case / "canary"))
    if chance.random() < 0.1:
        return
    content = _diffusers_weights()
    if changed == "" or chance.random() < 0.1:
        content = hostile_tensors(chance, content)
    if chance.random() < 0.8:
        (folder / "unet" / f"{_WEIGHTS}.safetensors").write_bytes(content)
        return
    part = f"{_WEIGHTS}-00001-of-00001.safetensors"
    (folder / "unet" / f"{_WEIGHTS}.safetensors").unlink()
    (folder / "unet" / part).write_bytes(content)
    names = sorted(load(_diffusers_weights()))
    index = {"metadata": {"total_size": len(content)}, "weight_map": dict.fromkeys(names, part)}
    held = hostile_tree(chance, index) if chance.random() < 0.6 else index
    (folder / "unet" / f"{_WEIGHTS}.safetensors.index.json").write_text(json.dumps(held))


def read_diffusers(chance: Random, case: Path) -> None:
    """As `condgen import-diffusers` does."""
    logging.disable()  # the library tells of every weight
    found = find_diffusers(str(case / "in" / "pipeline"))
    shape = found.shape or (1, 8, 8)
    list(import_stage(case / "out" / "model", found, shape, ("ant", "bee"), None))
