"""The stage that measures samples: `metrics.json`, and the samples closest to training data in `neighbours.json`."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from condgen.data.folder import list_images
from condgen.data.labelled import LabelledSet, list_some
from condgen.errors import UserError
from condgen.files import cache_folder, write_png
from condgen.metrics.evaluate import Evaluation, evaluating
from condgen.metrics.extractors import open_extractor
from condgen.metrics.features import Advance, Store
from condgen.metrics.measures import REAL
from condgen.metrics.neighbours import Memory
from condgen.recipes.schema import EvaluateStage
from condgen.runs.folder import read_json, write_json
from condgen.runs.layout import EVALUATION_FOLDER, MANIFEST, METRICS, NEIGHBOURS
from condgen.runs.sample_folder import SampleSet, is_image_folder, picture_of, read_images, read_samples
from condgen.runs.stage import Progress, Stage, StageFolder, Work, holds_files
from condgen.training.distributed import Processes

_PICTURES = "neighbours"
_CLOSEST = 6  # samples of each method that are shown with training data


@dataclass(frozen=True, eq=False)
class Evaluate(Stage):
    """Compares folders of samples with real data, in process 0."""

    settings: EvaluateStage
    samples: Mapping[str, Path]  # folders of samples by the names of their methods
    train: LabelledSet  # the real reference
    test: LabelledSet  # held-out real data
    of: str | None = None  # the class of images that lie in no class folder
    unit: ClassVar[str] = "methods"

    def reads(self) -> list[Path]:
        found: list[Path] = []
        for path in self.samples.values():
            images = list_images(path, of=self.of).files if is_image_folder(path) and holds_files(path) else ()
            found += [file.path for file in images] or [path / MANIFEST]
        return found

    def conditions(self) -> list[str]:
        extractor = open_extractor(self.settings.measures.features, self.train.shape)
        data = self.train.fingerprint(), self.test.fingerprint()
        return [*data, *self.samples, extractor.key or extractor.name, *([self.of] if self.of else [])]

    def total(self) -> int:
        return len(self.samples)

    def run(self, processes: Processes) -> Work:
        features = self.settings.measures.features
        extractor = processes.in_turn(lambda: open_extractor(features, self.train.shape, processes.device))
        found = {name: self._read(path) for name, path in self.samples.items()}
        samples, left_out = self._by_class_name(found)
        methods = {name: (one.x, one.y) for name, one in samples.items()}
        opened = yield from self.open(processes)
        if opened.finished:
            return
        test = self.test.to(processes.device)
        store = Store(extractor, cache_folder() / "features")
        if processes.is_main:
            seen, of = {name: len(y.unique()) for name, (_, y) in methods.items()}, self.train.n_classes
            few = [f"{name} has samples of {found} of {of} classes" for name, found in seen.items() if found < of]
            for text in [*left_out, *(f"{text}; distances and floors are to all of them" for text in few)]:
                yield self.tell(text)
            work = evaluating(methods, self.train, test, self.settings.seed, self.settings.measures, store)
            evaluation = yield from self._follow(work)
            if store.problem is not None:
                yield self.tell(f"features are not kept for the next time: {store.problem}")
            self._write(opened, samples, evaluation, extractor.name)
            yield Progress(self.name, 1, 1)
        processes.wait()

    def _read(self, path: Path) -> SampleSet:
        """The samples in a folder; images that condgen has not drawn are prepared as the real ones are."""
        shape = self.train.shape
        if not is_image_folder(path):
            return read_samples(path)
        square = self.train.is_images and shape[1] == shape[2]
        found = read_images(path, shape[1] if square else None, self.of)
        grey = self.train.is_images and (found.x.shape[1], shape[0]) == (1, 3)
        return found._replace(x=found.x.expand(-1, 3, -1, -1)) if grey else found

    def _by_class_name(self, found: Mapping[str, SampleSet]) -> tuple[dict[str, SampleSet], list[str]]:
        """The samples whose classes the real data have, by the labels of these, and which are left out."""
        names, matched, left_out = self.train.names, dict[str, SampleSet](), []
        for method, (x, y, own, seeds) in found.items():
            known = {label: names.index(name) for label, name in own.items() if name in names}
            lacking = ", ".join(list_some(name for name in own.values() if name not in names))
            if not known:
                others = f"{self.train.source} has other classes, {', '.join(list_some(names))}"
                advice = "classes are matched by name; name other data with --data"
                raise UserError(f"{method} has samples of {lacking}, and {others}: {advice}")
            kept = [place for place, label in enumerate(y.tolist()) if label in known]
            labels = torch.tensor([known[label] for label in y[kept].tolist()])
            matched[method] = SampleSet(x[kept], labels, own, [seeds[place] for place in kept] if seeds else [])
            if lacking:
                text = f"{method}: {len(y) - len(kept):,} samples are left out, since {self.train.source} has no class"
                left_out.append(f"{text} {lacking}")
        return matched, left_out

    def _follow(self, work: Generator[Advance, None, Evaluation]) -> Generator[Progress, None, Evaluation]:
        while True:
            try:
                advance = next(work)
            except StopIteration as stop:
                return stop.value
            yield Progress(self.name, advance.done, advance.total, advance.done, advance.what)

    def _write(self, opened: StageFolder, methods: dict[str, SampleSet], found: Evaluation, features: str) -> None:
        train, n = self.train, {name: len(one.y) for name, one in methods.items()}
        what: dict[str, Any] = {
            "data": train.source,
            "reference": f"{len(train):,} training {'images' if train.is_images else 'points'}",
            "held out": len(self.test),
            "features": features,
            "samples": n,
            "seed": self.settings.seed,
        }
        for old in self.folder.glob(f"{_PICTURES}/*.png"):
            old.unlink()
        shown = methods | {REAL: SampleSet(self.test.floats(), self.test.y, {}, [])}
        near = [row for name in shown for row in self._closest(name, shown[name], *found.memories[name])]
        write_json(self.folder / NEIGHBOURS, {"what": {**what, "distances": f"between {features}"}, "rows": near})
        names = [{**row, "name": train.names[int(row["class"])]} for row in found.by_class]
        rows = [row.as_dict() for row in found.rows]
        write_json(self.folder / METRICS, {"what": what, "rows": rows, "by_class": names})
        pictures = sorted(str(file.relative_to(self.folder)) for file in self.folder.glob(f"{_PICTURES}/*.png"))
        measured = f"{sum(n.values()):,} samples against {len(train):,} real ones"
        opened.finish([METRICS, NEIGHBOURS, *pictures], what=measured)

    def _closest(self, method: str, samples: SampleSet, places: Tensor, memory: Memory) -> Iterator[dict[str, Any]]:
        """The samples of a method that lie closest to training data, with their neighbours."""
        names, train, (x, y, _, seeds) = self.train.names, self.train, samples
        number = list(self.samples).index(method) if method in self.samples else len(self.samples)
        for row in memory.closest(_CLOSEST).tolist():
            place = int(places[row])
            neighbours = []
            for index, distance in zip(memory.indices[row].tolist(), memory.distances[row].tolist(), strict=True):
                label, shown = int(train.y[index]), train.floats(torch.tensor([index]))[0]
                about = {"index": index, "class": label, "name": names[label], "distance": distance}
                neighbours.append(about | self._shown(f"train-{index:05d}", shown))
            yield {
                "method": method,
                "class": int(y[place]),
                "name": names[int(y[place])],
                "seed": seeds[place] if seeds else None,
                **self._shown(f"sample-{number}-{place:05d}", x[place]),
                "authentic": bool(memory.authentic[row]),
                "elsewhere": float(memory.elsewhere[row]),
                "neighbours": neighbours,
            }

    def _shown(self, name: str, x: Tensor) -> dict[str, Any]:
        """Where the picture of a sample lies, which is written, or the coordinates of a point."""
        if x.ndim != 3:
            return {"x": x.tolist()}
        file = f"{_PICTURES}/{name}.png"
        write_png(self.folder / file, picture_of(x.cpu()))
        return {"file": file}

    def publish(self, run: Path) -> None:
        write_json(run / METRICS, read_json(self.folder / METRICS))
        near = read_json(self.folder / NEIGHBOURS)
        for row in near["rows"]:
            for one in (row, *row["neighbours"]):
                if "file" in one:
                    one["file"] = f"{EVALUATION_FOLDER}/{one['file']}"
        write_json(run / NEIGHBOURS, near)
