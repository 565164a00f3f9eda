"""`condgen train-generator`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from condgen.cli.evaluate import by_folder_name
from condgen.cli.options import (
    Data,
    Guide,
    Overrides,
    RecipeFile,
    Size,
    Trust,
    from_settings,
    model_option,
    named_guide,
)
from condgen.cli.previews import show_generators
from condgen.cli.training import base_recipe, build_stage, read_prior, train, training_keys
from condgen.errors import UserError
from condgen.losses import MatchingLoss
from condgen.recipes import GeneratorRecipe, GeneratorStage, Recipe, taught
from condgen.runs import Folders


@from_settings(GeneratorStage, training_keys("generator"), defaults=False)
def train_generator(
    loss: Annotated[
        Literal["smm", "dmd", "sid"] | None,
        typer.Option(
            help="sid (default): score identity distillation (Zhou et al. 2024). dmd: distribution matching (Yin et "
            "al. 2024), cheaper a step. smm: score mismatching (Ye & Liu 2024), less variety."
        ),
    ] = None,
    teacher: Annotated[
        Path | None, model_option("A frozen score model for sid and dmd, from whose weights the generator starts.")
    ] = None,
    classifier: Annotated[Path | None, model_option("A classifier that guides the teacher.")] = None,
    guide: Guide = None,
    scale: Annotated[
        str | None, typer.Option(metavar="NUMBER|calibrated", help="Guidance scale of the teacher; default: 1.")
    ] = None,
    likelihood: Annotated[
        Path | None, model_option("A classifier for the extra loss -log p(y|x_t): higher accuracy, less variety.")
    ] = None,
    data: Data = None,
    recipe: RecipeFile = None,
    size: Size = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default: runs/generator-LOSS.")] = None,
    trust: Trust = False,
    overrides: Overrides = None,
    *,
    given: dict[str, Any],
) -> None:
    """Train a class-conditional generator, which draws a sample in one pass of its network.

    condgen train-generator --teacher runs/digits/score --classifier runs/digits/classifier-dlsm

    Without --teacher, a denoiser of real images is trained with it. While it trains, accuracy, spread within a class
    and recall are measured ten times, since accuracy alone does not show a collapse within a class; previews.png shows
    how the same latents evolved.

    Other settings: --set generator.likelihood.weight=0.01, --set generator.augment.probability=0.3,
    --set generator.preview_every=100; condgen settings generator lists all.
    """
    name: str = loss or "sid"
    if teacher is None and (classifier, guide, scale) != (None, None, None):
        raise UserError("--classifier, --guide and --scale guide a teacher: name one with --teacher DIR")
    prior = read_prior(teacher) if teacher is not None else None
    base, loaded = base_recipe(recipe, size, data, overrides, prior)
    generator = _generator_of(base, name, teacher, recipe)
    guide_name, guides = named_guide(guide)
    if teacher is not None:
        if not isinstance(generator.objective, MatchingLoss):
            raise UserError(f"the loss {name} has no teacher: leave --teacher out, or choose --loss sid or dmd")
        guided: dict[str, Any] = {
            "score": None,
            "guide": guide_name,
            "classifier": classifier.resolve().name if classifier is not None else None,
        }
        is_guided = classifier is not None or guide is not None
        if scale is not None or not is_guided:
            guided["scale"] = scale or 1
        generator = taught(generator, guided | ({} if is_guided else {"interval": None}))
    if likelihood is not None:
        given["generator.likelihood.classifier"] = likelihood.resolve().name
    stage = build_stage(GeneratorStage, generator, base, given, overrides)
    name = stage.generator.objective.loss
    place = out or Path(f"runs/generator-{name}")
    classifiers = by_folder_name(list(dict.fromkeys(path for path in (classifier, likelihood) if path is not None)))
    train(f"generator {name}", place, stage, loaded, Folders(teacher, guides, classifiers))
    show_generators(place)


def _generator_of(base: Recipe, loss: str, teacher: Path | None, recipe: Path | None) -> GeneratorRecipe:
    """The generator of a recipe that has this loss, with a teacher if one is given."""
    same_loss = [each for each in base.generators.values() if each.objective.loss == loss]
    if not same_loss:
        raise UserError(f"{recipe} describes no generator with --loss {loss}: choose another, or add one to generators")
    found = min(same_loss, key=lambda each: (each.teacher is None) != (teacher is None))
    if found.teacher is not None and teacher is None:
        raise UserError(
            f"the generator with --loss {loss} in {recipe} has a teacher: name it with --teacher DIR, and its "
            f"--classifier or --guide, or train everything by condgen run {recipe}"
        )
    return found
