"""`condgen sample`."""

from pathlib import Path
from typing import Annotated

import typer

from condgen.cli.progress import console, follow
from condgen.cli.run import draw_grid
from condgen.data import class_index
from condgen.errors import UserError
from condgen.noise import GridName
from condgen.recipe import Method, SampleStage, apply_overrides
from condgen.run import Models, lock, read_json, sample_stage
from condgen.sampling import SamplerName
from condgen.settings import parse
from condgen.training import Processes
from condgen.weights import MODEL_FILE, load_tensors

__all__ = ["name_of_guide", "sample"]


def name_of_guide(guide: str | None) -> str | None:
    """What settings call a guide that was named on the command line.

    Two parts of the path: of a snapshot, one is a bare number, and "score" alone would mean a recipe's main model.
    """
    return guide if guide in (None, "unlabelled") else "/".join(Path(guide).resolve().parts[-2:])


def sample(
    score: Annotated[
        Path | None, typer.Option(help="Run folder of a score model. One trained with labels takes --class by itself.")
    ] = None,
    classifier: Annotated[Path | None, typer.Option(help="Run folder of a classifier that guides it.")] = None,
    guide: Annotated[
        str | None,
        typer.Option(
            metavar="unlabelled|DIR",
            help="What guides it in place of a classifier. unlabelled: the same model without its label "
            "(classifier-free guidance). DIR: a weaker score model, such as runs/score/snapshots/1000 (autoguidance).",
        ),
    ] = None,
    generator: Annotated[
        Path | None, typer.Option(help="Run folder of a one-step generator, in place of both.")
    ] = None,
    classes: Annotated[
        str, typer.Option("--class", help="Names or numbers, separated by commas, or all: 'cat,dog' or '3,7'.")
    ] = "all",
    per_class: Annotated[int, typer.Option(min=1, help="Samples of each class.")] = 16,
    sampler: Annotated[SamplerName, typer.Option(help="How to draw; condgen samplers describes each.")] = "unipc",
    options: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Of the sampler, such as eta=0.5; repeatable."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=2, help="Points of the time grid; by default as many as suit the sampler: 20 for unipc."),
    ] = None,
    nfe: Annotated[
        int | None,
        typer.Option(min=1, help="At most so many evaluations of the denoiser per sample, in place of --steps."),
    ] = None,
    grid: Annotated[
        GridName | None, typer.Option(help="How the time grid is spaced; by default as suits the sampler.")
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            metavar="NUMBER|calibrated",
            help="Guidance scale. With --classifier 1 is Bayes' rule and 0 is off, and calibrated is what condgen "
            "calibrate found for each noise level; with --guide 1 is the score model alone.",
        ),
    ] = "1",
    interval: Annotated[
        tuple[float, float] | None, typer.Option(help="Noise levels (low high) between which guidance acts.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Sample i has seed + i, and depends on no other sample.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Samples drawn at once.")] = 250,
    out: Annotated[Path, typer.Option(help="The folder for pictures, grid.png and manifest.jsonl.")] = Path(
        "runs/samples"
    ),
) -> None:
    """Draw samples of chosen classes, guided or in one step.

    condgen sample --score runs/digits/score --classifier runs/digits/classifier-dlsm --class 3,7

    condgen sample --score runs/conditional --guide unlabelled --scale 2 --class 3,7
    """
    source = generator or score
    if source is None:
        raise UserError("sampling needs --score DIR (with --classifier DIR to choose a class), or --generator DIR")
    if generator is not None and (score, classifier, guide) != (None, None, None):
        raise UserError("--generator stands alone: leave out --score, --classifier and --guide, or leave it out")
    _, description = load_tensors(source / MODEL_FILE)
    knows_labels = generator is not None or description.get("labels", "none") != "none"
    if not knows_labels and classifier is None and classes != "all":
        raise UserError(
            f"choosing a class needs --classifier DIR or --generator DIR: the score model in {source} knows none "
            "(one of condgen train-score --conditional would)"
        )
    names = [str(name) for name in description.get("names", ())]
    asked = range(len(names)) if classes == "all" else [class_index(names, text.strip()) for text in classes.split(",")]
    chosen = dict.fromkeys(asked)
    labels = tuple(label for label in chosen for _ in range(per_class))
    settings = {
        "classifier": classifier.name if classifier else None,
        "guide": name_of_guide(guide),
        "generator": generator.name if generator is not None else None,
        "scale": scale,
        "interval": interval,
        "sampler": sampler,
        "options": apply_overrides({}, options or (), "--option"),
        "steps": steps,
        "nfe": nfe,
        "grid": grid,
    }
    method = parse(Method, settings, "sample")
    stage = parse(SampleStage, {"method": method, "labels": labels, "seed": seed, "batch": batch}, "sample")
    with lock(out):
        models = Models(score, classifier, generator, Path(guide) if guide not in (None, "unlabelled") else None)
        worked = follow(sample_stage("sample", out, stage, models, Processes().device))
        if worked == 0:
            console.print(f"nothing left to do: {out} is finished", markup=False)
        picture = draw_grid(out)
    record = read_json(out / "stage.json")
    console.print(
        f"{record['images']:,} samples, {record['evaluations_per_image']:g} network evaluations each, "
        f"{record['images_per_second']:,} images/s\n{picture or out / 'manifest.jsonl'}",
        markup=False,
        soft_wrap=True,
    )
