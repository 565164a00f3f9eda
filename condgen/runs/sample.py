"""The sampling stage, which fills a folder of samples, and goes on where it stopped.

Samples that cannot be used, since their numbers are not finite or the sampler gave up, are named in an error at the
end; the others are kept.

Processes deal whole batches among themselves, so that samples have the same bits as from one process on the same kind
of machine. Where there are fewer batches than processes, or steps are adaptive, they are equal up to rounding.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Generator as Iteration, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from condgen.data.labelled import list_some
from condgen.denoiser import Denoiser
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.recipes.schema import SampleStage
from condgen.runs.folder import read_json, read_rows, write_json
from condgen.runs.layout import COST, LOG_FILE, MANIFEST, STAGE_FILE
from condgen.runs.models import Folders, Load, load_anew, open_guided
from condgen.runs.sample_folder import merge_manifests, part_manifest, write_samples
from condgen.runs.stage import Progress, Stage, StageFolder, Work
from condgen.samplers.adaptive.loop import AdaptiveSampler
from condgen.samplers.base import Finished, Sampler
from condgen.samplers.catalogue import build_sampler, grid_for, sampler_class
from condgen.samplers.draw import draw
from condgen.score import ScoreModel
from condgen.training.distributed import Processes
from condgen.training.settings import PriorSettings, describe_precision, lighten_, resolved

_HOPELESS = 100  # samples that cannot be used, and none that can: the others are not tried

Unusable: TypeAlias = tuple[int, str]
"""The place of a sample, and why it cannot be used: its numbers are not finite, or its sampler gave up."""


def tell_unusable(found: Sequence[Unusable], stage: SampleStage, names: Sequence[str], usable: int) -> str:
    """How many samples cannot be used, of which classes, and what may help."""
    classes = dict.fromkeys(repr(names[stage.label(place)]) for place, _ in found)
    place, problem = found[0]
    of = f"of class{'es' if len(classes) > 1 else ''} {', '.join(list_some(classes))}"
    which = f"{of}; with seed {stage.seed + place} {problem}"
    count = f"{len(found):,} of {len(found) + usable:,} samples cannot be used"
    return f"{count}, {which}; a lower guidance scale or precision float32 may help"


class Source(NamedTuple):
    shape: tuple[int, ...]
    names: tuple[str, ...]  # of the classes
    model: Sampler | AdaptiveSampler | Generator
    grid: Tensor | None
    device: torch.device

    @property
    def network(self) -> Generator | Denoiser:
        return self.model if isinstance(self.model, Generator) else self.model.denoiser

    def draw(self, labels: Sequence[int], seeds: Sequence[int], batch: int) -> Iterator[list[Finished]]:
        """Samples as they finish, on the CPU."""
        y = torch.tensor(labels, device=self.device)
        for finished in draw(self.model, self.grid, seeds, y, self.shape, batch, self.device):
            x = torch.stack([sample.x for sample in finished]).cpu() if finished else torch.empty(0)  # one copy
            yield [sample._replace(x=row) for sample, row in zip(finished, x, strict=True)]

    @contextmanager
    def counted(self) -> Iterator[Callable[[float], float]]:
        """Counts samples; yields how many evaluations of networks stand behind so many: a guide makes two of one."""
        seen = Counter[str]()

        def counting(what: str) -> Callable[..., None]:
            return lambda _, inputs: seen.update({what: len(inputs[0])})

        parts = [part for part in self.network.modules() if isinstance(part, ScoreModel | Generator)]
        handles = [part.register_forward_pre_hook(counting("networks")) for part in parts]
        handles.append(self.network.register_forward_pre_hook(counting("asked")))
        try:
            yield lambda evaluations: evaluations * seen["networks"] / max(1, seen["asked"])
        finally:
            for handle in handles:
                handle.remove()


def open_light(stage: SampleStage, folders: Folders, device: torch.device, load: Load = load_anew) -> Source:
    """What draws the samples of a stage. Its networks are changed in place to the precision that the stage asks for."""
    method = stage.method
    if method.generator is not None:
        generator = load(Generator, folders.generator(method.generator), device)
        source = Source(generator.config.shape, generator.config.names, generator, None, device)
    else:
        denoiser, score = open_guided(method, folders, device, load)
        sampler = build_sampler(method.sampler, denoiser, method.options)
        grid = grid_for(sampler, method.steps, method.grid, method.nfe) if isinstance(sampler, Sampler) else None
        source = Source(score.config.shape, score.config.names, sampler, grid, device)
    how = PriorSettings(precision=method.precision, compile=stage.compile)
    for model in [part for part in source.network.modules() if isinstance(part, ScoreModel | Generator)]:
        lighten_(model, how, dynamic=None)  # the last batch is smaller, and those of adaptive samplers vary
    return source


@dataclass(frozen=True, eq=False)
class Sample(Stage):
    settings: SampleStage
    folders: Folders  # of its models
    unit: ClassVar[str] = "samples"

    def reads(self) -> list[Path]:
        return self.folders.files(self.settings.method)

    def total(self) -> int:
        return self.settings.n

    def run(self, processes: Processes) -> Work:
        stage = self.settings
        source = open_light(stage, self.folders, processes.device)
        if unknown := set(stage.classes) - set(range(len(source.names))):
            raise UserError(f"there is no class {min(unknown)}: the model knows {', '.join(source.names)}")
        opened = yield from self.open(processes)
        if opened.finished:
            return
        if message := describe_precision(stage.method.precision, source.device):
            yield self.tell(message)
        opened.note(steps=len(source.grid) if source.grid is not None else None)
        there = processes.once(lambda: merge_manifests(self.folder))
        missing = [place for place in range(self.total()) if stage.seed + place not in there]
        places = _dealt(missing, stage.batch, processes)
        if stage.compile and places:  # before the clock starts
            yield Progress(self.name, self.total() - len(missing), self.total(), note="compiling")
            for size in {stage.batch, len(places) % stage.batch} - {0}:  # a network is compiled for each size of batch
                next(self._rounds(source, places[:size], size))
        lost = yield from self._draw(opened, source, places, len(missing), processes.rank)
        lost = sorted(one for part in processes.gather(lost) for one in part)
        if problem := processes.once(lambda: self._end(opened, lost, source.names)):
            raise UserError(problem)
        drawn = self.folder if processes.is_main else None
        yield Progress(self.name, self.total(), self.total(), len(missing), preview=drawn)

    def _rounds(self, source: Source, places: Sequence[int], batch: int) -> Iterator[list[Finished]]:
        labels = [self.settings.label(place) for place in places]
        return source.draw(labels, [self.settings.seed + place for place in places], batch)

    def _draw(
        self, opened: StageFolder, source: Source, places: Sequence[int], missing: int, rank: int
    ) -> Iteration[Progress, None, list[Unusable]]:
        """Draws this process's share of what is missing, and writes it batch by batch; returns what cannot be used.

        Rows of `log.jsonl` have the seconds and network evaluations of all processes, which work at the same pace.
        """
        of_all = missing / max(1, len(places))  # samples that all processes draw while this one draws one
        manifest = MANIFEST if rank == 0 else part_manifest(rank)
        lost: list[Unusable] = []
        stage, ready, drawn, asked, seconds = self.settings, list[Finished](), 0, 0, 0.0

        def write() -> None:
            nonlocal asked, seconds
            if not ready:
                return
            x, of_set = torch.stack([sample.x for sample in ready]), [places[sample.number] for sample in ready]
            rows = [_describe(stage, source, place, sample) for place, sample in zip(of_set, ready, strict=True)]
            write_samples(opened.folder, of_set, x, rows, manifest)
            cost = {
                "images": round(len(rows) * of_all, 2),
                "seconds": round(seconds, 4),
                "evaluations": round(evaluations(asked) * of_all, 1),
            }
            opened.log(cost)
            ready.clear()
            asked, seconds = 0, 0.0

        with source.counted() as evaluations:
            started = time.perf_counter()
            try:
                for finished in self._rounds(source, places, stage.batch):
                    seconds += time.perf_counter() - started
                    for sample in finished:
                        asked += sample.evaluations
                        if sample.problem is None:
                            ready.append(sample)
                            drawn += 1
                        else:
                            lost.append((places[sample.number], sample.problem))
                    if len(ready) >= stage.batch:
                        write()
                    done = round((drawn + len(lost)) * of_all)
                    yield Progress(self.name, self.total() - missing + done, self.total(), done)
                    if drawn == 0 and len(lost) >= _HOPELESS:
                        break
                    started = time.perf_counter()
            finally:
                write()
        return lost

    def _end(self, opened: StageFolder, lost: Sequence[Unusable], names: Sequence[str]) -> str:
        """Makes one set of what all processes have drawn; returns the error to end in, empty where no sample lacks."""
        images = len(merge_manifests(self.folder))
        if lost:
            opened.note()
            problem = tell_unusable(lost, self.settings, names, images)
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
        return missing[processes.rank :: processes.count]
    share = processes.rows(batches)
    return missing[share.start * batch : share.stop * batch]


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
