"""The sampling stage, which fills a folder of samples.

A sample that is already in the manifest is not drawn again, so sampling goes on where it stopped. One that cannot be
used, since its numbers are not finite or its sampler gave up, is counted and named, and never written as an image; the
others are kept, and the command ends in an error once all are drawn.

Many processes deal whole batches among themselves, so that the networks are called with the very batches of one
process, and give the same bits on the same kind of machine. Where there are fewer batches than processes, these are
split, and samples are those of one process up to rounding; so are those of adaptive samplers, whose batches mix.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from condgen.errors import UserError
from condgen.generator import Generator
from condgen.recipes import Method, SampleStage
from condgen.rng import Streams
from condgen.runs.folder import read_json, read_rows, write_json
from condgen.runs.layout import COST, LOG_FILE, MANIFEST, STAGE_FILE
from condgen.runs.models import Evaluations, Folders, Load, count_evaluations, load_anew, open_guided
from condgen.runs.sample_folder import merge_manifests, part_manifest, write_samples
from condgen.runs.stage import Progress, Stage, StageFolder, Work
from condgen.samplers import AdaptiveSampler, Finished, Sampler, build_sampler, draw, sampler_class
from condgen.score import ScoreModel
from condgen.training import PriorSettings, Processes, describe_precision, lighten_, resolved

_LISTED = 5  # classes in a message
_HOPELESS = 100  # samples that cannot be used, and none that can: the others are not tried


class Unusable(NamedTuple):
    """A sample that cannot be used, and why: its numbers are not finite, or its sampler gave up."""

    seed: int
    label: int
    problem: str


def unusable(sample: Finished, stage: SampleStage, place: int) -> Unusable:
    """The sample at a place of its set, which has a problem."""
    return Unusable(stage.seed + place, stage.label(place), str(sample.problem))


def tell_unusable(found: Sequence[Unusable], names: Sequence[str], usable: int) -> str:
    """How many samples cannot be used, of which classes, and what may help."""
    classes = list(dict.fromkeys(repr(names[one.label]) for one in found))
    listed = ", ".join(classes[:_LISTED]) + (f" and {len(classes) - _LISTED} more" if len(classes) > _LISTED else "")
    return (
        f"{len(found):,} of {len(found) + usable:,} samples cannot be used, of class{'es' if len(classes) > 1 else ''} "
        f"{listed}; with seed {found[0].seed} {found[0].problem}; a lower guidance scale or precision float32 may help"
    )


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

    def counted(self) -> AbstractContextManager[Evaluations]:
        """Counts how many samples go through the models meanwhile: a score model's guide makes two of one."""
        return count_evaluations(self.model if isinstance(self.model, Generator) else self.model.denoiser)


@torch.no_grad()
def _one_step(generator: Generator, y: Tensor, seeds: Sequence[int], batch: int) -> Iterator[list[Finished]]:
    for first in range(0, len(seeds), batch):
        part = slice(first, first + batch)
        x = generator(Streams(seeds[part], y.device).normal(generator.latent_shape), y[part])
        sound = [None if finite else "its numbers are not finite" for finite in x.isfinite().flatten(1).all(1).tolist()]
        yield [
            Finished(first + i, row, 1, 1, 0, problem) for i, (row, problem) in enumerate(zip(x, sound, strict=True))
        ]


def open_light(stage: SampleStage, folders: Folders, device: torch.device, load: Load = load_anew) -> Source:
    """What draws the samples of a stage. Its networks are changed in place to the precision that the stage asks for."""
    source, method = open_source(stage.method, folders, device, load), stage.method
    how = PriorSettings(precision=method.precision, compile=stage.compile)
    module = source.model if isinstance(source.model, Generator) else source.model.denoiser
    for model in [part for part in module.modules() if isinstance(part, ScoreModel | Generator)]:
        lighten_(model, how, dynamic=None)  # the last batch is smaller, and those of adaptive samplers vary
    return source


def open_source(method: Method, folders: Folders, device: torch.device, load: Load = load_anew) -> Source:
    """The models of a method, in full precision."""
    if method.generator is not None:
        generator = load(Generator, folders.generator(method.generator), device)
        return Source(generator.config.shape, generator.config.names, generator, None, device)
    denoiser, score = open_guided(method, folders, device, load)
    sampler = build_sampler(method.sampler, denoiser, method.options)
    return Source(score.config.shape, score.config.names, sampler, method.time_grid(sampler), device)


@dataclass(frozen=True, eq=False)
class Sample(Stage):
    """Draws the samples of a method."""

    settings: SampleStage
    folders: Folders  # of its models
    unit: ClassVar[str] = "samples"

    def reads(self) -> list[Path]:
        return self.folders.files(self.settings.method)

    def total(self) -> int:
        return self.settings.n

    def run(self, processes: Processes) -> Work:
        """Draws what is missing, and writes it, also when it is interrupted."""
        stage = self.settings
        source = open_light(stage, self.folders, processes.device)
        if unknown := set(stage.classes) - set(range(len(source.names))):
            raise UserError(f"there is no class {min(unknown)}: the model knows {', '.join(source.names)}")
        opened = yield from self.open(processes)
        if opened.finished:
            return
        if message := describe_precision(stage.method.precision, source.device):
            yield Progress(self.name, 0, 1, message=f"{self.name}: {message}")
        opened.note(steps=len(source.grid) if source.grid is not None else None)
        there = processes.once(lambda: merge_manifests(self.folder))
        missing = [place for place in range(self.total()) if stage.seed + place not in there]
        places = _dealt(missing, stage.batch, processes)
        of_all = len(missing) / max(1, len(places))
        labels = [stage.label(place) for place in places]
        seeds = [stage.seed + place for place in places]
        if stage.compile and places:  # before the clock starts
            yield Progress(self.name, self.total() - len(missing), self.total(), note="compiling")
            for size in {stage.batch, len(places) % stage.batch} - {0}:  # a network is compiled for each size of batch
                next(source.draw(labels[:size], seeds[:size], size))
        manifest = MANIFEST if processes.is_main else part_manifest(processes.rank)
        with source.counted() as evaluations:
            writer = _Writer(opened, stage, source, places, manifest, evaluations, of_all)
            rounds = source.draw(labels, seeds, stage.batch)
            try:
                while (finished := writer.timed(rounds)) is not None:
                    writer.add(finished)
                    drawn = round((writer.drawn + len(writer.unusable)) * of_all)
                    yield Progress(self.name, self.total() - len(missing) + drawn, self.total(), drawn)
                    if writer.drawn == 0 and len(writer.unusable) >= _HOPELESS:
                        break
            finally:
                writer.write()
        lost = sorted(one for part in processes.gather(writer.unusable) for one in part)
        if problem := processes.once(lambda: self._end(opened, lost, source.names)):
            raise UserError(problem)

    def _end(self, opened: StageFolder, lost: Sequence[Unusable], names: Sequence[str]) -> str:
        """Makes one set of what all processes have drawn; returns the error to end in, empty where no sample lacks."""
        images = len(merge_manifests(self.folder))
        if lost:
            opened.note()
            problem = tell_unusable(lost, names, images)
            return f"{self.name}: {problem}; the same command keeps the others and draws these alone again"
        rows = [row for row in read_rows(self.folder / LOG_FILE) if "evaluations" in row]
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

    def publish(self, run: Path) -> None:
        """Adds what drawing has cost to `cost.json`."""
        record, method = read_json(self.folder / STAGE_FILE), self.settings.method
        one_step = method.generator is not None
        row = {
            "method": self.folder.name,
            "images": record["images"],
            "seconds": record["drawing_seconds"],
            "images_per_second": record["images_per_second"],
            "evaluations_per_image": record["evaluations_per_image"],
            "sampler": "one step" if one_step else method.sampler,
            "steps": 1 if one_step else record.get("steps"),
            "guide": None if one_step else method.in_words(),
            "scale": method.scale if method.is_guided and method.scale != "calibrated" else None,
        }
        before = read_json(run / COST)["rows"] if (run / COST).exists() else []
        write_json(run / COST, {"rows": [*before, row]})


def _dealt(missing: Sequence[int], batch: int, processes: Processes) -> Sequence[int]:
    """This process's share of the places: whole batches of what one process would draw, where there are enough."""
    batches = math.ceil(len(missing) / batch)
    if batches < processes.count:
        return missing[processes.rows(len(missing))]
    share = processes.rows(batches)
    return missing[share.start * batch : share.stop * batch]


@dataclass(eq=False)
class _Writer:
    """Writes the samples of this process batch by batch, and to `log.jsonl` what drawing them has cost.

    A row of the log, `{"images", "seconds", "evaluations"}`, is of all processes, which work at the same pace: seconds
    on the clock, and evaluations of networks.
    """

    opened: StageFolder
    stage: SampleStage
    source: Source
    places: Sequence[int]
    manifest: str
    evaluations: Evaluations
    of_all: float  # samples that all processes draw while this one draws one
    unusable: list[Unusable] = field(default_factory=list)
    ready: list[Finished] = field(default_factory=list)  # on the CPU, not yet written
    drawn: int = 0  # samples that can be used
    asked: int = 0  # evaluations of the model since the last row
    seconds: float = 0.0  # since the last row

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
        for sample in finished:
            self.asked += sample.evaluations
            if sample.problem is None:
                self.ready.append(sample)
                self.drawn += 1
            else:
                self.unusable.append(unusable(sample, self.stage, self.places[sample.number]))
        if len(self.ready) >= self.stage.batch:
            self.write()

    def write(self) -> None:
        """Writes the samples that are ready."""
        if not self.ready:
            return
        x = torch.stack([sample.x for sample in self.ready])
        places = [self.places[sample.number] for sample in self.ready]
        rows = [_describe(self.stage, self.source, place, s) for place, s in zip(places, self.ready, strict=True)]
        write_samples(self.opened.folder, places, x, rows, self.manifest)
        self.opened.log(
            {
                "images": round(len(rows) * self.of_all, 2),
                "seconds": round(self.seconds, 4),
                "evaluations": round(self.evaluations.of(self.asked) * self.of_all, 1),
            }
        )
        self.ready, self.asked, self.seconds = [], 0, 0.0


def _describe(stage: SampleStage, source: Source, place: int, sample: Finished) -> dict[str, Any]:
    method, label = stage.method, stage.label(place)
    row: dict[str, Any] = {"class": label, "name": source.names[label], "seed": stage.seed + place}
    if (precision := resolved(method.precision, source.device)) != "float32":
        row["precision"] = precision
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
