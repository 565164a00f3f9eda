"""The stage that measures models: `diagnostics.json`, from their scores and those of an exact oracle."""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from condgen.checkpoint import MODEL_FILE
from condgen.data import LabelledSet
from condgen.denoiser import Denoiser, Likelihood
from condgen.diagnostics.score_errors import (
    ErrorRow,
    ScoreErrors,
    draw_queries,
    grid_queries,
    likelihood_fields,
    measure,
    measure_levels,
    summarise,
)
from condgen.errors import UserError
from condgen.guidance import ClassifierGuided
from condgen.losses import classifier_loss
from condgen.oracle import Oracle
from condgen.recipes import DiagnoseRecipe, Guidance, check_levels, read_yaml
from condgen.rng import keyed_generator
from condgen.runs.folder import read_json, write_json
from condgen.runs.layout import DIAGNOSTICS, FIELD, RECIPE_FILE, calibration_file
from condgen.runs.models import Folders, check_fits, open_guided
from condgen.runs.stage import Progress, Stage, Work
from condgen.score import ScoreModel
from condgen.training import Processes


def default_methods(scales: Mapping[str, Sequence[float]], calibrated: Collection[str]) -> dict[str, Guidance]:
    """What is diagnosed by default: every classifier at each of its scales, and at its calibrated one.

    Args:
        scales: the constant scales of every classifier that are usual for its loss, by its name.
        calibrated: the classifiers that have a calibration.
    """
    methods: dict[str, Guidance] = {}
    for name, usual in scales.items():
        for scale in usual:
            methods[name if scale == 1 else f"{name} x{scale:g}"] = Guidance(classifier=name, scale=scale)
        if name in calibrated:
            methods[f"{name}, calibrated"] = Guidance(classifier=name, scale="calibrated")
    return methods


def default_methods_in(classifiers: Mapping[str, Path]) -> dict[str, Guidance]:
    """The same for the classifiers in run folders, by name."""
    scales: dict[str, Sequence[float]] = {}
    for name, folder in classifiers.items():
        path = folder / RECIPE_FILE
        trained = read_yaml(path).get("classifier", {}) if path.exists() else {}
        known = "objective" in trained
        scales[name] = classifier_loss(trained["objective"], str(path)).usual_scales if known else (1.0,)
    return default_methods(scales, [name for name, folder in classifiers.items() if calibration_file(folder).exists()])


@dataclass(frozen=True, eq=False)
class Diagnose(Stage):
    """Compares the methods' scores with those of the training set's own oracle, and writes `diagnostics.json`.

    Each process takes its share of the queries. An error depends on its own query alone, so that, up to rounding, the
    figures are those of one process.

    Args:
        folders: of the models.
        train: the training split, noised by the oracle.
    """

    settings: DiagnoseRecipe
    folders: Folders
    train: LabelledSet
    unit: ClassVar[str] = "levels"

    def reads(self) -> list[Path]:
        of_methods = [path for guidance in self.settings.methods.values() for path in self.folders.files(guidance)]
        return [self.folders.score() / MODEL_FILE, *of_methods]

    def conditions(self) -> list[str]:
        return [self.train.fingerprint()]

    def total(self) -> int:
        return len(self.settings.levels)

    def run(self, processes: Processes) -> Work:
        """Measures all levels; there is nothing to resume."""
        recipe, train, place = self.settings, self.train, self.folders.score()
        prior = ScoreModel.load(place, processes.device)
        check_fits(place, prior.config, train, train.source)
        prior.require_unconditional(place, "which is the prior here")
        methods, likelihoods = self._open_methods(prior, processes.device)
        check_levels(recipe.levels, prior.schedule, self.name)
        if recipe.grid is not None and train.shape != (2,):
            raise UserError(
                f"diagnose.grid is for points in the plane, which {train.source} does not hold: leave it out"
            )
        opened = yield from self.open(processes)
        if opened.finished:
            return
        oracle = Oracle(prior.schedule, train.x, train.y, train.n_classes).to(processes.device)
        rows = yield from self._on_data(oracle, prior, methods, processes)
        if recipe.grid is not None:
            rows += yield from self._on_grid(oracle, prior, methods, processes)
        if processes.is_main:
            if recipe.grid is not None:
                self._write_field(oracle, likelihoods)
            what = {
                "data": train.source,
                "oracle": f"the {len(train):,} training {'images' if train.is_images else 'points'} themselves, noised",
                "schedule": prior.schedule.model_dump(mode="json"),
                "queries per noise level": recipe.queries,
                "seed": recipe.seed,
                "methods": {name: guidance.in_words() for name, guidance in self.settings.methods.items()},
            }
            write_json(self.folder / DIAGNOSTICS, {"what": what, "rows": [row.as_dict() for row in rows]})
            opened.finish([DIAGNOSTICS], what=f"{len(recipe.levels)} noise levels, {recipe.queries:,} queries each")
        processes.wait()
        yield Progress(self.name, 1, 1)

    def _open_methods(
        self, prior: ScoreModel, device: torch.device
    ) -> tuple[dict[str, Denoiser], dict[str, Likelihood]]:
        """The denoisers of all methods, which share what they have in common, and the classifiers among them."""
        methods: dict[str, Denoiser] = {}
        likelihoods: dict[str, Likelihood] = {}
        for name, guidance in self.settings.methods.items():
            denoiser, score = open_guided(guidance, self.folders, device)
            check_fits(self.folders.score(guidance.score), score.config, prior.config, self.folders.score())
            if isinstance(denoiser, ClassifierGuided) and guidance.classifier is not None:
                if guidance.score is None:
                    denoiser.denoiser = prior
                denoiser.likelihood = likelihoods.setdefault(guidance.classifier, denoiser.likelihood)
            methods[name] = denoiser
        return methods, likelihoods

    def _on_data(
        self, oracle: Oracle, prior: Denoiser, methods: Mapping[str, Denoiser], processes: Processes
    ) -> Generator[Progress, None, list[ErrorRow]]:
        """Errors on noised data: the same images and noise at every level, a few of them at all levels at a time."""
        recipe = self.settings
        queries = draw_queries(oracle, recipe.queries, keyed_generator(recipe.seed)).at(
            _share(processes, recipe.queries)
        )
        found: list[list[ScoreErrors]] = [[] for _ in recipe.levels]
        done, total = 0, len(queries.y) * len(recipe.levels)
        for start in range(0, len(queries.y), oracle.at_once):
            few = queries.at(slice(start, start + oracle.at_once))
            yield Progress(self.name, done, total, done, f"noise level {recipe.levels[0]:g}")
            measured = measure_levels(oracle, prior, methods, recipe.levels, few)
            for level, parts, part in zip(recipe.levels, found, measured, strict=True):
                parts.append(part)
                done += len(few.y)
                yield Progress(self.name, done, total, done, f"noise level {level:g}")
        return [
            row
            for level, parts in zip(recipe.levels, found, strict=True)
            for row in summarise(level, "data", _gather(ScoreErrors.join(parts), recipe.queries, processes))
        ]

    def _on_grid(
        self, oracle: Oracle, prior: Denoiser, methods: Mapping[str, Denoiser], processes: Processes
    ) -> Generator[Progress, None, list[ErrorRow]]:
        """Errors on the points of the grid."""
        grid = self.settings.grid
        assert grid is not None
        rows: list[ErrorRow] = []
        for done, level in enumerate(grid.levels):
            yield Progress(self.name, done, len(grid.levels), note=f"grid at noise level {level:g}")
            t, x_t, y = grid_queries(oracle, grid.x, grid.y, grid.points, level)
            share = _share(processes, len(y))
            measured = measure(oracle, prior, methods, t, x_t[share], y[share])
            rows += summarise(level, "grid", _gather(measured, len(y), processes))
        return rows

    def _write_field(self, oracle: Oracle, likelihoods: Mapping[str, Likelihood]) -> None:
        """The likelihood scores on the grid at its first noise level, for the quiver plots."""
        recipe, train = self.settings, self.train
        assert recipe.grid is not None
        grid, level = recipe.grid, recipe.grid.levels[0]
        t, x_t, y = grid_queries(oracle, grid.x, grid.y, grid.points, level)
        fields = likelihood_fields(oracle, likelihoods, t, x_t, y)
        shown = torch.randperm(len(train), generator=keyed_generator(recipe.seed))[:400]
        value = {
            "sigma": level,
            "x": torch.linspace(*grid.x, grid.points).tolist(),
            "y": torch.linspace(*grid.y, grid.points).tolist(),
            "points": train.floats(shown).tolist(),
            "labels": train.y[shown].tolist(),
            "names": list(train.names),
            "fields": {name: (field * 1e6).round().div(1e6).tolist() for name, field in fields.items()},
        }
        write_json(self.folder / FIELD, value)

    def publish(self, run: Path) -> None:
        """Copies the files that a report reads."""
        for file in (DIAGNOSTICS, FIELD):
            if (self.folder / file).exists():
                write_json(run / file, read_json(self.folder / file))


def _share(processes: Processes, total: int) -> slice:
    """This process's share of the queries, or one of another's where there are fewer queries than processes."""
    rows = processes.rows(total)
    return slice(rows.start, max(rows.stop, rows.start + 1))


def _gather(measured: ScoreErrors, total: int, processes: Processes) -> ScoreErrors:
    rows = processes.rows(total)
    return measured.each(lambda part: processes.gather_rows(part[: rows.stop - rows.start], total))
