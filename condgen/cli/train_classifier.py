"""`condgen train-classifier`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from condgen.cli.options import Data, Overrides, RecipeFile, Size, Trust, from_settings, model_option
from condgen.cli.training import base_recipe, build_stage, read_prior, train, training_keys
from condgen.errors import UserError
from condgen.losses import PRESETS, classifier_loss
from condgen.recipes import ClassifierStage
from condgen.runs import Folders

_SCORE = Path("runs/score")


@from_settings(ClassifierStage, training_keys("classifier"), defaults=False)
def train_classifier(
    loss: Annotated[
        str,
        typer.Option(
            help="dlsm: match the gradient of log p(y|x_t) to the score (Chao et al. 2022), plus cross-entropy; "
            "dlsm-cifar, dlsm-moons: with the weights of the paper's experiments; dlsm-pure: without cross-entropy. "
            "ce: cross-entropy alone. focal: Lin et al. 2017."
        ),
    ] = "dlsm",
    backbone: Annotated[
        str | None,
        typer.Option(help="A network of timm, such as resnet18 or vit_tiny_patch16_224, made noise-aware."),
    ] = None,
    score: Annotated[
        Path | None,
        model_option("The frozen score model of DLSM; default: runs/score. Its data and schedule are used."),
    ] = None,
    data: Data = None,
    recipe: RecipeFile = None,
    size: Size = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default: runs/classifier-LOSS.")] = None,
    trust: Trust = False,
    overrides: Overrides = None,
    *,
    given: dict[str, Any],
) -> None:
    """Train a noise-aware classifier p(y|x_t), whose gradient in x_t steers the score model to a class.

    By Bayes' rule, the score of class y is the score model's plus the likelihood score, the gradient of log p(y|x_t).
    With the score model s frozen, DLSM minimises 1/2 |grad log p(y|x_t) + s(x_t) + eps/sigma|^2, the error of the
    likelihood score up to a constant, plus ce_weight times cross-entropy.

    log.jsonl holds accuracy, calibration error and the gain of the gradient at eight noise levels. Next:
    condgen calibrate finds the best guidance scale by noise level, condgen diagnose the exact errors.

    Other settings: --set classifier.objective.ce_weight=0.5, --set classifier.network.width=512; condgen settings
    classifier lists all.
    """
    preset = next((found for name, found in PRESETS.items() if name == loss), None)
    objective = preset or classifier_loss({"loss": loss}, "--loss")
    if score is None and objective.needs_prior:
        if not _SCORE.exists():
            raise UserError(
                f"{loss} builds on a trained score model, and there is none in {_SCORE}: run 'condgen train-score' "
                "first, or name a folder with --score"
            )
        score = _SCORE
    prior = read_prior(score) if score is not None else None
    base, loaded = base_recipe(recipe, size, data, overrides, prior)
    same_loss = [each for each in base.classifiers.values() if each.objective.loss == loss]
    classifier = next(iter([*same_loss, *base.classifiers.values()]), None)
    if classifier is None:
        raise UserError(f"{recipe} describes no classifier: add one under classifiers, or leave --recipe out")
    if not same_loss:
        classifier = classifier.model_copy(update={"objective": objective})
    if backbone is not None:
        given["classifier.network"] = f"{{kind: timm, name: {backbone}}}"
    stage = build_stage(ClassifierStage, classifier, base, given, overrides)
    train(f"classifier {loss}", out or Path(f"runs/classifier-{loss}"), stage, loaded, Folders(score))
