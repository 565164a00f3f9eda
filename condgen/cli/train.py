"""`condgen train-score`, `train-classifier`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from condgen.cli.run import Overrides, Size
from condgen.cli.stages import (
    Arithmetic,
    BatchSize,
    Compile,
    Data,
    Download,
    Flip,
    MicroBatch,
    Rate,
    RecipeFile,
    Seed,
    Steps,
    base_recipe,
    build_stage,
    data_beside,
    plain,
    read_prior,
    train,
    training_options,
)
from condgen.data import parse_data
from condgen.errors import UserError
from condgen.hub import MODEL, model_folder
from condgen.losses import PRESETS, PresetName, classifier_loss
from condgen.recipes import ClassifierStage, ScoreStage, default_adversary
from condgen.runs import Models
from condgen.score import Labels

__all__ = ["train_classifier", "train_score"]

_LOSS, _NETWORK, _PRIOR = "The loss", "The network", "The frozen score model"  # panels of the help


def train_score(
    data: Data = None,
    recipe: RecipeFile = None,
    size: Size = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/score"),
    conditional: Annotated[
        bool,
        typer.Option("--conditional", help="Tell the network the label: for classifier-free guidance."),
    ] = False,
    labels: Annotated[
        Labels | None,
        typer.Option(help="none, embedding (as --conditional), or separate: a network for each class."),
    ] = None,
    label_dropout: Annotated[
        float | None,
        typer.Option(help="With --conditional: how often the label is left out, so that both scores are learnt."),
    ] = None,
    adversarial: Annotated[
        bool,
        typer.Option(
            "--adversarial",
            help="Show the denoised images to a discriminator that is trained beside (Jolicoeur-Martineau et al. "
            "2020). A step costs about 2.5 times as much, and the score is biased where there is much noise: see the "
            "README for what that does to samples.",
        ),
    ] = False,
    steps: Steps = None,
    batch: BatchSize = None,
    lr: Rate = None,
    flip: Flip = False,
    precision: Arithmetic = None,
    compiled: Compile = False,
    micro_batch: MicroBatch = None,
    seed: Seed = None,
    download: Download = False,
    overrides: Overrides = None,
) -> None:
    """Train a score model by denoising score matching (Vincent 2011; Karras et al. 2022).

    It is unconditional, to be guided by a classifier, unless it is told the labels. Without --data or --recipe it
    learns scikit-learn's digits. --set reaches every setting: score.network.width=512, and with
    score.training.snapshots=[500] an early model is kept, which can guide the later one. With --adversarial,
    score.adversarial.weight=0.3 weakens the discriminator (1 is the paper's balance), and
    score.adversarial.told_noise=true tells it the noise level.
    """
    if conditional and labels not in (None, "embedding"):
        raise UserError(f"--conditional means --labels embedding, not {labels}: leave one of the two out")
    base, loaded = base_recipe(recipe, size, data, parse_data("digits"), download, overrides or [])
    tree = plain(data=base.data, schedule=base.schedule, seed=base.seed, score=base.score)
    if base.score.adversarial is None:
        part = next((text for text in overrides or [] if text.startswith("score.adversarial.")), None)
        if adversarial:
            tree["score"]["adversarial"] = default_adversary(loaded).model_dump(mode="json")
        elif part is not None:
            raise UserError(f"--set {part} changes an objective that is off: add --adversarial")
    options = {
        "score.labels": "embedding" if conditional else labels,
        "score.label_dropout": label_dropout,
    } | training_options("score", steps, batch, lr, seed, flip, precision, compiled, micro_batch)
    stage = build_stage(ScoreStage, "score", tree, options, overrides or [])
    train("score", out, stage, loaded)


def train_classifier(
    loss: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_LOSS,
            help="ce: cross-entropy alone, -log p(y|x_t). Its optimum is the true class posterior, but sampling uses "
            "the gradient, which it never looks at. dlsm, the default: match the gradient too (Chao et al. 2022).",
        ),
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(
            rich_help_panel=_LOSS,
            help="dlsm-cifar, dlsm-moons: the balance of the paper's two experiments, as its code has it. dlsm-pure: "
            "no cross-entropy. ce. The options below change a preset.",
        ),
    ] = None,
    ce_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            rich_help_panel=_LOSS,
            help="lambda, the weight of cross-entropy beside DLSM. The paper: 1 on CIFAR with pixels from 0 to 1, "
            "which is 0.25 here, and 0.125 on moons. At 0 the "
            "gradient is learnt, but log p drifts: its constant is nobody's task.",
        ),
    ] = None,
    sigma_weight: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_LOSS,
            help="w: the residual is weighted by the noise level to the power 2w. 1 makes all levels count alike; 0, "
            "the paper's on CIFAR, lets low noise rule; 2, its choice on moons, high noise.",
        ),
    ] = None,
    reduction: Annotated[
        Literal["sum", "mean"] | None,
        typer.Option(
            rich_help_panel=_LOSS,
            help="Sum or mean of the squared residual over dimensions (the paper: mean). With sum, DLSM weighs as many "
            "times more against cross-entropy as there are dimensions.",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_NETWORK,
            help="A network of timm, such as resnet18, convnext_atto or vit_tiny_patch16_224, untrained and made "
            "noise-aware and twice differentiable. By default a ResNet, or a perceptron for tiny images.",
        ),
    ] = None,
    score: Annotated[
        Path | None,
        typer.Option(
            parser=model_folder,
            metavar=MODEL,
            rich_help_panel=_PRIOR,
            help="Folder of the score model, by default runs/score. It stays frozen; its data and noise are used.",
        ),
    ] = None,
    prior_precision: Annotated[
        Literal["float32", "bfloat16"] | None,
        typer.Option(
            rich_help_panel=_PRIOR,
            help="Of its network. On images it costs more than the classifier; bfloat16 is cheaper where the hardware "
            "has it (tests/benchmarks/dlsm.py).",
        ),
    ] = None,
    data: Data = None,
    recipe: RecipeFile = None,
    size: Size = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; by default runs/classifier-LOSS.")] = None,
    steps: Steps = None,
    batch: BatchSize = None,
    lr: Rate = None,
    flip: Flip = False,
    precision: Arithmetic = None,
    compiled: Compile = False,
    micro_batch: MicroBatch = None,
    seed: Seed = None,
    download: Download = False,
    overrides: Overrides = None,
) -> None:
    """Train a noise-aware classifier p(y|x_t), whose gradient in x_t steers the score model to a class.

    By Bayes' rule the score of class y is the score model's plus the gradient of log p(y|x_t), the likelihood score.
    Cross-entropy makes the probabilities right, DLSM (denoising likelihood score matching) the gradient: with the score
    model s frozen, it minimises 1/2 |grad log p(y|x_t) + s(x_t) + eps/sigma|^2, which is the error of the likelihood
    score up to a constant that nobody can change, plus lambda times cross-entropy.

    While it trains, log.jsonl shows for eight noise levels: accuracy, cross-entropy, calibration error, the length of
    the gradient, and its gain over no guidance, which is below zero where the gradient helps. Afterwards, condgen
    calibrate finds the best scale of guidance for each noise level, and condgen diagnose the exact errors.

    A DLSM step costs about 2 cross-entropy steps plus one evaluation of the score model. --set reaches every setting:
    classifier.network.width=512.
    """
    chosen = PRESETS[preset] if preset is not None else None
    if chosen is not None and loss not in (None, chosen.loss):
        raise UserError(f"--preset {preset} is a choice of --loss {chosen.loss}: leave one of the two out")
    loss = loss or (chosen.loss if chosen is not None else "dlsm")
    if score is None and classifier_loss({"loss": loss}, "--loss").needs_prior:
        score = Path("runs/score")
        if not score.exists():
            raise UserError(
                f"{loss} builds on a trained score model, and there is none in runs/score: "
                "run 'condgen train-score' first, or name a folder with --score"
            )
    built_on = read_prior(score) if score else None
    beside = data_beside(built_on, score, named=bool(data or recipe))
    base, loaded = base_recipe(recipe, size, data, beside, download, overrides or [])
    by_loss = {str(c.objective.loss): c for c in reversed(base.classifiers.values())}
    classifier = by_loss.get(loss) or next(iter(base.classifiers.values()), None)
    if classifier is None:
        raise UserError(f"{recipe} describes no classifier: add one under classifiers, or leave --recipe out")
    tree = plain(
        data=base.data, schedule=built_on.schedule if built_on else base.schedule, seed=base.seed, classifier=classifier
    )
    objective = "classifier.objective"
    if chosen is not None:
        tree["classifier"]["objective"] = chosen.model_dump(mode="json")
    elif loss not in by_loss:
        tree["classifier"]["objective"] = {"loss": loss}
    options = {
        f"{objective}.ce_weight": ce_weight,
        f"{objective}.sigma_weight": sigma_weight,
        f"{objective}.reduction": reduction,
        "classifier.network": f"{{kind: timm, name: {backbone}}}" if backbone is not None else None,
        "classifier.prior.precision": prior_precision,
    } | training_options("classifier", steps, batch, lr, seed, flip, precision, compiled, micro_batch)
    stage = build_stage(ClassifierStage, "classifier", tree, options, overrides or [])
    name = f"classifier {loss}"
    train(name, out or Path(f"runs/classifier-{loss}"), stage, loaded, Models(score))
