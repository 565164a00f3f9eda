"""Score models that diffusers has trained: from a folder of its own form to one that every command takes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from condgen.checkpoint import MODEL_FILE, load_into, save_tensors
from condgen.data import AnyData
from condgen.errors import UserError
from condgen.hub import fetch
from condgen.networks import DiffusersSettings
from condgen.recipes import ImportStage
from condgen.runs.folder import read_json
from condgen.runs.stage import Progress, Stage, Work
from condgen.schedules import EDM
from condgen.score import ScoreConfig, ScoreModel
from condgen.settings import parse
from condgen.training import Processes

_UNET, _SCHEDULER = "UNet2DModel", "scheduler_config.json"
_PIPELINE, _OF_PIXELS = "model_index.json", {"unet", "scheduler"}
_WEIGHTS = "diffusion_pytorch_model"
_MOST_NOISE = 200.0  # a cosine schedule goes on to 20,000, where a sampler would waste its steps: pixels are within 1


class DiffusersFolder(NamedTuple):
    """A `UNet2DModel` of diffusers on disk.

    Attributes:
        name: where it comes from.
        unet: the folder of the network.
        network: the network, and the noise that it was trained with.
        shape: of one image, as far as it is known.
    """

    name: str
    unet: Path
    network: DiffusersSettings
    shape: tuple[int, ...] | None

    def weights(self) -> list[Path]:
        """Its files of weights."""
        return sorted(self.unet.glob(f"{_WEIGHTS}*.safetensors"))


def find_diffusers(source: str) -> DiffusersFolder:
    """Looks for a network and its scheduler in a folder that `save_pretrained` has written, or in one on the hub.

    Args:
        source: the folder of a pipeline, or of a network with the scheduler's configuration beside it.

    Raises:
        UserError: where there is none, or none that is a score model here.
    """
    folder = Path(source)
    if source.startswith("hf:"):
        weights = (f"{_WEIGHTS}.safetensors", f"{_WEIGHTS}-*.safetensors", f"{_WEIGHTS}.safetensors.index.json")
        of_unet = ("config.json", *weights)
        files = (*of_unet, *(f"unet/{file}" for file in of_unet), _SCHEDULER, f"scheduler/{_SCHEDULER}", _PIPELINE)
        folder = fetch(source, files)
    if not folder.is_dir():
        raise UserError(f"{source} is no folder: name one that diffusers has saved, or hf:owner/name")
    _refuse_latent(folder, source)
    unet = next((place for place in (folder / "unet", folder) if (place / "config.json").is_file()), None)
    known = next((f for f in (folder / "scheduler" / _SCHEDULER, folder / _SCHEDULER) if f.is_file()), None)
    if unet is None or known is None:
        lacks = (
            "config.json of a network" if unet is None else f"{_SCHEDULER}, which says with which noise it was trained"
        )
        raise UserError(f"{source} holds no {lacks}: save the whole pipeline by its save_pretrained")
    config, scheduler = read_json(unet / "config.json"), read_json(known)
    if config.get("_class_name") != _UNET:
        raise UserError(
            f"{source} holds a {config.get('_class_name')}, where a {_UNET} is needed: it sees pixels alone"
        )
    found = DiffusersFolder(
        name=source if source.startswith("hf:") else folder.resolve().name,
        unet=unet,
        network=_settings(config, scheduler, source),
        shape=_shape(config, source),
    )
    if not found.weights():
        raise UserError(f"{source} holds no {_WEIGHTS}.safetensors: other files of weights are not read, convert them")
    return found


def _refuse_latent(folder: Path, source: str) -> None:
    """A UNet2DModel may be part of a pipeline that decodes what it makes: then it never sees pixels."""
    path = folder / _PIPELINE
    parts = read_json(path) if path.is_file() else {}
    others = [name for name, part in parts.items() if isinstance(part, list) and any(part) and name not in _OF_PIXELS]
    if others:
        raise UserError(
            f"{source} is a pipeline with {', '.join(sorted(others))} beside its network, which therefore does not "
            "see pixels: name a pipeline of an unconditional UNet2DModel and a scheduler alone"
        )


def _settings(config: dict[str, Any], scheduler: dict[str, Any], source: str) -> DiffusersSettings:
    if "beta_schedule" not in scheduler or scheduler.get("trained_betas") is not None:
        raise UserError(
            f"{source}: a {scheduler.get('_class_name')} of that kind is not supported, only betas by schedule"
        )
    named = {
        "timesteps": "num_train_timesteps",
        "beta_schedule": "beta_schedule",
        "beta_start": "beta_start",
        "beta_end": "beta_end",
        "zero_terminal_snr": "rescale_betas_zero_snr",
        "prediction": "prediction_type",
    }
    given = {ours: scheduler[theirs] for ours, theirs in named.items() if theirs in scheduler}
    unet = {key: value for key, value in config.items() if not key.startswith("_")}
    return parse(DiffusersSettings, {"unet": unet, **given}, f"{source}, {_SCHEDULER}")


def _shape(config: dict[str, Any], source: str) -> tuple[int, ...] | None:
    size = config.get("sample_size")
    if size is None:
        return None
    sides = size if isinstance(size, list) else [size] * 2
    shape = (config.get("in_channels", 3), *sides)
    if len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
        raise UserError(f"{source} is of images of shape {shape}, which are none: save the pipeline again")
    return shape


@dataclass(frozen=True, eq=False)
class Import(Stage):
    """Writes the score model of diffusers as one of condgen.

    Its time is the noise level, from that of the first timestep to that of the last, or to where nothing is seen of an
    image.

    Args:
        found: what is imported.
        shape: of one image.
    """

    settings: ImportStage
    found: DiffusersFolder
    shape: tuple[int, ...]
    unit: ClassVar[str] = "models"

    @classmethod
    def of(
        cls, folder: Path, found: DiffusersFolder, shape: tuple[int, ...], names: tuple[str, ...], data: AnyData | None
    ) -> "Import":
        """The stage that imports a model into a folder.

        Args:
            folder: where the model goes.
            found: what is imported.
            shape: of one image.
            names: of the classes of the data.
            data: what classifiers are to learn with it, where that is known.
        """
        levels = found.network.levels()
        ends = {"sigma_min": float(levels[0]), "sigma_max": min(float(levels[-1]), _MOST_NOISE)} if len(levels) else {}
        schedule = parse(EDM, {"kind": "edm", **ends}, f"{found.name}: the noise that it was trained with")
        settings = ImportStage(imported=found.name, data=data, schedule=schedule, names=names, network=found.network)
        return cls("import", folder, settings, found, shape)

    def reads(self) -> list[Path]:
        return self.found.weights()

    def conditions(self) -> list[str]:
        return [json.dumps(self.shape)]

    def total(self) -> int:
        return 1

    def run(self, processes: Processes) -> Work:
        """Imports it."""
        opened = yield from self.open(processes)
        if opened.finished:
            return
        settings = self.settings
        config = ScoreConfig(
            network=settings.network, schedule=settings.schedule, shape=self.shape, names=settings.names, sigma_data=1.0
        )
        model = config.build()
        _fill(model, self.found)
        save_tensors(self.folder / MODEL_FILE, model.state_dict(), config.model_dump(mode="json"))
        parameters = sum(parameter.numel() for parameter in model.parameters())
        opened.finish([MODEL_FILE], what=f"{self.found.name}, {parameters:,} parameters")
        yield Progress(self.name, 1, 1)


def _fill(model: ScoreModel, found: DiffusersFolder) -> None:
    from diffusers import UNet2DModel  # its reader knows the names that weights had in earlier versions

    try:
        trained, about = UNet2DModel.from_pretrained(
            found.unet, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        unfilled = [
            name for name, tensor in trained.state_dict().items() if tensor.is_meta
        ]  # which an index leaves out
        if missing := sorted({*about["missing_keys"], *unfilled}):  # they would be random numbers
            raise ValueError(f"there is no weight {missing[0]}")
    except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{found.unet} cannot be read by diffusers ({reason}): save the pipeline again") from error
    load_into(model.net.get_submodule("unet"), trained.float().state_dict(), found.unet)
