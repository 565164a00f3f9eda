"""Small models of a labelled set, which many tests train."""

from condgen.classifier import ClassifierConfig
from condgen.generator import GeneratorConfig
from condgen.networks import MLPSettings
from condgen.schedules import EDM
from condgen.score import ScoreConfig

NET = MLPSettings(width=16, depth=1, embedding=8)


def about(data, **changes):
    given = {"network": NET, "schedule": EDM(), "shape": data.shape, "names": data.names, "sigma_data": 0.5}
    return given | changes


def score_model(data, labels="none", **changes):
    return ScoreConfig(**about(data, labels=labels, **changes)).build()


def classifier(data, **changes):
    return ClassifierConfig(**about(data, **changes)).build()


def generator(data):
    return GeneratorConfig(network=NET, shape=data.shape, names=data.names, latent=4).build()


def frozen(model):
    return model.eval().requires_grad_(False)
