"""The sampling stage, which fills a folder of samples.

A sample that is already in the manifest is not drawn again, so sampling goes on where it stopped. One that cannot be
used, since its numbers are not finite or its sampler gave up, is counted and named, and never written as an image; the
others are kept, and the command ends in an error once all are drawn.

Many processes deal whole batches among themselves, so that the networks are called with the very batches of one
process, and give the same bits on the same kind of machine. Where there are fewer batches than processes, these are
split, and samples are those of one process up to rounding; so are those of adaptive samplers, whose batches mix.
"""

import dataclasses
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from condgen.checkpoint import MODEL_FILE, read_description
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.recipes import Method, SampleStage, content_key
from condgen.recipes.guidance import Unloaded
from condgen.rng import Streams
from condgen.runs.folder import read_rows
from condgen.runs.layout import LOG_FILE, MANIFEST
from condgen.runs.models import Evaluations, Load, Models, count_evaluations, load_anew, open_guided
from condgen.runs.sample_folder import merge_manifests, part_manifest, write_samples
from condgen.runs.stage import Progress, StageFolder, Work, open_stage
from condgen.runs.unusable_samples import NOT_FINITE, UnusableSamples
from condgen.samplers import (
    AdaptiveSampler,
    Finished,
    Sampler,
    build_sampler,
    draw,
    sampler_class,
)
from condgen.schedules import AnySchedule, Schedule
from condgen.score import ScoreModel
from condgen.training import PriorSettings, Processes, lighten_

__all__ = ["Source", "describe", "open_light", "open_source", "sample_key", "sample_stage", "sampler_defaults"]


class Source(NamedTuple):
    """What draws samples: everything that `draw` needs, and what the images are called."""

    shape: tuple[int, ...]
    names: tuple[str, ...]
    model: Sampler | AdaptiveSampler | Generator
    grid: Tensor | None
    device: torch.device

    def draw(self, labels: Sequence[int], seeds: Sequence[int], batch: int) -> Iterator[list[Finished]]:
        """Samples as they finish."""
        y = torch.tensor(labels, device=self.device)
        if isinstance(self.model, Generator):
            yield from _one_step(self.model, y, seeds, batch)
        else:
            yield from draw(self.model, self.grid, seeds, y, self.shape, batch, self.device)

    @property
    def many(self) -> Sampler | AdaptiveSampler | None:
        """What draws in many steps; None where one is enough."""
        return None if isinstance(self.model, Generator) else self.model

    def counted(self) -> AbstractContextManager[Evaluations]:
        """Counts how many samples go through the models meanwhile: a score model's guide makes two of one."""
        return count_evaluations(self.model if isinstance(self.model, Generator) else self.model.denoiser)


@torch.no_grad()
def _one_step(generator: Generator, y: Tensor, seeds: Sequence[int], batch: int) -> Iterator[list[Finished]]:
    for first in range(0, len(seeds), batch):
        part = slice(first, first + batch)
        x = generator(Streams(seeds[part], y.device).normal(generator.latent_shape), y[part])
        sound = [None if finite else NOT_FINITE for finite in x.isfinite().flatten(1).all(1).tolist()]
        yield [
            Finished(first + i, row, 1, 1, 0, problem) for i, (row, problem) in enumerate(zip(x, sound, strict=True))
        ]


def open_light(stage: SampleStage, models: Models, device: torch.device, load: Load = load_anew) -> Source:
    """What draws the samples of a stage. Its networks are changed in place to the precision that the stage asks for."""
    source, method = open_source(stage.method, models, device, load), stage.method
    how = PriorSettings(precision=method.precision, compile=stage.compile)
    module = source.model if isinstance(source.model, Generator) else source.model.denoiser
    for model in [part for part in module.modules() if isinstance(part, ScoreModel | Generator)]:
        lighten_(model, how, dynamic=None)  # the last batch is smaller, and those of adaptive samplers vary
    return source


def open_source(method: Method, models: Models, device: torch.device, load: Load = load_anew) -> Source:
    """The models of a method, in full precision."""
    if method.generator is not None:
        if models.generator is None:
            raise UserError("one-step sampling needs a generator: name its folder with --generator")
        generator = load(Generator, models.generator, device)
        return Source(generator.config.shape, generator.config.names, generator, None, device)
    denoiser, score = open_guided(method, models, device, load)
    sampler = build_sampler(method.sampler, denoiser, method.options)
    return Source(score.config.shape, score.config.names, sampler, method.time_grid(sampler), device)


def sampler_defaults(method: Method, models: Models) -> str:
    """What the method leaves to its sampler, which a later version may choose otherwise."""
    if method.generator is not None or models.score is None:
        return ""
    about = read_description(models.score / MODEL_FILE)
    try:
        schedule: Schedule = TypeAdapter(AnySchedule).validate_python(about.get("schedule"))
    except ValidationError as error:
        raise UserError(f"{models.score / MODEL_FILE} is not of a score model: name the folder of one") from error
    sampler = build_sampler(method.sampler, Unloaded(schedule), method.options)
    grid = method.time_grid(sampler)
    options = {f.name: getattr(sampler, f.name) for f in dataclasses.fields(sampler) if f.name != "denoiser"}
    return json.dumps([options, None if grid is None else len(grid), method.grid or sampler.info.grid])


def sample_key(stage: SampleStage, models: Models) -> str:
    """The content hash of everything that the samples depend on."""
    return content_key(stage, sampler_defaults(stage.method, models), *models.keys(stage.method))


def sample_stage(name: str, folder: Path, stage: SampleStage, models: Models, processes: Processes) -> Work:
    """Draws the samples of a stage in a folder, or goes on, or does nothing where it is finished."""
    key = processes.once(lambda: sample_key(stage, models))  # before they are opened
    source = open_light(stage, models, processes.device)
    if unknown := set(stage.labels) - set(range(len(source.names))):
        raise UserError(f"there is no class {min(unknown)}: the model knows {', '.join(source.names)}")
    opened = open_stage(name, folder, key, stage, processes)
    if opened.finished:
        return
    if stage.shard is not None:  # what all shards of one set have in common
        opened.note(whole=sample_key(stage.model_copy(update={"shard": None}), models))
    yield from opened.start()
    yield from _draw(opened, stage, source, processes)


def _dealt(missing: Sequence[int], batch: int, processes: Processes) -> Sequence[int]:
    """This process's share of the places: whole batches of what one process would draw, where there are enough."""
    batches = math.ceil(len(missing) / batch)
    if batches < processes.count:
        return missing[processes.rows(len(missing))]
    share = processes.rows(batches)
    return missing[share.start * batch : share.stop * batch]


def _draw(opened: StageFolder, stage: SampleStage, source: Source, processes: Processes) -> Work:
    """Draws what is missing, and writes it, also when it is interrupted."""
    opened.note(steps=len(source.grid) if source.grid is not None else None)
    there = processes.once(lambda: merge_manifests(opened.folder))
    missing = [place for place in stage.places if stage.seed + place not in there]
    total, places = len(stage.places), _dealt(missing, stage.batch, processes)
    of_all = len(missing) / max(1, len(places))  # samples that all draw while this process draws one
    labels = [stage.labels[place] for place in places]
    seeds = [stage.seed + place for place in places]
    if stage.compile and places:  # before the clock starts
        yield Progress(opened.name, total - len(missing), total, 0, "compiling")
        for size in {stage.batch, len(places) % stage.batch} - {0}:  # a network is compiled for the size of its batch
            next(source.draw(labels[:size], seeds[:size], size))
    manifest = MANIFEST if processes.is_main else part_manifest(processes.rank)
    with source.counted() as evaluations:
        writer = _Writer(opened, stage, source, places, manifest, evaluations, of_all)
        rounds = source.draw(labels, seeds, stage.batch)
        try:
            while (finished := writer.timed(rounds)) is not None:
                writer.add(finished)
                drawn = round((writer.drawn + len(writer.unusable.samples)) * of_all)
                yield Progress(opened.name, total - len(missing) + drawn, total, drawn)
                if writer.unusable.is_hopeless(writer.drawn):
                    break
        finally:
            writer.write()
    unusable = UnusableSamples.join(processes.gather(writer.unusable))
    problem = processes.once(lambda: _end(opened, stage, unusable, source.names))
    if message := unusable.warning(opened.name, stage, source.names):
        yield Progress(opened.name, total, total, 0, message=message)
    if problem:
        raise UserError(problem)


def _end(opened: StageFolder, stage: SampleStage, unusable: UnusableSamples, names: Sequence[str]) -> str:
    """Makes one set of what all processes have drawn; returns the error to end in, empty where no sample lacks."""
    images = len(merge_manifests(opened.folder))
    if problem := unusable.note(opened, stage, names, images):
        return problem
    rows = [row for row in read_rows(opened.folder / LOG_FILE) if "evaluations" in row]
    paid, seconds, evaluations = (sum(row[what] for row in rows) for what in ("images", "seconds", "evaluations"))
    opened.finish(
        [MANIFEST],
        images=images,
        drawing_seconds=round(images * seconds / paid, 4) if paid else 0.0,
        evaluations_per_image=round(evaluations / paid, 1) if paid else 0.0,
        images_per_second=round(paid / seconds, 2) if seconds > 0 else None,
        what=f"{images:,} samples",
    )
    return ""


class _Writer:
    """Writes the samples of this process batch by batch, and to `log.jsonl` what drawing them has cost.

    A row of the log, `{"images", "seconds", "evaluations"}`, is of all processes, which work at the same pace: seconds
    on the clock, and evaluations of networks.
    """

    def __init__(
        self,
        opened: StageFolder,
        stage: SampleStage,
        source: Source,
        places: Sequence[int],
        manifest: str,
        evaluations: Evaluations,
        of_all: float,
    ) -> None:
        self.opened, self.stage, self.source, self.places = opened, stage, source, places
        self.manifest, self.evaluations, self.of_all = manifest, evaluations, of_all
        self.unusable = UnusableSamples()
        self.ready: list[Finished] = []  # on the CPU
        self.drawn = self.asked = 0  # samples in all, and the model's evaluations since the last row
        self.seconds = 0.0

    def timed(self, rounds: Iterator[list[Finished]]) -> list[Finished] | None:
        """The next samples, on the CPU; None after the last. The copy, which waits for the device, counts."""
        started = time.perf_counter()
        finished = next(rounds, None)
        if finished:
            x = torch.stack([sample.x for sample in finished]).cpu()
            finished = [sample._replace(x=row) for sample, row in zip(finished, x, strict=True)]
        self.seconds += time.perf_counter() - started
        return finished

    def add(self, finished: Sequence[Finished]) -> None:
        """Takes in samples, and writes once a batch has come together."""
        self.asked += sum(sample.evaluations for sample in finished)
        usable = self.unusable.sort_out(finished, self.stage, self.places)
        self.ready += usable
        self.drawn += len(usable)
        if len(self.ready) >= self.stage.batch:
            self.write()

    def write(self) -> None:
        """Writes the samples that are ready."""
        if not self.ready:
            return
        x = torch.stack([sample.x for sample in self.ready])
        places = [self.places[sample.number] for sample in self.ready]
        rows = [describe(self.stage, self.source, place, s) for place, s in zip(places, self.ready, strict=True)]
        write_samples(self.opened.folder, places, x, rows, self.manifest)
        self.opened.log(
            {
                "images": round(len(rows) * self.of_all, 2),
                "seconds": round(self.seconds, 4),
                "evaluations": round(self.evaluations.of(self.asked) * self.of_all, 1),
            }
        )
        self.ready, self.asked, self.seconds = [], 0, 0.0


def describe(stage: SampleStage, source: Source, place: int, sample: Finished) -> dict[str, Any]:
    """How a sample came about, for the manifest."""
    method, label = stage.method, stage.labels[place]
    row: dict[str, Any] = {"class": label, "name": source.names[label], "seed": stage.seed + place}
    if method.precision != "float32":
        row["precision"] = method.precision
    if method.generator is not None:
        return row | {"sampler": "one step", "evaluations": 1}
    row |= {"sampler": method.sampler, "options": method.options}
    if source.grid is not None:
        row |= {"steps": len(source.grid), "grid": method.grid or sampler_class(method.sampler).info.grid}
    else:
        row |= {"steps": sample.accepted, "rejected": sample.rejected}
    row["evaluations"] = sample.evaluations
    if method.is_guided:
        row |= {"guide": method.in_words(), "scale": method.scale, "interval": method.interval}
    return row
