"""`condgen train-generator`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from condgen.cli.looks import show_generators
from condgen.cli.run import Overrides, Size
from condgen.cli.sample import guide_folder, name_of_guide
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
from condgen.errors import UserError
from condgen.hub import MODEL, model_folder
from condgen.recipes import (
    GENERATOR_PRESETS,
    GeneratorPreset,
    GeneratorStage,
    apply_overrides,
    taught,
)
from condgen.runs import Models

__all__ = ["train_generator"]

_LOSS, _TEACHER, _TERM = "The loss", "A frozen teacher, for dmd and sid", "Beside the loss"  # panels of the help


def train_generator(
    loss: Annotated[
        Literal["smm", "dmd", "sid"] | None,
        typer.Option(
            rich_help_panel=_LOSS,
            help="sid, the default: score identity distillation (Zhou et al. 2024). dmd: distribution matching (Yin et "
            "al. 2024); cheaper a step. smm: score mismatching (Ye & Liu 2024); one opponent instead of two, and less "
            "variety.",
        ),
    ] = None,
    preset: Annotated[
        GeneratorPreset | None,
        typer.Option(
            rich_help_panel=_LOSS,
            help="smm-paper: one step of the critic for one of the generator, at one speed, as its authors train; on "
            "small data sets it collapses within a class. smm: three steps of a faster critic, what --loss smm takes. "
            "The options below change a preset.",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            parser=model_folder,
            metavar=MODEL,
            rich_help_panel=_TEACHER,
            help="Folder of a score model: one trained with labels, or without, and then guided by --classifier. "
            "The generator starts from its weights, and no denoiser of real images is trained.",
        ),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            parser=model_folder,
            metavar=MODEL,
            rich_help_panel=_TEACHER,
            help="Folder of a classifier that guides the teacher (DLSM, or CE).",
        ),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option(
            metavar=f"unlabelled|{MODEL}",
            rich_help_panel=_TEACHER,
            help="What guides it instead, as in condgen sample.",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|calibrated",
            rich_help_panel=_TEACHER,
            help="Guidance scale, as in condgen sample; by default what --recipe says, or 1.",
        ),
    ] = None,
    likelihood: Annotated[
        Path | None,
        typer.Option(
            parser=model_folder,
            metavar=MODEL,
            rich_help_panel=_TERM,
            help="Folder of a noise-aware classifier: adds -log p(y|x_t) of noised samples. More of them are of "
            "the class asked for, and they vary less.",
        ),
    ] = None,
    likelihood_weight: Annotated[
        float | None, typer.Option(rich_help_panel=_TERM, help="Its weight, above 0; 0.01 by default.")
    ] = None,
    augment: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.8,
            rich_help_panel=_TERM,
            help="How often each of shift, turn, zoom and brightness happens to real and generated images (ADA).",
        ),
    ] = None,
    data: Data = None,
    recipe: RecipeFile = None,
    size: Size = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; by default runs/generator-LOSS.")] = None,
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
    """Train a class-conditional generator, which draws a sample in one pass of its network.

    Each loss adds noise to what the generator makes and asks networks that are trained beside it. smm has a critic, and
    a bias: its samples vary less than the data. dmd and sid compare a denoiser of real images with one of generated
    ones, and have none. With --teacher a frozen score model is the first of the two:

    condgen train-generator --teacher runs/digits/score --classifier runs/digits/classifier-dlsm

    Class accuracy alone cannot tell a good generator from one that makes the same image of a class every time. While it
    trains, it is therefore measured ten times: spread within a class and recall beside accuracy, in the terminal and in
    log.jsonl; a collapse is told in words. grid.png shows the newest samples, and previews.png how the same latents
    evolved; condgen report FOLDER draws the curves.

    --set reaches every setting: generator.objective.critic_steps=5, generator.preview_every=100.
    """
    wanted = _loss(loss, preset, teacher)
    if teacher is None and (classifier, guide, scale) != (None, None, None):
        raise UserError("--classifier, --guide and --scale lead a teacher: name one with --teacher DIR")
    if likelihood is None and likelihood_weight is not None:
        raise UserError("--likelihood-weight needs a classifier: name its folder with --likelihood DIR")
    if likelihood_weight is not None and likelihood_weight <= 0:
        raise UserError(f"--likelihood-weight is above 0, not {likelihood_weight:g}: leave --likelihood out for none")
    if teacher is not None and (flip or augment):
        raise UserError("--flip and --augment change real images, which a teacher has seen as they are: leave them out")
    learnt = read_prior(teacher) if teacher is not None else None
    beside = data_beside(learnt, teacher, named=bool(data or recipe))
    base, loaded = base_recipe(recipe, size, data, beside, download, overrides or [])
    if any(text.partition("=")[0].strip() == "generator.objective.loss" for text in overrides or ()):
        raise UserError("generator.objective.loss is what --loss chooses: say --loss sid, dmd or smm instead of --set")
    same_loss = [g for g in base.generators.values() if g.objective.loss == wanted]
    found = next((g for g in same_loss if (g.teacher is None) == (teacher is None)), next(iter(same_loss), None))
    if found is None:
        others = ", ".join(sorted({g.objective.loss for g in base.generators.values()}))
        choose = f"choose --loss {others}, or " if others else ""
        raise UserError(f"{recipe} describes no generator with --loss {wanted}: {choose}add one under generators")
    if found.teacher is not None and teacher is None:
        options = " --classifier DIR" if found.teacher.classifier is not None else ""
        options = " --guide unlabelled|DIR" if found.teacher.guide is not None else options
        raise UserError(
            f"the generator with --loss {wanted} in {recipe} has a teacher: name it with --teacher DIR{options}, or "
            f"train everything by condgen run {recipe}"
        )
    schedule = learnt.schedule if learnt else base.schedule
    tree = plain(data=base.data, schedule=schedule, seed=base.seed, generator=found)
    given = {
        "generator.likelihood.weight": likelihood_weight,
        "generator.augment.probability": augment,
    }
    weaker = guide_folder(guide)
    if teacher is not None:
        led: dict[str, Any] = {"score": None, "classifier": classifier.resolve().name if classifier else None}
        led["guide"] = name_of_guide(guide, weaker)
        if scale is not None or led["classifier"] is led["guide"] is None:
            led["scale"] = scale or 1
        if led["classifier"] is led["guide"] is None:
            led["interval"] = None
        tree["generator"] = taught(found, led).model_dump(mode="json")
    if likelihood is not None:  # the recipe's, where it has one, with another classifier perhaps
        term = tree["generator"]["likelihood"] or {}
        tree["generator"]["likelihood"] = term | {"classifier": likelihood.resolve().name}
    if preset is not None:
        tree = apply_overrides(tree, GENERATOR_PRESETS[preset])
    stage = build_stage(
        GeneratorStage,
        "generator",
        tree,
        given | training_options("generator", steps, batch, lr, seed, flip, precision, compiled, micro_batch),
        overrides or [],
    )
    if stage.generator.objective.loss != wanted:
        raise UserError(f"--set makes the loss {stage.generator.objective.loss}: say --loss instead")
    if teacher is None and stage.generator.teacher is not None:
        raise UserError("--set generator.teacher needs the folders of its models: name them with --teacher DIR")
    models = Models(score=teacher, classifier=classifier, guide=weaker, likelihood=likelihood)
    place = out or Path(f"runs/generator-{wanted}")
    train(f"generator {wanted}", place, stage, loaded, models)
    show_generators(place)


def _loss(loss: str | None, preset: str | None, teacher: Path | None) -> str:
    """The loss that is asked for, also by a preset."""
    of_preset = "smm" if preset is not None else None
    if of_preset is not None and loss not in (None, of_preset):
        raise UserError(f"--preset {preset} is a choice of --loss {of_preset}: leave one of the two out")
    chosen = loss or of_preset or "sid"
    if chosen == "smm" and teacher is not None:
        raise UserError("score mismatching has no teacher: leave --teacher out, or choose --loss sid or dmd")
    return chosen
