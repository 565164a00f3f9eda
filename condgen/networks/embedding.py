r"""Embeddings of the noise level and of the class, and how they steer features.

The noise level arrives as one number per sample, :math:`c = \log(\sigma_t/\alpha_t)/4` (Karras et al. 2022, table 1),
about -1.6 to 1.1. It becomes Fourier features :math:`\sqrt{2} \cos(\omega_k c), \sqrt{2} \sin(\omega_k c)` of unit
mean square at fixed angular frequencies, then a small perceptron. The networks of Song et al. 2021 have random ones
(Tancik et al. 2020), :math:`\omega_k = 2\pi w_k` per unit of :math:`\log(\sigma_t/\alpha_t)`, with :math:`w_k` normal.

The sum of noise and class embeddings drives scale and shift of hidden features (FiLM: Perez et al. 2018; in diffusion
networks "adaptive group normalisation": Dhariwal & Nichol 2021, sec. 3.1), or a shift alone (Ho et al. 2020).
"""

import math
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def initialise_(layer: Layer, gain: float = 1.0) -> Layer:
    """Draws weights from a normal of std gain / sqrt(fan-in), sets the bias to zero, and returns the same layer.

    A gain of one keeps the variance of the input. Last layers take a small one, never zero, which stops all gradients.
    """
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def random_frequencies(scale: float, number: int) -> Tensor:
    """Frequencies from a normal of this standard deviation, in turns per unit of the logarithm of the noise level."""
    return torch.randn(number) * scale * 2 * math.pi * 4


class NoiseEmbedding(nn.Module):
    """Noise levels c, (B,), to embeddings, (B, width): by fixed frequencies, or `random` ones, which are saved."""

    frequencies: Tensor

    def __init__(self, width: int, random: Tensor | None = None) -> None:
        super().__init__()
        frequencies = torch.linspace(0, math.log(32), 16).exp() if random is None else random
        self.register_buffer("frequencies", frequencies, persistent=random is not None)
        self.layers = nn.Sequential(
            initialise_(nn.Linear(2 * len(self.frequencies), width)), nn.SiLU(), initialise_(nn.Linear(width, width))
        )

    def features(self, noise: Tensor) -> Tensor:
        """Fourier features, (B, 32), or twice as many as there are random frequencies."""
        phase = noise[:, None] * self.frequencies
        return torch.cat((phase.cos(), phase.sin()), dim=1) * math.sqrt(2)

    def forward(self, noise: Tensor) -> Tensor:
        return self.layers(self.features(noise))


class ClassEmbedding(nn.Module):
    """Labels, (B,), to embeddings, (B, width)."""

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(n_classes, width)  # initialised from a standard normal

    def forward(self, y: Tensor) -> Tensor:
        return self.table(y)


class Conditioning(nn.Module):
    """What drives every FiLM of a network: SiLU of the noise embedding, plus that of the class where there are classes.

    Of K classes, labels (B,) lie in 0..K, where K, or None for all, means "no label" (Ho & Salimans 2022).
    """

    def __init__(self, width: int, n_classes: int | None = None, random: Tensor | None = None) -> None:
        super().__init__()
        self.noise = NoiseEmbedding(width, random)
        self.label = None if n_classes is None else ClassEmbedding(n_classes + 1, width)

    def forward(self, noise: Tensor, y: Tensor | None = None) -> Tensor:
        embedding = self.noise(noise)
        if self.label is not None:
            embedding = embedding + (self.label.table.weight[-1] if y is None else self.label(y))
        return F.silu(embedding)


class FiLM(nn.Module):
    """Scale and shift of channels (B, C, ...), linear in an embedding (B, E), close to the identity at the start."""

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__()
        self.linear = initialise_(nn.Linear(embedding, 2 * channels), gain=0.5)
        with torch.no_grad():
            self.linear.bias[:channels] = 1

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.linear(embedding).chunk(2, dim=1)
        wide = (*scale.shape, *(1,) * (h.ndim - 2))
        return torch.addcmul(shift.reshape(wide), h, scale.reshape(wide))


class Shift(nn.Module):
    """A number for each channel, linear in an embedding (B, E), added to features (B, C, ...)."""

    def __init__(self, embedding: int, channels: int) -> None:
        super().__init__()
        self.linear = initialise_(nn.Linear(embedding, channels), gain=0.5)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        shift = self.linear(embedding)
        return h + shift.reshape(*shift.shape, *(1,) * (h.ndim - 2))


def start_from(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Gives a network the weights of another of the same architecture, which may know no labels.

    Where it knows none, class embeddings stay as they are. At zero the classes would be alike to all other weights, and
    a generator of digits needs four times as many steps to tell them apart (class accuracy .34 after 500, against .99
    after 250). RuntimeError where the weights are of another architecture.
    """
    embeddings = [name for name, module in net.named_modules() if isinstance(module, ClassEmbedding)]
    tables = {f"{name}.table.weight": net.get_parameter(f"{name}.table.weight").detach() for name in embeddings}
    net.load_state_dict(tables | dict(weights))
