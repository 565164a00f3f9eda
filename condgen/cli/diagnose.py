"""`condgen diagnose`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.cli.evaluate import by_folder_name
from condgen.cli.options import Overrides, Trust, from_settings, model_option, overridden
from condgen.cli.progress import show_report, work_in
from condgen.cli.training import read_prior
from condgen.data import load
from condgen.errors import UserError
from condgen.recipes import DiagnoseRecipe, Guidance, default_recipe
from condgen.runs import Diagnose, Folders, default_methods_in
from condgen.settings import parse
from condgen.training import Processes


@from_settings(DiagnoseRecipe, {name: name for name in ("levels", "queries", "seed")})
def diagnose(
    score: Annotated[Path, model_option("The unconditional score model, the prior.")],
    classifier: Annotated[list[Path] | None, model_option("A classifier. Repeatable.")] = None,
    posterior: Annotated[list[Path] | None, model_option("A score model with labels. Repeatable.")] = None,
    out: Annotated[Path, typer.Option(help="The run folder.")] = Path("runs/diagnosis"),
    trust: Trust = False,
    overrides: Overrides = None,
    *,
    given: dict[str, Any],
) -> None:
    """Measure the error of the scores at each noise level: D (prior), D_P (posterior), D_L (likelihood).

    The truth is the exact score of the noised training set, the optimum of the training objectives. Every classifier
    is shown at scale 1, at its calibrated scale if it has one, and at scale 10 if it was trained by cross-entropy.
    --set methods={cfg: {score: FOLDER-NAME, guide: unlabelled, scale: 2}} shows other guidance.
    """
    prior = read_prior(score)
    if prior.data is None:
        raise UserError(f"the score model in {score} was imported without data: import it again with --data")
    train = load(prior.data, "train")
    base = default_recipe(prior.data, train).diagnose
    assert base is not None
    low, high = prior.schedule.noise_range
    tree = base.model_dump(mode="json") | {"levels": [level for level in base.levels if low <= level <= high]}
    settings = parse(DiagnoseRecipe, overridden(tree, given, overrides), "diagnose")
    named = by_folder_name([*(classifier or []), *(posterior or [])])
    classifiers = {name: path for name, path in named.items() if path in (classifier or [])}
    scores = {name: path for name, path in named.items() if name not in classifiers}
    labelled = {name: parse(Guidance, {"score": name}, f"the folder name {name!r}") for name in scores}
    methods = settings.methods or default_methods_in(classifiers) | labelled
    for place in scores.values() if not settings.methods else ():
        if read_description(place / MODEL_FILE).get("labels") == "none":
            raise UserError(f"{place} knows no labels, so it has no posterior score: name it with --score alone")
    used = {name for method in methods.values() for name in (method.score, method.guide, method.classifier)}
    if unused := named.keys() - used:
        raise UserError(f"no method uses {min(unused)!r}: leave the folder out, or name it in --set methods=...")
    if not methods:
        raise UserError("nothing to diagnose: name a classifier with --classifier, or a labelled model by --posterior")
    processes, stage = Processes(), settings.model_copy(update={"methods": methods})
    folders = Folders(score, scores, classifiers)
    work = Diagnose("diagnose", out, stage, folders, train.to(processes.device)).run(processes)
    if work_in(out, work, processes):
        show_report(out)
