"""The stage that measures scores: `diagnostics.json`, from held-out data, and from those of an exact oracle."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import torch

from condgen.checkpoint import MODEL_FILE
from condgen.data.labelled import LabelledSet
from condgen.denoiser import Denoiser
from condgen.diagnostics.held_out import add_errors, compare_errors, standard_errors
from condgen.diagnostics.score_errors import (
    ZERO_GUIDANCE,
    ErrorRow,
    Errors,
    Queries,
    Weighting,
    draw_queries,
    grid_queries,
    join_errors,
    likelihood_fields,
    measure,
    measure_levels,
    summarise,
)
from condgen.errors import UserError
from condgen.guidance import ClassifierGuided, DenoiserGuided
from condgen.losses import classifier_loss
from condgen.losses.base import ClassifierLoss
from condgen.oracle import Oracle
from condgen.recipes.compose import read_yaml
from condgen.recipes.guidance import Guidance
from condgen.recipes.schema import DiagnoseRecipe, PlaneGrid, check_levels
from condgen.rng import float64_device, keyed_generator
from condgen.rows import Row
from condgen.runs.folder import read_json, write_json
from condgen.runs.layout import DIAGNOSTICS, FIELD, PIXELS, RECIPE_FILE
from condgen.runs.models import Folders, Load, check_fits, load_anew, open_guided
from condgen.runs.stage import Progress, Stage, Work
from condgen.runs.train import training_cost
from condgen.score import ScoreModel
from condgen.training.distributed import Processes

_Rows: TypeAlias = Generator[Progress, None, Sequence[Row]]


def with_defaults(
    recipe: DiagnoseRecipe,
    losses: Mapping[str, ClassifierLoss | None],
    calibrated: Collection[str] = (),
    labelled: Collection[str] = (),
) -> DiagnoseRecipe:
    """The same with the methods and references that it leaves out, by the losses of classifiers where known."""
    methods = dict(recipe.methods)
    for name, loss in losses.items() if not recipe.methods else ():
        for scale in loss.usual_scales if loss is not None else (1.0,):
            methods[name if scale == 1 else f"{name} x{scale:g}"] = Guidance(classifier=name, scale=scale)
        if name in calibrated:
            methods[f"{name}, calibrated"] = Guidance(classifier=name, scale="calibrated")
    methods |= {name: Guidance(score=name) for name in labelled if not recipe.methods}
    plain = [Guidance(classifier=name) for name, loss in losses.items() if loss is not None and not loss.needs_prior]
    plain += [Guidance(score=name) for name in labelled]
    references = (ZERO_GUIDANCE, *(name for name, method in methods.items() if method in plain))
    return recipe.model_copy(update={"methods": methods, "references": recipe.references or references})


def loss_of(classifier: Path) -> ClassifierLoss | None:
    """What a classifier in a run folder was trained by, where that is known."""
    path = classifier / RECIPE_FILE
    trained = read_yaml(path).get("classifier", {}) if path.exists() else {}
    return classifier_loss(trained["objective"], str(path)) if "objective" in trained else None


@dataclass(frozen=True, eq=False)
class Diagnose(Stage):
    """Compares scores on held-out data, and with an oracle's, in `diagnostics.json`; processes share the queries."""

    settings: DiagnoseRecipe
    folders: Folders
    train: LabelledSet  # noised by the oracle
    test: LabelledSet
    unit: ClassVar[str] = "levels"

    def reads(self) -> list[Path]:
        of_methods = [path for guidance in self.settings.methods.values() for path in self.folders.files(guidance)]
        return [self.folders.score() / MODEL_FILE, *of_methods]

    def conditions(self) -> list[str]:
        return [self.train.fingerprint(), self.test.fingerprint()]

    def total(self) -> int:
        return len(self.settings.levels)

    @cached_property
    def _held_out(self) -> LabelledSet:
        return self.test.at_most(self.settings.most, keyed_generator(self.settings.seed))

    def run(self, processes: Processes) -> Work:
        recipe, train, place = self.settings, self.train, self.folders.score()
        load: Load = cache(load_anew)  # so that methods share models
        prior = load(ScoreModel, place, processes.device)
        check_fits(place, prior.config, train, train.source)
        prior.require_unconditional(place, "which is the prior here")
        methods: dict[str, Denoiser] = {ZERO_GUIDANCE: DenoiserGuided(prior, scale=0.0)}
        for name, guidance in recipe.methods.items():
            methods[name], score = open_guided(guidance, self.folders, processes.device, load)
            check_fits(self.folders.score(guidance.score), score.config, prior.config, place)
        check_levels(recipe.levels, prior.schedule, self.name)
        if unknown := set(recipe.references) - methods.keys():
            raise UserError(f"diagnose.references: {min(unknown)!r} is none of the methods {', '.join(methods)}")
        if recipe.grid is not None and train.shape != (2,):
            raise UserError(f"diagnose.grid is for points in the plane, which {train.source} has not: leave it out")
        opened = yield from self.open(processes)
        if opened.finished:
            return
        rows: list[Row] = [*(yield from self._on_held_out(methods, processes))]
        kind, n = "images" if train.is_images else "points", len(self._held_out)
        what: dict[str, Any] = {
            "data": train.source,
            "held out": f"{n:,} of {len(self.test):,} test {kind}, {recipe.draws} noise draws each",
            "training": {name: self._training(guidance) for name, guidance in recipe.methods.items()},
            "pairs": self._pairs(),
            "schedule": prior.schedule.model_dump(mode="json"),
            "seed": recipe.seed,
            "methods": {name: guidance.in_words() for name, guidance in recipe.methods.items()},
        }
        if recipe.oracle or (recipe.oracle is None and not train.is_images):
            oracle = Oracle(prior.schedule, train.x, train.y, train.n_classes).to(float64_device(processes.device))
            measured = partial(measure_levels, oracle, prior, methods, recipe.levels)
            rows += yield from self._against_oracle("data", oracle, measured, processes)
            if train.is_images:  # which the oracle knows by heart
                rows += yield from self._against_oracle("held_out", oracle, measured, processes)
            if recipe.grid is not None:
                rows += yield from self._on_grid(recipe.grid, oracle, prior, methods, processes)
            what["oracle"] = f"the {len(train):,} training {kind} themselves, noised"
            what["queries per noise level"] = recipe.queries
        if processes.is_main:
            write_json(self.folder / DIAGNOSTICS, {"what": what, "rows": [row.as_dict() for row in rows]})
            opened.finish([DIAGNOSTICS], what=f"{len(recipe.levels)} noise levels, {n:,} held-out {kind}")
        processes.wait()
        yield Progress(self.name, 1, 1)

    def _on_held_out(self, methods: Mapping[str, Denoiser], processes: Processes) -> _Rows:
        recipe, held_out = self.settings, self._held_out
        share = _share(processes, len(held_out))
        errors = torch.zeros(share.stop - share.start, len(recipe.levels), len(methods), dtype=torch.float64)
        done, total = 0, recipe.draws * len(recipe.levels) * len(errors)
        yield Progress(self.name, done, total)
        about = held_out.x, held_out.y, recipe.levels, share.start, processes.device
        pairs, maps = self._pairs(), None
        if held_out.is_images and pairs:
            maps = torch.zeros(2, len(pairs), len(recipe.levels), *held_out.shape[1:], dtype=torch.float64)
        for images in add_errors(errors, methods, *about, draws=recipe.draws, seed=recipe.seed, pairs=pairs, maps=maps):
            done += images
            yield Progress(self.name, done, total, done, "on held-out data")
        if maps is not None:
            if share != processes.rows(len(held_out)):  # it is another's
                maps.zero_()
            z = standard_errors(processes.gather_rows(maps[None], processes.count).sum(0), len(held_out))
            found = {" minus ".join(pair): part.tolist() for pair, part in zip(pairs, z.round(decimals=2), strict=True)}
            if processes.is_main:
                write_json(self.folder / PIXELS, {"levels": recipe.levels, "n": len(held_out), "z": found})
        errors = processes.gather_rows(errors, len(held_out))
        return compare_errors(errors, list(methods), recipe.references, recipe.levels, recipe.draws)

    def _against_oracle(
        self, weighting: Weighting, oracle: Oracle, errors: Callable[[Queries], Iterator[Errors]], processes: Processes
    ) -> _Rows:
        """Errors on noised data: the same images and noise at every level, a few of them at all levels at a time."""
        recipe = self.settings
        queries = draw_queries(oracle, recipe.queries, keyed_generator(recipe.seed))
        if weighting == "held_out":
            held_out = self.test.at_most(recipe.queries, keyed_generator(recipe.seed)).to(oracle.means.device)
            queries = Queries(held_out.floats(), queries.eps[: len(held_out)], held_out.y)
        count = len(queries.y)
        queries = queries.at(_share(processes, count))
        found: list[list[Errors]] = [[] for _ in recipe.levels]
        done, total = 0, len(queries.y) * len(recipe.levels)
        for start in range(0, len(queries.y), oracle.at_once):
            few = queries.at(slice(start, start + oracle.at_once))
            yield Progress(self.name, done, total, done, "against the oracle")
            for level, parts, part in zip(recipe.levels, found, errors(few), strict=True):
                parts.append(part)
                done += len(few.y)
                yield Progress(self.name, done, total, done, f"against the oracle at noise level {level:g}")
        return [
            row
            for level, parts in zip(recipe.levels, found, strict=True)
            for row in summarise(level, weighting, _gather(join_errors(parts), count, processes))
        ]

    def _on_grid(
        self, grid: PlaneGrid, oracle: Oracle, prior: Denoiser, methods: Mapping[str, Denoiser], processes: Processes
    ) -> _Rows:
        """Errors on the points of the grid; writes the likelihood scores there at its first noise level."""
        rows: list[ErrorRow] = []
        for done, level in enumerate(grid.levels):
            yield Progress(self.name, done, len(grid.levels), note=f"grid at noise level {level:g}")
            t, x_t, y = grid_queries(oracle, grid.x, grid.y, grid.points, level)
            share = _share(processes, len(y))
            measured = measure(oracle, prior, methods, t, x_t[share], y[share])
            rows += summarise(level, "grid", _gather(measured, len(y), processes))
        if not processes.is_main:
            return rows
        guided = ((one.classifier, methods[name]) for name, one in self.settings.methods.items())
        likelihoods = {str(name): one.likelihood for name, one in guided if isinstance(one, ClassifierGuided)}
        t, x_t, y = grid_queries(oracle, grid.x, grid.y, grid.points, grid.levels[0])
        fields = likelihood_fields(oracle, likelihoods, t, x_t, y)
        shown = torch.randperm(len(self.train), generator=keyed_generator(self.settings.seed))[:400]
        value = {
            "sigma": grid.levels[0],
            "x": torch.linspace(*grid.x, grid.points).tolist(),
            "y": torch.linspace(*grid.y, grid.points).tolist(),
            "points": self.train.floats(shown).tolist(),
            "labels": self.train.y[shown].tolist(),
            "names": list(self.train.names),
            "fields": {name: (field * 1e6).round().div(1e6).tolist() for name, field in fields.items()},
        }
        write_json(self.folder / FIELD, value)
        return rows

    def _pairs(self) -> list[tuple[str, str]]:
        """Methods and references that a reader asks about first: classifiers against those of cross-entropy."""
        methods = self.settings.methods
        plain = [name for name, one in methods.items() if one.classifier and one == Guidance(classifier=one.classifier)]
        references = [name for name in self.settings.references if name in plain]
        pairs = [(name, reference) for name in plain for reference in references if name not in references]
        return pairs or [(name, ZERO_GUIDANCE) for name in plain or methods]

    def _training(self, guidance: Guidance) -> dict[str, Any]:
        """Steps, batch and seconds of a method's classifier, or else its score model, where their folders say so."""
        if guidance.classifier is not None:
            return training_cost(self.folders.classifier(guidance.classifier), "classifier")
        return training_cost(self.folders.score(guidance.score), "score")

    def publish(self, run: Path) -> None:
        for file in (DIAGNOSTICS, FIELD, PIXELS):
            if (self.folder / file).exists():
                write_json(run / file, read_json(self.folder / file))


def _share(processes: Processes, total: int) -> slice:
    """This process's share of the queries, or one of another's where there are fewer queries than processes."""
    rows = processes.rows(total)
    return slice(rows.start, max(rows.stop, rows.start + 1))


def _gather(errors: Errors, total: int, processes: Processes) -> Errors:
    return {key: processes.gather_rows(part, total) for key, part in errors.items()}
