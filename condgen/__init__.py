"""Class-conditional image generation with score models, and exact measures of how wrong the scores are.

Modules are imported at the first use of one of their names, so that the import itself takes no time.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from condgen.api import diagnose as diagnose, load as load, sample as sample
    from condgen.classifier import Classifier as Classifier
    from condgen.data.labelled import LabelledSet as LabelledSet
    from condgen.data.sets import load as load_data, parse_data as parse_data  # noqa: F401
    from condgen.denoiser import Denoiser as Denoiser, Likelihood as Likelihood, Preconditioned as Preconditioned
    from condgen.diagnostics.held_out import held_out_differences as held_out_differences
    from condgen.errors import UserError as UserError
    from condgen.generator import Generator as Generator
    from condgen.guidance import (
        ClassifierGuided as ClassifierGuided,
        DenoiserGuided as DenoiserGuided,
        ScaleCurve as ScaleCurve,
    )
    from condgen.losses.base import ClassifierLoss as ClassifierLoss
    from condgen.losses.cross_entropy import CrossEntropy as CrossEntropy, cross_entropy_loss as cross_entropy_loss
    from condgen.losses.distillation import (
        distribution_matching_loss as distribution_matching_loss,
        score_identity_loss as score_identity_loss,
    )
    from condgen.losses.dlsm import DLSM as DLSM, dlsm_loss as dlsm_loss
    from condgen.losses.moment_matching import moment_matching_loss as moment_matching_loss
    from condgen.losses.score_matching import score_matching_loss as score_matching_loss
    from condgen.networks.base import ImportedNetwork as ImportedNetwork
    from condgen.networks.mlp import MLPSettings as MLPSettings
    from condgen.networks.resnet import ResNetSettings as ResNetSettings
    from condgen.networks.unet import UNetSettings as UNetSettings
    from condgen.oracle import Oracle as Oracle
    from condgen.rng import Streams as Streams
    from condgen.samplers.base import Sampler as Sampler, trajectory as trajectory
    from condgen.samplers.catalogue import build_sampler as build_sampler
    from condgen.schedules import (
        EDM as EDM,
        VE as VE,
        VP as VP,
        Cosine as Cosine,
        LogNormal as LogNormal,
        LogUniform as LogUniform,
        perturb as perturb,
    )
    from condgen.score import ScoreModel as ScoreModel
else:
    # The imports above are those that type checkers see: here, each is made when its name is first asked for.
    (_block,) = (node for node in ast.parse(Path(__file__).read_text()).body if isinstance(node, ast.If))
    _PLACES = {alias.asname: (node.module, alias.name) for node in _block.body for alias in node.names}
    __all__ = ["__version__", *sorted(_PLACES)]

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module 'condgen' has no attribute {name!r}")
        module, own_name = _PLACES[name]
        globals()[name] = found = getattr(import_module(module), own_name)
        return found

    def __dir__() -> list[str]:
        return __all__
