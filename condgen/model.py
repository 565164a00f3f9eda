"""What score models, classifiers and generators share: a shape, class names, a file that rebuilds them."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from pydantic import Field, PositiveInt
from torch import nn

from condgen.checkpoint import MODEL_FILE, load_into, load_tensors, require_trust, save_tensors
from condgen.errors import UserError
from condgen.files import blamed_on
from condgen.hub import model_folder
from condgen.settings import Settings, parse


class ModelConfig(Settings, ABC):
    """What rebuilds a model; every field is an argument of its constructor."""

    kind: str
    shape: tuple[PositiveInt, ...] = Field(min_length=1, description="of one sample, (D,) or (C, H, W)")
    names: tuple[str, ...] = Field(min_length=1, description="of the classes")

    @abstractmethod
    def build(self) -> nn.Module:
        """The model, with fresh weights."""

    def arguments(self) -> dict[str, Any]:
        return {name: value for name, value in self if name != "kind"}


Config = TypeVar("Config", bound=ModelConfig)


class Model(nn.Module, ABC, Generic[Config]):
    """A network `net` in its role; constructors take these attributes by name.

    Attributes:
        shape: of one sample, (D,) or (C, H, W).
        names: of the K classes.
        network: what describes `net`, for a file that rebuilds it, or None.
    """

    kind: ClassVar[str]
    config_type: ClassVar[Any]
    net: nn.Module
    shape: tuple[int, ...]
    names: tuple[str, ...]
    network: Settings | None

    @property
    def config(self) -> Config:
        """What rebuilds the model; UserError where nothing describes its network."""
        if self.network is None:
            example = "network=ImportedNetwork(target='package.module:Class')"
            raise UserError(f"nothing describes the network of this {self.kind}: give {example}, or the like")
        fields = self.config_type.model_fields.keys() - {"kind"}
        return self.config_type(**{name: getattr(self, name) for name in fields})

    def save(self, folder: str | Path) -> None:
        save_tensors(Path(folder) / MODEL_FILE, self.state_dict(), self.config.model_dump(mode="json"))

    @classmethod
    def load(cls, source: str | Path, device: torch.device | str = "cpu", *, trust: bool = False) -> Self:
        path = model_folder(source) / MODEL_FILE
        tensors, description = load_tensors(path)
        if (kind := description.get("kind")) != cls.kind:
            raise UserError(f"{path} holds a {kind}, where a {cls.kind} is needed: check which folder goes where")
        require_trust(description, path, trust=trust)
        with blamed_on(path, AssertionError, RuntimeError):
            model = parse(cls.config_type, description, f"the model in {source}", is_saved=True).build()
        assert isinstance(model, cls)
        load_into(model, tensors, path)
        return model.to(device).eval().requires_grad_(False)
