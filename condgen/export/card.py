"""Model cards: a head that machines read, and a body for people.

Whatever comes from a run, names of classes above all, is escaped, so that it shows as it is written.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from condgen import __version__
from condgen.export.sources import Measured, Model, Source, last_part
from condgen.hub import repository_of
from condgen.metrics import REAL
from condgen.report import (
    MetricRow,
    classifier_table,
    errors_table,
    escape_markdown,
    metrics_table,
    read_run,
    to_markdown,
)
from condgen.runs.layout import REPORT, calibration_file

__all__ = ["PLACE", "UNDECIDED", "model_card", "run_card"]

PLACE = "OWNER/NAME"
"""Stands in a card for the name of a repository that is not known yet."""

UNDECIDED = "unknown"
"""The licence of a model for which nobody has chosen one."""

_TASKS = {"score model": "unconditional-image-generation", "generator": "unconditional-image-generation"}
_TASKS |= {"classifier": "image-classification"}


def model_card(
    model: Model, measured: Measured, figures: list[str], drawn: list[str], title: str, license: str, inside: str = ""
) -> str:
    """The card of one model.

    Args:
        model: what it is about.
        measured: what the run says of the model.
        figures: pictures beside the card.
        drawn: those of its score errors.
        title: its head line.
        license: as the hub spells it.
        inside: its sub-folder in the repository, if it has one.
    """
    place = f"{PLACE}/{inside}" if inside else PLACE
    above = f"hf:{PLACE}" if inside else "runs/RUN"
    body = _template("card.md.j2").render(
        **_shared(title, license, figures, drawn, measured),
        model=model,
        config=model.description,
        stage=Markup(_fenced(yaml.safe_dump(model.stage, sort_keys=False, allow_unicode=True), "yaml")),
        is_images=len(model.description["shape"]) == 3,
        place=Markup(f"hf:{place}"),
        above=Markup(above),
        levels=_levels(model),
        loss=_loss(model),
        data=_data(model),
        imported="imported" in model.stage,
    )
    return _card(_head(title, license, [model], measured), body)


def run_card(source: Source, figures: list[str], drawn: list[str], license: str) -> str:
    """The card of a whole run, whose models lie in sub-folders."""
    preferred = sorted(source.models, key=lambda model: _loss(model) != "dlsm")
    trained = [model for model in source.models if "imported" not in model.stage]
    firsts = {kind: next((model.name for model in preferred if model.kind == kind), None) for kind in _TASKS}
    body = _template("run.md.j2").render(
        **_shared(source.name, license, figures, drawn, source.measured),
        models=source.models,
        firsts={kind: Markup(name or "") for kind, name in firsts.items()},  # in code, where nothing is escaped
        report=(source.folder / REPORT).is_file(),
        place=Markup(f"hf:{PLACE}"),
        data=_data(trained[0]) if trained else "",
        imported=len(trained) < len(source.models),
        config=source.models[0].description,
        is_images=len(source.models[0].description["shape"]) == 3,
    )
    return _card(_head(source.name, license, list(source.models), source.measured), body)


def _shared(title: str, license: str, figures: list[str], drawn: list[str], measured: Measured) -> dict[str, Any]:
    tables = [Markup(to_markdown(metrics_table(measured.metrics)))] if measured.metrics else []
    kinds = {(row.weighting, row.quantity) for row in measured.errors}
    errors = [Markup(to_markdown(errors_table(measured.errors, *kind))) for kind in sorted(kinds)]
    return {
        "title": title,
        "license": license,
        "undecided": license == UNDECIDED,
        "figures": figures,
        "drawn": drawn,
        "metrics": tables,
        "floor": _floor(measured.metrics),
        "errors": errors,
        "methods": {name: _in_words(method) for name, method in measured.sampled.items()},
        "about": ", ".join(measured.about),
        "version": __version__,
    }


def _floor(rows: Sequence[MetricRow]) -> str:
    """What stands in the last row of the metrics: figures of real data, if not always at the n of the samples."""
    real = {row.metric for row in rows if row.method == REAL}
    last = [row for row in rows if (row.method == REAL) == (row.metric in real)]
    useful = [row for row in last if row.metric.startswith("CAS")]
    counts, learnt = (
        " or ".join(f"{n:,}" for n in sorted({row.floor_n for row in found if row.floor_n is not None}))
        for found in ([row for row in last if row not in useful], useful)
    )
    words = f"The last row is the floor, real data that were held out{f': n = {counts}' if counts else ''}."
    if useful:
        words += (
            f" For CAS it is what a classifier learns from real training data{f': n = {learnt}' if learnt else ''}."
        )
    return words


def _in_words(method: Mapping[str, Any]) -> str:
    """A way of sampling as its recipe has it."""
    shown = {"generator": method["generator"]} if method.get("generator") else method
    return ", ".join(f"{key} {value}" for key, value in shown.items() if value not in (None, {}, []))


def _card(head: ModelCardData, body: str) -> str:
    return str(ModelCard(f"---\n{head.to_yaml()}\n---\n\n{body.strip()}\n"))


def _head(title: str, license: str, models: list[Model], measured: Measured) -> ModelCardData:
    images = all(len(model.description["shape"]) == 3 for model in models)
    tags = ["condgen", "class-conditional", "score-based-generative-model", *dict.fromkeys(m.kind for m in models)]
    tags = [tag.replace(" ", "-") for tag in tags]
    imported = next((str(model.stage["imported"]) for model in models if "imported" in model.stage), "")
    results = _results(measured)
    return ModelCardData(
        license=license,
        library_name="condgen",
        tags=tags,
        pipeline_tag=_TASKS[models[0].kind] if images else None,
        base_model=repository_of(imported) if imported.startswith("hf:") else None,
        model_name=title if results else None,
        eval_results=results or None,
    )


def _results(measured: Measured) -> list[EvalResult]:
    """The metrics as the hub's model index has them, each with its conditions."""
    results = []
    for row in measured.metrics:
        if row.method == REAL:
            continue
        keys = ("method", "n", "low", "high", "features", "reference", "floor", "floor_n", "seed")
        conditions = {key: _rounded(value) for key in keys if (value := getattr(row, key)) is not None}
        source, _, split = str(row.reference).partition(" ")
        results.append(
            EvalResult(
                task_type="unconditional-image-generation",
                task_name="class-conditional generation",
                dataset_type=source,
                dataset_name=f"{source} {split}".strip(),
                metric_type=re.sub(r"[^a-z0-9]+", "-", row.metric.lower()).strip("-"),
                metric_name=f"{row.metric}, {row.method}",
                metric_value=_rounded(row.value),
                metric_args=conditions,
            )
        )
    return results


def _rounded(value: object) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _levels(model: Model) -> Markup:
    """What the calibration of a classifier says, by noise level."""
    path = calibration_file(model.folder)
    if model.kind != "classifier" or not path.is_file():
        return Markup("")
    (rows,) = read_run(model.folder).classifiers.values()
    return Markup(to_markdown(classifier_table(rows, f"{model.name}, by noise level")))


def _loss(model: Model) -> str:
    part: dict[str, Any] = model.stage.get({"score model": "score"}.get(model.kind, model.kind)) or {}
    return str((part.get("objective") or {}).get("loss", ""))


def _data(model: Model) -> str:
    """What the data are called, if that is known."""
    data = model.stage.get("data") or {}
    return last_part(str(data.get("root") or "")) or str(data.get("kind", ""))


def _fenced(text: str, language: str) -> str:
    """A block of code that no text can leave."""
    fence = "`" * max(3, max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _escaped(value: object) -> str:
    if isinstance(value, Markup):
        return str(value)
    return escape_markdown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _template(name: str) -> Any:  # noqa: ANN401 - jinja2 has no types of its own here
    environment = Environment(
        loader=PackageLoader("condgen.export", "."),
        autoescape=False,  # Markdown, which `finalize` escapes
        finalize=_escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
