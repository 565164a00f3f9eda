"""Score models that diffusers has trained: from a folder of its own form to one that every command takes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from condgen.checkpoint import MODEL_FILE, load_into
from condgen.data.sets import AnyData
from condgen.errors import UNSUITABLE, UserError, explain
from condgen.hub import fetch
from condgen.networks.diffusers import DiffusersSettings
from condgen.recipes.schema import ImportStage
from condgen.runs.folder import read_json
from condgen.runs.stage import Progress, Stage, Work
from condgen.schedules import EDM
from condgen.score import ScoreConfig, ScoreModel
from condgen.settings import parse
from condgen.training.distributed import Processes

_UNET, _PIPELINE, _SCHEDULER = "UNet2DModel", "model_index.json", "scheduler_config.json"
_WEIGHTS, _INDEX = "diffusion_pytorch_model", ".safetensors.index.json"
_MOST_NOISE = 200.0  # a cosine schedule goes on to 20,000, where a sampler would waste its steps: pixels are within 1


class DiffusersFolder(NamedTuple):
    name: str  # where it comes from
    unet: Path  # the folder of the network
    network: DiffusersSettings  # the network, and the noise that it was trained with
    shape: tuple[int, ...] | None  # of one image, as far as it is known
    weights: list[Path]

    def stage(self, names: tuple[str, ...], data: AnyData | None) -> ImportStage:
        """The settings of its import: time is the noise level, up to where nothing is seen of an image."""
        levels = self.network.levels()
        ends = {"sigma_min": float(levels[0]), "sigma_max": min(float(levels[-1]), _MOST_NOISE)} if len(levels) else {}
        schedule = parse(EDM, {"kind": "edm", **ends}, f"{self.name}: the noise that it was trained with")
        return ImportStage(imported=self.name, data=data, schedule=schedule, names=names, network=self.network)


def find_diffusers(source: str) -> DiffusersFolder:
    """The network and scheduler that `save_pretrained` has written, in a folder or on the hub; UserError for others."""
    folder = Path(source)
    if source.startswith("hf:"):
        of_unet = ("config.json", *(f"{_WEIGHTS}{end}" for end in (".safetensors", "-*.safetensors", _INDEX)))
        files = (*of_unet, *(f"unet/{file}" for file in of_unet), _SCHEDULER, f"scheduler/{_SCHEDULER}", _PIPELINE)
        folder = fetch(source, files)
    if not folder.is_dir():
        raise UserError(f"{source} is no folder: name one that diffusers has saved, or hf:owner/name")
    parts = read_json(folder / _PIPELINE) if (folder / _PIPELINE).is_file() else {}
    others = {name for name, part in parts.items() if isinstance(part, list) and any(part)} - {"unet", "scheduler"}
    network = folder if others else _either(source, folder / "unet" / "config.json", folder / "config.json")
    config = {} if others else read_json(network)
    if config.get("_class_name") != _UNET:  # others are such as a decoder of what the network makes, or a transformer
        what = f"a pipeline with {', '.join(sorted(others))}" if others else f"a {config.get('_class_name')}"
        raise UserError(f"{source} holds {what}, where a {_UNET} and a scheduler are needed: it sees pixels alone")
    scheduler = _either(source, folder / "scheduler" / _SCHEDULER, folder / _SCHEDULER)
    if not (weights := sorted(network.parent.glob(f"{_WEIGHTS}*.safetensors"))):
        raise UserError(f"{source} holds no {_WEIGHTS}.safetensors: other files of weights are not read, convert them")
    name = source if source.startswith("hf:") else folder.resolve().name
    settings = _settings(config, read_json(scheduler), source)
    return DiffusersFolder(name, network.parent, settings, _shape(config, source), weights)


def _either(source: str, *files: Path) -> Path:
    if (found := next((file for file in files if file.is_file()), None)) is None:
        raise UserError(f"{source} holds no {files[0].name}: save the whole pipeline by its save_pretrained")
    return found


def _settings(config: dict[str, Any], scheduler: dict[str, Any], source: str) -> DiffusersSettings:
    named = {
        "timesteps": "num_train_timesteps",
        "beta_schedule": "beta_schedule",
        "beta_start": "beta_start",
        "beta_end": "beta_end",
        "zero_terminal_snr": "rescale_betas_zero_snr",
        "prediction": "prediction_type",
    }
    kind = str(scheduler.get("_class_name"))
    fixed: dict[str, Any] = {"unet": {key: value for key, value in config.items() if not key.startswith("_")}}
    if kind.startswith("FlowMatch") and not scheduler.get("invert_sigmas"):  # whose time would run from noise to data
        fixed["prediction"] = "flow"
    elif kind.startswith("EDM") and scheduler.get("prediction_type", "epsilon") == "epsilon":
        fixed["prediction"] = "edm"
        named |= {name: name for name in ("sigma_min", "sigma_max", "sigma_data")}
    elif "beta_schedule" not in scheduler or scheduler.get("trained_betas") is not None:
        supported = "only betas by schedule, rectified flows, and EDM that predicts epsilon"
        raise UserError(f"{source}: a {kind} of that kind is not supported, {supported}")
    given = {ours: scheduler[theirs] for ours, theirs in named.items() if theirs in scheduler}
    return parse(DiffusersSettings, given | fixed, f"{source}, {_SCHEDULER}")


def _shape(config: dict[str, Any], source: str) -> tuple[int, ...] | None:
    if (size := config.get("sample_size")) is None:
        return None
    shape = (config.get("in_channels", 3), *(size if isinstance(size, list) else [size] * 2))
    if len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
        raise UserError(f"{source} is of images of shape {shape}, which are none: save the pipeline again")
    return shape


@dataclass(frozen=True, eq=False)
class Import(Stage):
    settings: ImportStage
    found: DiffusersFolder  # what is imported
    shape: tuple[int, ...]  # of one image
    unit: ClassVar[str] = "models"

    def reads(self) -> list[Path]:
        return self.found.weights

    def conditions(self) -> list[str]:
        return [json.dumps(self.shape)]

    def run(self, processes: Processes) -> Work:
        opened = yield from self.open(processes)
        if opened.finished:
            return
        given = {name: getattr(self.settings, name) for name in ("network", "schedule", "names")}
        network = self.settings.network
        sigma_data = network.sigma_data if network.prediction == "edm" else 1.0
        model = ScoreConfig(**given, shape=self.shape, sigma_data=sigma_data).build()
        _fill(model, self.found.unet)
        model.save(self.folder)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        opened.finish([MODEL_FILE], what=f"{self.found.name}, {parameters:,} parameters")
        yield Progress(self.name, 1, 1)


def _fill(model: ScoreModel, folder: Path) -> None:
    from diffusers import UNet2DModel  # its reader knows the names that weights had in earlier versions

    with explain(f"{folder} cannot be read by diffusers", "save the pipeline again", OSError, *UNSUITABLE):
        how = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
        trained, about = UNet2DModel.from_pretrained(folder, **how)
        left_out = [name for name, tensor in trained.state_dict().items() if tensor.is_meta]  # by an index of weights
        if missing := sorted({*about["missing_keys"], *left_out}):  # they would be random numbers
            raise ValueError(f"there is no weight {missing[0]}")
    load_into(model.net.get_submodule("unet"), trained.float().state_dict(), folder)
