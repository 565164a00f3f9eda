"""`condgen sample`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from condgen.checkpoint import MODEL_FILE, load_tensors
from condgen.cli.progress import console, follow
from condgen.cli.run import draw_grid
from condgen.data import class_index
from condgen.errors import UserError
from condgen.hub import MODEL, model_folder
from condgen.recipes import Method, SampleStage, Shard, TrajectoryStage, apply_overrides, labels_spread
from condgen.runs import Models, in_main, lock, read_json, sample_stage, shard_folder, shards_within, trajectory_stage
from condgen.runs.layout import STAGE_FILE, TRAJECTORIES_FOLDER
from condgen.schedules import GridName
from condgen.settings import parse
from condgen.training import Precision, Processes

__all__ = ["guide_folder", "name_of_guide", "sample"]

_SPEED = "Many samples"  # a panel of the help
_PER_CLASS = 16


def guide_folder(guide: str | None) -> Path | None:
    """The folder of the score model that guides, if one does."""
    return None if guide is None or guide == "unlabelled" else model_folder(guide)


def name_of_guide(guide: str | None, folder: Path | None) -> str | None:
    """What settings call a guide that was named on the command line.

    Two parts of the path: of a snapshot, one is a bare number, and "score" alone would mean a recipe's main model.
    """
    return guide if folder is None else "/".join(folder.resolve().parts[-2:])


def sample(
    score: Annotated[
        Path | None,
        typer.Option(
            parser=model_folder,
            metavar=MODEL,
            help="A score model: its run folder, or an exported one, here or on the hub. One trained with labels takes "
            "--class by itself.",
        ),
    ] = None,
    classifier: Annotated[
        Path | None, typer.Option(parser=model_folder, metavar=MODEL, help="A classifier that guides it.")
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option(
            metavar=f"unlabelled|{MODEL}",
            help="What guides it in place of a classifier. unlabelled: the same model without its label "
            "(classifier-free guidance). DIR: a weaker score model, such as runs/score/snapshots/1000 (autoguidance).",
        ),
    ] = None,
    generator: Annotated[
        Path | None,
        typer.Option(parser=model_folder, metavar=MODEL, help="A one-step generator, in place of both."),
    ] = None,
    classes: Annotated[
        str, typer.Option("--class", help="Names or numbers, separated by commas, or all: 'cat,dog' or '3,7'.")
    ] = "all",
    per_class: Annotated[
        int | None, typer.Option(min=1, help="Samples of each class; 16 where neither this nor --n is given.")
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            "--total",
            min=1,
            help="Samples in all, spread evenly over the classes; 50000 for FID. (torchrun takes --n for its own.)",
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option(metavar="NAME", help="One that condgen samplers lists, or your own as package.module:Class.")
    ] = "unipc",
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
    trajectories: Annotated[
        int,
        typer.Option(
            min=0,
            help="Keep how the first sample of the first so many classes came from noise: a picture and a JSON file in "
            "the folder trajectories of --out.",
        ),
    ] = 0,
    batch: Annotated[
        int, typer.Option(min=1, rich_help_panel=_SPEED, help="Samples drawn at once; on a GPU, 1000 or more.")
    ] = 250,
    precision: Annotated[
        Precision,
        typer.Option(
            rich_help_panel=_SPEED,
            help="bfloat16: inside the networks of score models and generators, faster on most GPUs; pictures differ "
            "a little. Classifiers stay in float32.",
        ),
    ] = "float32",
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            rich_help_panel=_SPEED,
            help="Compile these networks first, which takes about a minute: for many samples. Pictures differ by "
            "rounding at most, as with another --batch, so samples drawn either way make one set.",
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            rich_help_panel=_SPEED,
            help="Draw part I of N alone, 1/8 to 8/8, in a sub-folder of --out, so that many processes or machines "
            "share the work. The pictures are those of one process; condgen evaluate reads all parts as one set.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for pictures, grid.png and manifest.jsonl.")] = Path(
        "runs/samples"
    ),
) -> None:
    """Draw samples of chosen classes, guided or in one step.

    condgen sample --score runs/digits/score --classifier runs/digits/classifier-dlsm --class 3,7

    condgen sample --score runs/conditional --guide unlabelled --scale 2 --class 3,7

    condgen sample --generator runs/generator-sid --n 50000 --shard 1/2
    """
    if n is not None and per_class is not None:
        raise UserError("--n counts all samples and --per-class those of each class: leave one of the two out")
    source = generator or score
    if source is None:
        raise UserError("sampling needs --score DIR (with --classifier DIR to choose a class), or --generator DIR")
    if generator is not None and (score, classifier, guide) != (None, None, None):
        raise UserError("--generator stands alone: leave out --score, --classifier and --guide, or leave it out")
    weaker = guide_folder(guide)
    _, description = load_tensors(source / MODEL_FILE)
    knows_labels = generator is not None or description.get("labels", "none") != "none"
    if not knows_labels and classifier is None and classes != "all":
        raise UserError(
            f"choosing a class needs --classifier DIR or --generator DIR: the score model in {source} knows none "
            "(one of condgen train-score --conditional would)"
        )
    names = [str(name) for name in description.get("names", ())]
    asked = range(len(names)) if classes == "all" else [class_index(names, text.strip()) for text in classes.split(",")]
    chosen = list(dict.fromkeys(asked))
    labels = labels_spread(n or (per_class or _PER_CLASS) * len(chosen), chosen)
    settings = {
        "classifier": classifier.name if classifier else None,
        "guide": name_of_guide(guide, weaker),
        "generator": generator.name if generator is not None else None,
        "scale": scale,
        "interval": interval,
        "sampler": sampler,
        "options": apply_overrides({}, options or (), "--option"),
        "steps": steps,
        "nfe": nfe,
        "grid": grid,
        "precision": precision,
    }
    method = parse(Method, settings, "sample")
    if trajectories and (generator is not None or shard is not None):
        raise UserError("--trajectories goes with samplers of many steps, and without --shard: leave one of them out")
    how = {"seed": seed, "batch": batch, "compile": compiled, "shard": _shard(shard)}
    stage = parse(SampleStage, {"method": method, "labels": labels, **how}, "sample")
    out = _place(out, stage.shard)
    processes = Processes()
    with lock(out, processes):
        models = Models(score, classifier, generator, weaker)
        worked = follow(sample_stage("sample", out, stage, models, processes), processes)
        ways = _draw_ways(out, stage, models, chosen[:trajectories], processes) if trajectories else None
        if not processes.is_main:
            return
        if worked == 0:
            console.print(f"nothing left to do: {out} is finished", markup=False)
        picture = draw_grid(out)
    record = read_json(out / STAGE_FILE)
    evaluations = f"{record['evaluations_per_image']:g} network evaluation"
    evaluations += "s" if record["evaluations_per_image"] != 1 else ""
    speed = record["images_per_second"]
    rate = f"{speed:,.0f}" if speed >= 100 else f"{speed:g}"
    times = f"{record['drawing_seconds']:,.1f} s of {record['seconds']:,.1f} s, the rest to load and to write"
    console.print(
        f"{record['images']:,} samples, {evaluations} each, "
        f"{rate} images/s ({times})\n{picture or out / 'manifest.jsonl'}",
        markup=False,
        soft_wrap=True,
    )
    if ways is not None:
        console.print(f"from noise to sample: {ways}", markup=False, soft_wrap=True)


def _draw_ways(
    out: Path, stage: SampleStage, models: Models, classes: Sequence[int], processes: Processes
) -> Path | None:
    """Draws the trajectories of the first sample of some classes, and their picture."""
    from condgen.report import draw_trajectories  # plots take a second to import

    classes = [label for label in classes if label in stage.labels]  # there may be fewer samples than classes
    places = [stage.labels.index(label) for label in classes]
    shown = {"labels": tuple(classes), "seeds": tuple(stage.seed + place for place in places)}
    place = out / TRAJECTORIES_FOLDER
    ways = TrajectoryStage(methods={"samples": stage.method}, **shown)
    work = trajectory_stage(place, ways, {"samples": models}, processes.device)
    follow(in_main(processes, work), processes)
    return draw_trajectories(place) if processes.is_main else None


def _shard(text: str | None) -> Shard | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if found is None:
        raise UserError(f"--shard is I/N, such as 1/8 for the first of eight parts, which {text!r} is not")
    return parse(Shard, {"number": int(found[1]), "of": int(found[2])}, f"--shard {text}")


def _place(out: Path, shard: Shard | None) -> Path:
    """The folder of the samples, or of a shard of them. A folder holds one or the other."""
    if shard is None:
        if shards_within(out):
            raise UserError(f"{out} holds samples that were drawn in shards: add --shard, or choose another --out")
        return out
    if (out / STAGE_FILE).exists():
        raise UserError(f"{out} holds samples that were drawn without --shard: leave it out, or choose another --out")
    return shard_folder(out, shard)
