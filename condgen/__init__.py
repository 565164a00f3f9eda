"""Class-conditional image generation with score models, and exact measures of how wrong the scores are.

Modules are imported at the first use of one of their names, so that the import itself takes no time.
"""

# ruff: noqa: F401

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from condgen.api import diagnose, load, sample
    from condgen.classifier import Classifier
    from condgen.data import LabelledSet, parse_data
    from condgen.data import load as load_data
    from condgen.denoiser import Denoiser, Likelihood, Preconditioned
    from condgen.diagnostics.held_out import held_out_differences
    from condgen.errors import UserError
    from condgen.generator import Generator
    from condgen.guidance import ClassifierGuided, DenoiserGuided, ScaleCurve
    from condgen.losses import (
        DLSM,
        ClassifierLoss,
        CrossEntropy,
        cross_entropy_loss,
        distribution_matching_loss,
        dlsm_loss,
        score_identity_loss,
        score_matching_loss,
    )
    from condgen.networks import ImportedNetwork, MLPSettings, ResNetSettings, UNetSettings
    from condgen.oracle import Oracle
    from condgen.rng import Streams
    from condgen.samplers import Sampler, build_sampler, trajectory
    from condgen.schedules import EDM, VE, VP, Cosine, LogNormal, LogUniform, perturb
    from condgen.score import ScoreModel

__version__ = "0.1.0"

_PLACES = {
    "api": ("diagnose", "load", "sample"),
    "classifier": ("Classifier",),
    "data": ("LabelledSet", "load_data", "parse_data"),
    "denoiser": ("Denoiser", "Likelihood", "Preconditioned"),
    "diagnostics.held_out": ("held_out_differences",),
    "errors": ("UserError",),
    "generator": ("Generator",),
    "guidance": ("ClassifierGuided", "DenoiserGuided", "ScaleCurve"),
    "losses": (
        "DLSM",
        "ClassifierLoss",
        "CrossEntropy",
        "cross_entropy_loss",
        "distribution_matching_loss",
        "dlsm_loss",
        "score_identity_loss",
        "score_matching_loss",
    ),
    "networks": ("ImportedNetwork", "MLPSettings", "ResNetSettings", "UNetSettings"),
    "oracle": ("Oracle",),
    "rng": ("Streams",),
    "samplers": ("Sampler", "build_sampler", "trajectory"),
    "schedules": ("EDM", "VE", "VP", "Cosine", "LogNormal", "LogUniform", "perturb"),
    "score": ("ScoreModel",),
}
_RENAMED = {"load_data": "load"}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = ["__version__", *sorted(_MODULES)]


def __getattr__(name: str) -> object:
    """A public name, whose module is imported at its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'condgen' has no attribute {name!r}")
    found: object = getattr(import_module(f"condgen.{_MODULES[name]}"), _RENAMED.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
