"""`condgen train-score`, `train-classifier` and `train-generator`: one model of a recipe, in a folder of its own."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import typer

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.cli.inputs import by_folder_name, data_settings, load_split, named_guide
from condgen.cli.options import Data, Given, Guide, RecipeFile, Size, from_settings, model_option
from condgen.cli.pictures import follow_previews, show_generators
from condgen.cli.progress import work_in
from condgen.cli.terminal import say
from condgen.data.labelled import LabelledSet
from condgen.data.sets import Digits, load
from condgen.errors import UserError
from condgen.losses import classifier_loss
from condgen.losses.distillation import MatchingLoss
from condgen.losses.dlsm import PRESETS
from condgen.recipes.compose import load_recipe, read_yaml
from condgen.recipes.defaults import default_adversary, default_recipe
from condgen.recipes.schema import ClassifierStage, GeneratorStage, Recipe, ScoreStage, TrainedRecipe, TrainStage
from condgen.runs.folder import origin_of
from condgen.runs.models import Folders
from condgen.runs.train import Train
from condgen.settings import parse
from condgen.training.distributed import Processes

_SCORE = Path("runs/score")

StageType = TypeVar("StageType", ScoreStage, ClassifierStage, GeneratorStage)
Init: TypeAlias = Annotated[Path | None, model_option("Start from the weights of this model, with its network.")]


def _keys(part: str) -> dict[str, str]:
    keys = {name: f"{part}.training.{name}" for name in ("steps", "batch", "lr", "flip")}
    return keys | {"follow_links": "data.follow_links", "seed": "seed"}


@from_settings(ScoreStage, _keys("score"), defaults=False)
def train_score(
    data: Data = None,
    recipe: RecipeFile = None,
    size: Size = None,
    init: Init = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = _SCORE,
    conditional: Annotated[bool, typer.Option("--conditional", help="Give the network the label.")] = False,
    adversarial: Annotated[
        bool, typer.Option("--adversarial", help="Add a discriminator: 2.5 times the cost, biased at high noise.")
    ] = False,
    *,
    given: Given,
) -> None:
    """Train a score model by denoising score matching (Vincent 2011; Karras et al. 2022).

    It is unconditional unless --conditional is given. Without --data or --recipe it learns scikit-learn's digits.
    The same command with more --steps goes on from those that were done.

    Other settings: --set score.network.width=512, --set score.training.precision=bfloat16,
    --set score.labels=separate (a network for each class), --set score.training.snapshots=[500] (keeps an early model,
    which can guide the later one). condgen settings score lists all. Of --adversarial: Jolicoeur-Martineau et al. 2020.
    """
    base, loaded = _base(ScoreStage, recipe, data, size, given, init)
    score = base.score
    if adversarial and score.adversarial is None:
        score = score.model_copy(update={"adversarial": default_adversary(loaded)})
    if conditional:
        given.options.append("score.labels=embedding")
    _train(ScoreStage, "score", out, score, init, base, loaded, given)


@from_settings(ClassifierStage, _keys("classifier"), defaults=False)
def train_classifier(
    data: Data = None,
    recipe: RecipeFile = None,
    size: Size = None,
    init: Init = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="dlsm, the default: match the gradient of log p(y|x_t) to the score (Chao et al. 2022), plus "
            "cross-entropy; dlsm-cifar, dlsm-moons: with the balance of the paper's code, by which cross-entropy alone "
            "trains on images; dlsm-pure: without cross-entropy. ce: cross-entropy alone."
        ),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="A network of timm, such as resnet18, made noise-aware.")] = None,
    score: Annotated[Path | None, model_option("Of DLSM; its data and schedule are used. Default: runs/score.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default: runs/classifier-LOSS.")] = None,
    *,
    given: Given,
) -> None:
    """Train a noise-aware classifier p(y|x_t), whose gradient in x_t steers the score model to a class.

    By Bayes' rule, the score of class y is the score model's plus the likelihood score, the gradient of log p(y|x_t).
    With the score model s frozen, DLSM minimises 1/2 |grad log p(y|x_t) + s(x_t) + eps/sigma|^2, the error of the
    likelihood score up to a constant, plus ce_weight times cross-entropy. With few labels, --init SCORE, to start from
    the score model's weights, brings it nearer.

    log.jsonl holds accuracy, calibration error and the gain of the gradient at eight noise levels. Next:
    condgen calibrate finds the best guidance scale by noise level, condgen diagnose the exact errors.

    Other settings: --set classifier.objective.ce_weight=0.5, --set classifier.network.width=512; condgen settings
    classifier lists all.
    """
    if loss is None:
        recorded = _recorded(ClassifierStage, recipe)
        loss = recorded.classifier.objective.loss if recorded is not None else "dlsm"
    objective = PRESETS.get(loss) or classifier_loss({"loss": loss}, "--loss")
    if score is None and objective.needs_prior:
        if not _SCORE.exists():
            raise UserError(f"{loss} needs a score model: run 'condgen train-score' first, or name one by --score")
        score = _SCORE
    base, loaded = _base(ClassifierStage, recipe, data, size, given, score or init)
    same_loss = [each for each in base.classifiers.values() if each.objective.loss == loss]
    classifier = next(iter([*same_loss, *base.classifiers.values()]), None)
    if classifier is None:
        raise UserError(f"{recipe} describes no classifier: add one under classifiers, or leave --recipe out")
    changes: dict[str, Any] = {}
    if not same_loss:
        changes["objective"] = objective.model_dump(mode="json")
    if backbone is not None:
        changes["network"] = {"kind": "timm", "name": backbone}
    out, name = out or Path(f"runs/classifier-{loss}"), f"classifier {loss}"
    _train(ClassifierStage, name, out, classifier, init, base, loaded, given, changes, Folders(score))


@from_settings(GeneratorStage, _keys("generator"), defaults=False)
def train_generator(
    data: Data = None,
    recipe: RecipeFile = None,
    size: Size = None,
    init: Init = None,
    loss: Annotated[
        Literal["smm", "dmd", "sid", "mmd"],
        typer.Option(
            help="sid: score identity distillation (Zhou et al. 2024). dmd: distribution matching (Yin et al. 2024), "
            "cheaper a step. smm: score mismatching (Ye & Liu 2024), less variety. mmd: moment matching, cheapest."
        ),
    ] = "sid",
    teacher: Annotated[Path | None, model_option("A score model for sid and dmd, which it starts from.")] = None,
    classifier: Annotated[Path | None, model_option("A classifier that guides the teacher.")] = None,
    guide: Guide = None,
    scale: Annotated[str | None, typer.Option(metavar="NUMBER|calibrated", help="Of guidance; default: 1.")] = None,
    likelihood: Annotated[Path | None, model_option("A classifier for a loss -log p(y|x_t): less variety.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default: runs/generator-LOSS.")] = None,
    *,
    given: Given,
) -> None:
    """Train a class-conditional generator, which draws a sample in one pass of its network.

    condgen train-generator --teacher runs/digits/score --classifier runs/digits/classifier-dlsm

    Without --teacher, sid and dmd train a denoiser of real images with it. While it trains, accuracy, spread within a
    class and recall are measured ten times, since accuracy alone does not show a collapse within a class; previews.png
    shows how the same latents evolved.

    Other settings: --set generator.likelihood.weight=0.01, --set generator.preview_every=100; condgen
    settings generator lists all.
    """
    if teacher is None and (classifier, guide, scale) != (None, None, None):
        raise UserError("--classifier, --guide and --scale guide a teacher: name one with --teacher DIR")
    base, loaded = _base(GeneratorStage, recipe, data, size, given, teacher or init)
    same_loss = [each for each in base.generators.values() if each.objective.loss == loss]
    if not same_loss:
        raise UserError(f"{recipe} describes no generator with --loss {loss}: choose another, or add one to it")
    generator = min(same_loss, key=lambda each: (each.teacher is None) != (teacher is None))
    changes: dict[str, Any] = {}
    guide_name, guides = named_guide(guide)
    if teacher is None and generator.teacher is not None:
        raise UserError(f"the generator with --loss {loss} in {recipe} has a teacher: name it with --teacher DIR")
    if teacher is not None:
        if not isinstance(generator.objective, MatchingLoss):
            raise UserError(f"the loss {loss} has no teacher: leave --teacher out, or choose --loss sid or dmd")
        name = classifier.resolve().name if classifier is not None else None
        taught = generator.teacher.model_dump(mode="json") if generator.teacher is not None else {}
        guidance = taught | {"score": None, "guide": guide_name, "classifier": name}
        if classifier is None and guide is None:
            guidance |= {"scale": 1, "interval": None}
        changes["teacher"] = guidance | ({"scale": scale} if scale is not None else {})
        if generator.teacher is None:  # it starts from the teacher's weights, with its network
            changes |= {"network": None, "objective": generator.objective.model_dump(mode="json") | {"network": None}}
    if likelihood is not None:
        given.options.append(f"generator.likelihood.classifier={likelihood.resolve().name}")
    classifiers = by_folder_name(list(dict.fromkeys(path for path in (classifier, likelihood) if path is not None)))
    out, folders = out or Path(f"runs/generator-{loss}"), Folders(teacher, guides, classifiers)
    _train(GeneratorStage, f"generator {loss}", out, generator, init, base, loaded, given, changes, folders)
    show_generators(out)


def _recorded(model: type[StageType], recipe: Path | None) -> StageType | None:
    """The settings of a stage, where --recipe names those, in its folder, rather than those of a run."""
    tree = read_yaml(recipe) if recipe is not None else {}
    kind = next((kind for kind in ("score", "classifier", "generator") if kind in tree), None)
    if "name" in tree or kind is None or "include" in tree:
        return None
    if kind != model.kind:
        raise UserError(f"{recipe} is the recipe of a {kind}: run condgen train-{kind}, or name another recipe")
    return parse(model, tree, str(recipe))


def _base(
    model: type[StageType], recipe: Path | None, data: str | None, size: str | None, given: Given, like: Path | None
) -> tuple[Recipe, LabelledSet]:
    """The recipe that options change, that of the file or the default one of the data; and the training split.

    A recorded stage goes over the default recipe. Data and schedule are by default those of the model `like`.
    """
    if size is not None and recipe is None:
        raise UserError("--size belongs to a recipe: name it with --recipe, or leave --size out")
    if recipe is not None and data is not None:
        raise UserError("--data and --recipe exclude each other: the recipe names its data")
    recorded, origin = _recorded(model, recipe), origin_of(like) if like is not None else None
    base = load_recipe(recipe, given.of_data, size) if recipe is not None and recorded is None else None
    known = recorded or origin
    settings = base.data if base else data_settings(data, given.of_data, known.data if known else Digits())
    loaded = load_split(settings, "train", Processes())
    what = f"{loaded.shape[1]}x{loaded.shape[2]} images" if loaded.is_images else f"{loaded.shape[0]}-D points"
    classes = ", ".join(loaded.names[:10]) + (", ..." if loaded.n_classes > 10 else "")
    say(f"{loaded.source}: {len(loaded):,} {what}, {loaded.n_classes} classes ({classes})")
    base = base or default_recipe(settings, loaded)
    if recorded is not None:
        part = recorded.model if model is ScoreStage else {"recorded": recorded.model}
        field = model.kind if model is ScoreStage else f"{model.kind}s"
        base = base.model_copy(update={"schedule": recorded.schedule, "seed": recorded.seed, field: part})
    return base if origin is None else base.model_copy(update={"schedule": origin.schedule}), loaded


def _train(
    model: type[StageType],
    name: str,
    out: Path,
    part: TrainedRecipe,
    init: Path | None,
    base: Recipe,
    data: LabelledSet,
    given: Given,
    changes: dict[str, Any] | None = None,
    folders: Folders = Folders(),  # noqa: B008 - immutable
) -> None:
    earlier = by_folder_name([init] if init is not None else [])
    own = part.model_dump(mode="json") | {"init": next(iter(earlier), part.init)}
    if init is not None and model is not GeneratorStage:  # whose network may be its teacher's
        own["network"] = read_description(init / MODEL_FILE)["network"]
    tree = base.model_dump(mode="json", include={"data", "schedule", "seed"}) | {model.kind: own | (changes or {})}
    stage: TrainStage = parse(model, given.over(tree), f"train-{model.kind}")
    folders = folders._replace(**{f"{model.kind}s": earlier})  # type: ignore[arg-type]
    held_out = load(stage.data, "validation") if model is not ScoreStage else None
    processes = Processes()
    work = Train(name, out, stage, data.to(processes.device), folders, held_out).run(processes)
    if not work_in(out, follow_previews(work), processes):
        raise typer.Exit
    say(f"model: {out}")
