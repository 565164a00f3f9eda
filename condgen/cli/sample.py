"""`condgen sample`."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.cli.inputs import named_guide
from condgen.cli.options import Given, Guide, from_settings, model_option
from condgen.cli.pictures import draw_grid
from condgen.cli.progress import work_in
from condgen.cli.terminal import say
from condgen.data.labelled import class_index
from condgen.errors import UserError
from condgen.hub import pretrained_folder
from condgen.recipes.compose import apply_overrides
from condgen.recipes.schema import SampleStage
from condgen.runs.folder import read_json, recorded_data
from condgen.runs.layout import MANIFEST, STAGE_FILE
from condgen.runs.models import Folders
from condgen.runs.sample import Sample
from condgen.settings import parse
from condgen.training.distributed import Processes

_OF_METHOD = {name: f"method.{name}" for name in ("sampler", "steps", "nfe", "scale", "interval")}


@from_settings(SampleStage, _OF_METHOD | {"seed": "seed", "batch": "batch"})
def sample(
    pretrained: Annotated[str | None, typer.Option(metavar="NAME", help="Models of condgen, such as cifar10.")] = None,
    score: Annotated[Path | None, model_option("A score model.")] = None,
    classifier: Annotated[Path | None, model_option("A classifier that guides it.")] = None,
    guide: Guide = None,
    generator: Annotated[Path | None, model_option("A one-step generator, instead of a score model.")] = None,
    classes: Annotated[str, typer.Option("--class", help="Names or numbers, 'cat,dog' or '3,7', or all.")] = "all",
    per_class: Annotated[int | None, typer.Option(min=1, help="Samples of each class; default: 16.")] = None,
    n: Annotated[int | None, typer.Option("--n", "--total", min=1, help="In all; under torchrun, --total.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Of the sampler, such as eta=0.5.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where pictures and manifest.jsonl go.")] = Path("runs/samples"),
    *,
    given: Given,
) -> None:
    """Draw samples of chosen classes, guided or in one step.

    Sample i has seed + i and depends on no other, and classes take turns. The same command with a greater --n or
    --per-class draws those that are missing.

    condgen sample --pretrained cifar10 --class cat,ship

    condgen sample --score runs/digits/score --classifier runs/digits/classifier-dlsm --class 3,7

    condgen sample --score runs/conditional --guide unlabelled --scale 2 --class 3,7

    condgen sample --generator runs/generator-sid --n 50000

    A name with a comma stands in double quotes: --class '"bread, white",rice'.

    Also: --set method.grid=uniform, --set method.precision=bfloat16, --set compile=true.
    """
    if n is not None and per_class is not None:
        raise UserError("--n counts all samples and --per-class those of each class: leave one of the two out")
    if bool(pretrained) + bool(generator) + bool(score or classifier) > 1:
        raise UserError("give one of --pretrained NAME, --generator DIR, or --score DIR with --classifier DIR")
    if pretrained is not None:
        score, classifier = (pretrained_folder(f"{pretrained}/{part}") for part in ("score", "classifier"))
    if (source := generator or score) is None:
        raise UserError("sampling needs --score DIR (with --classifier DIR), --generator DIR or --pretrained NAME")
    about = read_description(source / MODEL_FILE)
    if classes != "all" and generator is None and classifier is None and about.get("labels", "none") == "none":
        raise UserError(f"choosing a class needs --classifier DIR, --generator DIR or labels, which {source} has not")
    names = [str(name) for name in about.get("names", ())]
    texts = [classes] if classes in names else next(csv.reader([classes], skipinitialspace=True))
    asked = range(len(names)) if classes == "all" else [class_index(names, text.strip()) for text in texts]
    chosen = list(dict.fromkeys(asked))
    guide_name, guides = named_guide(guide)
    method = {
        "classifier": classifier.name if classifier else None,
        "guide": guide_name,
        "generator": generator.name if generator else None,
        "options": apply_overrides({}, options or (), "--option"),
    }
    total = n or (per_class or 16) * len(chosen)
    tree = {"method": method, "classes": tuple(chosen), "n": total, "data": recorded_data(source)}
    stage = parse(SampleStage, given.over(tree), "sample")
    processes, classifiers = Processes(), {classifier.name: classifier} if classifier else {}
    folders = Folders(score, guides, classifiers, {generator.name: generator} if generator else {})
    if work_in(out, Sample("sample", out, stage, folders).run(processes), processes):
        grid, record = draw_grid(out), read_json(out / STAGE_FILE)
        drawn = f"{record['images']:,} samples, {record['evaluations_per_image']:g} network evaluations each"
        time = f"{record['drawing_seconds']:,.1f} s of {record['seconds']:,.1f} s, the rest to load and to write"
        say(f"{drawn}, {record['images_per_second']:,.5g} images/s ({time})\n{grid or out / MANIFEST}")
