"""Model cards: a head that machines read, and a body for people.

Whatever comes from a run, names of classes above all, is escaped, so that it shows as it is written.
"""

from huggingface_hub import ModelCard, ModelCardData
from markupsafe import Markup

from condgen import __version__
from condgen.export.sources import Source
from condgen.hub import repository_of
from condgen.report import classifier_table, held_out_tables, metrics_table, open_template, to_markdown

PLACE = "OWNER/NAME"
"""Stands in a card for the name of a repository that is not known yet."""

UNDECIDED = "unknown"
"""The licence of a model that has none yet."""

_TASKS = {"score model": "unconditional-image-generation", "generator": "unconditional-image-generation"}
_TASKS |= {"classifier": "image-classification"}


def model_card(source: Source, figures: list[str], license: str) -> str:
    models, run = source.models, source.run
    first = models[0]
    title = run.name if source.recipe else first.name
    metrics = [row.model_copy(update={"reference": first.public(row.reference or "")}) for row in run.metrics]
    imported = first.stage.get("imported")
    is_images = len(first.description["shape"]) == 3
    kinds = list(dict.fromkeys(model.kind for model in models))
    head = ModelCardData(
        license=license,
        library_name="condgen",
        tags=["condgen", "class-conditional", "score-based-generative-model", *(k.replace(" ", "-") for k in kinds)],
        pipeline_tag=_TASKS[first.kind] if is_images else None,
        base_model=repository_of(imported) if imported and imported.startswith("hf:") else None,
    )
    methods = source.recipe.sample.methods if source.recipe and source.recipe.sample else {}
    body = open_template("condgen.export", "card.md.j2").render(
        title=title,
        license=None if license == UNDECIDED else license,
        figures=figures,
        source=source,
        config=first.description,
        data=first.data,
        imported=imported,
        is_images=is_images,
        metrics=to_markdown(metrics_table(metrics)) if metrics else None,
        methods={
            name: f"generator {method.generator}" if method.generator else method.in_words()
            for name, method in methods.items()
        },
        differences=[to_markdown(table) for table in held_out_tables(run.held_out)],
        calibrations=[to_markdown(classifier_table(rows, name)) for name, rows in run.classifiers.items()],
        **_usage(source),
        version=__version__,
    )
    return str(ModelCard(f"---\n{head.to_yaml()}\n---\n\n{body.strip()}\n"))


def _usage(source: Source) -> dict[str, Markup | None]:
    """Where the first model of each kind will lie, for commands, in which nothing is escaped."""
    places = {}
    for kind in _TASKS:
        found = [model.name for model in source.models if model.kind == kind]
        place = f"hf:{PLACE}/{found[0]}" if source.recipe and found else f"hf:{PLACE}"
        places[kind.split()[0]] = Markup(place) if found else None
    if places["classifier"] and not places["score"]:
        places["score"] = Markup("runs/RUN/score")
    return places
