"""Small models, and images of noise, which many tests train on."""

import torch

from condgen import EDM, Denoiser, LabelledSet, MLPSettings
from condgen.classifier import ClassifierConfig
from condgen.generator import GeneratorConfig
from condgen.score import ScoreConfig

NET = MLPSettings(width=16, depth=1, embedding=8)


def noise_images(n=60, classes=2, side=8):
    x = torch.randint(256, (n, 1, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return LabelledSet(x, torch.arange(n) % classes, tuple("abc")[:classes], "noise", "train")


def about(data=None, **changes):
    """Of a labelled set, or of images of two classes."""
    shape, names = ((1, 4, 4), ("a", "b")) if data is None else (data.shape, data.names)
    return {"network": NET, "schedule": EDM(), "shape": shape, "names": names, "sigma_data": 0.5} | changes


def score_model(data=None, labels="none", **changes):
    return ScoreConfig(**about(data, labels=labels, **changes)).build()


def classifier(data=None, **changes):
    return ClassifierConfig(**about(data, **changes)).build()


def generator(data):
    return GeneratorConfig(network=NET, shape=data.shape, names=data.names, latent=4).build()


def frozen(model):
    return model.eval().requires_grad_(False)


class Asked(Denoiser):
    """A denoiser that notes of every batch how large it is, and whether labels come with it."""

    labels = "embedding"  # it can be asked without

    def __init__(self, inner):
        super().__init__()
        self.inner, self.schedule, self.batches = inner, inner.schedule, []

    def forward(self, x_t, t, y=None):
        self.batches.append((len(x_t), y is not None))
        return self.inner(x_t, t, y)
