"""Any classification backbone of timm, untrained, made noise-aware and twice differentiable.

- batch becomes group normalisation: batch statistics couple the samples of a batch inside a loss on the input gradient;
- rectifiers and other activations with corners become smooth, in-place activations out-of-place, fused attention plain:
  a loss on the input gradient differentiates all of them twice;
- weights that start at exactly zero start small: behind them, no other parameter would receive a gradient;
- residual networks get the stem for small images, up to 64 pixels: a 3x3 convolution without stride, no pooling;
- the noise level scales and shifts the channels of the image, joins them as further channels, constant in space, and
  scales and shifts the pooled features.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from condgen.errors import UNSUITABLE, UserError, explain
from condgen.networks.base import NetworkSettings
from condgen.networks.blocks import GroupNorm, check_image
from condgen.networks.embedding import Conditioning, FiLM, initialise_

_NOISE_CHANNELS = 4
_SMALL_IMAGE = 64

_SMOOTH: dict[type[nn.Module], type[nn.Module]] = {
    nn.ReLU: nn.SiLU,
    nn.ReLU6: nn.SiLU,
    nn.LeakyReLU: nn.SiLU,
    nn.Hardswish: nn.SiLU,
    nn.Hardsigmoid: nn.Sigmoid,
}


class TimmSettings(NetworkSettings):
    kind: Literal["timm"] = "timm"
    name: str = Field(default="resnet18", description="of the architecture, as in timm.list_models()")
    embedding: int = Field(default=128, ge=1, description="width of the noise embedding")

    def build_classifier(self, shape: tuple[int, ...], n_classes: int) -> nn.Module:
        return TimmClassifier(self, shape, n_classes)


class TimmClassifier(nn.Module):
    """x (B, C, H, W), noise (B,) -> logits (B, K)."""

    def __init__(self, settings: TimmSettings, shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        check_image(settings.kind, shape, halvings=0)
        self.conditioning = Conditioning(settings.embedding)
        self.film_image = FiLM(settings.embedding, shape[0])
        self.noise_channels = initialise_(nn.Linear(settings.embedding, _NOISE_CHANNELS))
        self.backbone, features = _backbone(settings.name, (shape[0] + _NOISE_CHANNELS, *shape[1:]))
        self.film_features = FiLM(settings.embedding, features)
        self.leave = initialise_(nn.Linear(features, n_classes), gain=0.1)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        embedding = self.conditioning(noise)
        planes = self.noise_channels(embedding)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        features = self.backbone(torch.cat((self.film_image(x, embedding), planes), dim=1))
        return self.leave(self.film_features(features, embedding))


def _backbone(name: str, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """The changed backbone for inputs of `shape`, and the number of features that it ends in."""
    import timm  # here, because the import takes seconds and few runs need it

    if not timm.is_model(name):
        raise UserError(f"timm has no backbone named {name!r}: timm.list_models() names them all")
    size = {"img_size": shape[1:]} if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False) else {}
    problem = f"timm backbone {name!r} cannot take images of {shape[1]}x{shape[2]}"
    with explain(problem, "choose another", *UNSUITABLE):
        backbone = timm.create_model(name, pretrained=False, in_chans=shape[0], num_classes=0, **size)
        if isinstance(backbone, timm.models.ResNet) and max(shape[1:]) <= _SMALL_IMAGE:
            _small_stem_(backbone, shape[0])
        _smooth_(backbone)
        with torch.enable_grad():  # differentiated twice, so that what will fail in training fails now
            x = torch.zeros(1, *shape, requires_grad=True)
            features: Tensor = backbone.eval()(x)
            (gradient,) = torch.autograd.grad(features.sum(), x, create_graph=True)
            torch.autograd.grad(gradient.square().sum(), x)
        if features.ndim != 2:
            raise ValueError("it does not end in one row of features per image")
    return backbone.train(), features.shape[1]


def _small_stem_(resnet: nn.Module, channels: int) -> None:
    stem = resnet.conv1
    if isinstance(stem, nn.Conv2d):
        resnet.conv1 = nn.Conv2d(channels, stem.out_channels, 3, padding=1, bias=False)
    else:  # the deep stem: three 3x3 convolutions, of which the first has the stride
        assert isinstance(stem, nn.Sequential)
        assert isinstance(stem[0], nn.Conv2d)
        stem[0].stride = (1, 1)
    resnet.maxpool = nn.Identity()


def _smooth_(network: nn.Module) -> None:
    """Makes a network twice differentiable and free of ties between samples, in place."""
    for module in reversed(list(network.modules())):  # what is inside a layer before the layer
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                # timm's normalisation may carry an activation
                extras = [getattr(child, extra) for extra in ("drop", "act") if hasattr(child, extra)]
                setattr(module, name, nn.Sequential(GroupNorm(child.num_features), *extras))
            elif type(child) in _SMOOTH:
                setattr(module, name, _SMOOTH[type(child)]())
        for flag in ("inplace", "fused_attn"):
            if getattr(module, flag, False):
                setattr(module, flag, False)
    for name, parameter in network.named_parameters():
        if "bias" not in name and not parameter.any():
            nn.init.normal_(parameter, std=0.1 / math.sqrt(parameter[0].numel() if parameter.ndim > 1 else 1))
