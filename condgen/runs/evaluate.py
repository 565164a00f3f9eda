"""The stage that measures samples: `metrics.json`, and the samples that are closest to training data beside these."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condgen.data import LabelledSet
from condgen.errors import UserError
from condgen.files import write_png
from condgen.metrics import REAL, Evaluation, Extractor, Memory, Store, evaluating, helping, open_extractor
from condgen.recipes import EvaluateStage, content_key
from condgen.runs.environment import cache_folder
from condgen.runs.folder import file_key, read_json, read_rows, write_json
from condgen.runs.layout import MANIFEST, METRICS, NEIGHBOURS
from condgen.runs.sample_folder import picture_of, read_samples, sample_folders
from condgen.runs.stage import Progress, StageFolder, Work, open_stage
from condgen.training import Processes

__all__ = ["evaluate_stage", "evaluation_key", "neighbours_below"]

_PICTURES = "neighbours"
_CLOSEST = 6  # samples of each method that are shown beside training data


def evaluation_key(
    stage: EvaluateStage, samples: Mapping[str, Path], train: LabelledSet, test: LabelledSet, extractor: Extractor
) -> str:
    """The content hash of everything that the figures depend on."""
    manifests = {name: [file_key(part / MANIFEST) for part in sample_folders(path)] for name, path in samples.items()}
    keys = [part for name, found in manifests.items() for part in (name, *found)]
    return content_key(stage, train.fingerprint(), test.fingerprint(), *keys, extractor.key or extractor.name)


def evaluate_stage(
    folder: Path,
    stage: EvaluateStage,
    samples: Mapping[str, Path],
    train: LabelledSet,
    test: LabelledSet,
    processes: Processes,
) -> Work:
    """Compares folders of samples with real data, and writes `metrics.json` and `neighbours.json`.

    Many processes share the features of networks; process 0 does the rest.

    Args:
        folder: of the stage.
        stage: what is measured.
        samples: folders of samples by the names of their methods.
        train: the real reference.
        test: held-out real data.
        processes: which run the networks of features.
    """
    extractor = processes.in_turn(lambda: open_extractor(stage.measures.features, train.shape, processes.device))
    key = processes.once(lambda: evaluation_key(stage, samples, train, test, extractor))
    methods = {name: read_samples(path) for name, path in samples.items()}
    for name, (x, _) in methods.items():
        if tuple(x.shape[1:]) != train.shape:
            raise UserError(f"samples {name!r} have shape {tuple(x.shape[1:])}, but {train.source} has {train.shape}")
    opened = open_stage("evaluate", folder, key, stage, processes)
    if opened.finished:
        return
    yield from opened.start()
    test = test.to(processes.device)
    store = Store(extractor, cache_folder() / "features" if extractor.key is not None else None, processes)
    if processes.is_main:
        yield from _evaluate(opened, stage, samples, methods, train, test, store)
    elif store.is_shared:
        for advance in helping(methods, train, test, store):
            yield Progress("evaluate", advance.done, advance.total, advance.done, advance.what)
    processes.wait()


def _evaluate(
    opened: StageFolder,
    stage: EvaluateStage,
    samples: Mapping[str, Path],
    methods: Mapping[str, tuple[Tensor, Tensor]],
    train: LabelledSet,
    test: LabelledSet,
    store: Store,
) -> Work:
    """What process 0 does of it."""
    folder, extractor = opened.folder, store.extractor
    for name, (_, y) in methods.items():
        seen = len(y.unique())
        if seen < train.n_classes:
            text = f"{name} has samples of {seen} of {train.n_classes} classes; distances and floors are to all of them"
            yield Progress("evaluate", 0, 1, 0, message=text)
    work = evaluating(methods, train, test, stage.seed, stage.measures, store)
    while True:
        try:
            advance = next(work)
        except StopIteration as stop:
            found: Evaluation = stop.value
            break
        yield Progress("evaluate", advance.done, advance.total, advance.done, advance.what)
    if store.problem is not None:
        yield Progress("evaluate", 0, 1, 0, message=f"features are not kept for the next time: {store.problem}")
    n = {name: len(y) for name, (_, y) in methods.items()}
    what: dict[str, Any] = {
        "data": train.source,
        "reference": f"{len(train):,} training images" if train.is_images else f"{len(train):,} training points",
        "held out": len(test),
        "features": extractor.name,
        "samples": n,
        "seed": stage.seed,
    }
    for old in folder.glob(f"{_PICTURES}/*.png"):
        old.unlink()
    shown = _Shown(folder, train, test, samples, methods)
    rows = [row for name, (places, memory) in found.memories.items() for row in shown.rows(name, places, memory)]
    write_json(folder / NEIGHBOURS, {"what": {**what, "distances": f"between {extractor.name}"}, "rows": rows})
    names = [{**row, "name": train.names[int(row["class"])]} for row in found.by_class]
    write_json(folder / METRICS, {"what": what, "rows": [row.as_dict() for row in found.rows], "by_class": names})
    pictures = sorted(str(file.relative_to(folder)) for file in folder.glob(f"{_PICTURES}/*.png"))
    opened.finish(
        [METRICS, NEIGHBOURS, *pictures], what=f"{sum(n.values()):,} samples against {len(train):,} real ones"
    )
    yield Progress("evaluate", 1, 1, 0)


def neighbours_below(folder: Path, place: Path) -> dict[str, Any]:
    """What `neighbours.json` in a folder below another says, with the paths of pictures as they are from above."""

    def above(found: dict[str, Any]) -> dict[str, Any]:
        moved = {"file": str((place / found["file"]).relative_to(folder))} if "file" in found else {}
        near = {"neighbours": [above(one) for one in found["neighbours"]]} if "neighbours" in found else {}
        return found | moved | near

    whole = read_json(place / NEIGHBOURS)
    return whole | {"rows": [above(row) for row in whole["rows"]]}


class _Shown:
    """Writes the samples that lie closest to training data, and those data, into a folder of pictures."""

    def __init__(
        self,
        folder: Path,
        train: LabelledSet,
        test: LabelledSet,
        samples: Mapping[str, Path],
        methods: Mapping[str, tuple[Tensor, Tensor]],
    ) -> None:
        self.folder, self.train = folder, train
        self.methods = {**methods, REAL: (test.floats(), test.y)}
        self.manifests: dict[str, Sequence[dict[str, Any]]] = {
            name: [row for part in sample_folders(path) for row in read_rows(part / MANIFEST)]
            for name, path in samples.items()
        }

    def rows(self, method: str, places: Tensor, memory: Memory) -> list[dict[str, Any]]:
        """The closest samples of a method with their neighbours, as `neighbours.json` has them."""
        x, y = self.methods[method]
        out = []
        for row in memory.closest(_CLOSEST).tolist():
            place = int(places[row])
            seed = self.manifests[method][place].get("seed") if method in self.manifests else None
            label = int(y[place])
            out.append(
                {
                    "method": method,
                    "class": label,
                    "name": self.train.names[label],
                    "seed": seed,
                    **self._seen(f"sample-{list(self.methods).index(method)}-{place:05d}", x[place]),
                    "authentic": bool(memory.authentic[row]),
                    "elsewhere": float(memory.elsewhere[row]),
                    "neighbours": [
                        self._neighbour(int(index), float(distance))
                        for index, distance in zip(memory.indices[row], memory.distances[row], strict=True)
                    ],
                }
            )
        return out

    def _neighbour(self, index: int, distance: float) -> dict[str, Any]:
        label = int(self.train.y[index])
        picture = self._seen(f"train-{index:05d}", self.train.floats(torch.tensor([index]))[0])
        return {"index": index, "class": label, "name": self.train.names[label], "distance": distance, **picture}

    def _seen(self, name: str, x: Tensor) -> dict[str, Any]:
        """Where the picture of a sample lies, or the coordinates of a point."""
        if x.ndim != 3:
            return {"x": x.tolist()}
        path = self.folder / _PICTURES / f"{name}.png"
        write_png(path, picture_of(x.cpu()))
        return {"file": str(path.relative_to(self.folder))}
