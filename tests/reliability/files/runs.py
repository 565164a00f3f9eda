"""Folders that others wrote: samples, whole runs, and everything that is made of them."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import torch
import yaml
from safetensors import SafetensorError

from condgen.export import Events, contents, export, pack
from condgen.recipes import SampleStage
from condgen.report import build_report, compare_runs, read_run
from condgen.runs import read_json, read_rows
from condgen.runs.cost import settle, take_left
from condgen.runs.folder import open_stage
from condgen.runs.guided import read_calibration
from condgen.runs.previews import read_previews
from condgen.runs.sample_folder import read_samples, sort_by_seed
from condgen.studio.ask import Limits
from condgen.studio.catalogue import describe_offer
from condgen.studio.models import ModelCache, read_offer
from reliability.files.models import hostile_tensors
from reliability.files.mutate import (
    NAMES,
    hostile_bytes,
    hostile_json,
    hostile_lines,
    hostile_text,
    hostile_tree,
)
from reliability.files.pictures import PLACES, hostile_file, planted

__all__ = ["make_run", "make_samples", "read_run_folder", "read_sample_folder", "warm_runs", "warm_samples"]

_LARGE = 10**8  # bytes
_SEPARATE = ("manifest.jsonl", "stage.json")


def _hostile_place(chance: Random, path: Path, case: Path) -> None:
    path.unlink()
    chance.choice(list(PLACES.values()))(path, case / "outside")


def _spoil(chance: Random, path: Path, case: Path) -> None:
    """Makes one file hostile, in the manner of its kind."""
    content = path.read_bytes()
    if chance.random() < 0.02:
        _hostile_place(chance, path, case)
    elif chance.random() < 0.02:
        path.write_bytes(planted(chance, case / "canary"))
    elif path.suffix == ".json":
        path.write_bytes(hostile_json(chance, json.loads(content)))
    elif path.suffix == ".jsonl":
        path.write_bytes(hostile_lines(chance, [json.loads(line) for line in content.splitlines()]))
    elif path.suffix == ".yaml":
        tree = hostile_tree(chance, yaml.safe_load(content))
        text = json.dumps(tree)
        path.write_bytes(hostile_text(chance, text) if chance.random() < 0.2 else text.encode())
    elif path.suffix == ".safetensors":
        path.write_bytes(hostile_tensors(chance, content))
    elif path.suffix == ".png":
        path.write_bytes(hostile_file(chance))
    else:
        path.write_bytes(hostile_bytes(chance, content))


def make_samples(chance: Random, valid: Path, case: Path) -> None:
    """What `condgen sample` writes: whole, in shards, or with what a process has left."""
    source, folder = valid / f"samples-{chance.choice(('pictures', 'points'))}", case / "in" / "samples"
    draw = chance.random()
    places = [folder]
    if draw < 0.15:
        places = [folder / f"shard-{number}-of-2" for number in (1, 2)]
    elif draw < 0.25:
        places = [folder, folder / ".part-1f-1"]
    for place in places:
        shutil.copytree(source, place)
    if len(places) == 2 and draw >= 0.15:
        (places[1] / "cost.json").write_bytes(hostile_json(chance, {"seconds": 1.0, "evaluations": 5}))
    files = sorted(path for place in places for path in place.iterdir() if path.is_file())
    manifests = [path for path in files if path.name in _SEPARATE]
    for _ in range(chance.choice((1, 1, 2))):
        path = chance.choice(manifests if chance.random() < 0.75 else files)
        if _can_be_spoilt(path):
            _try_to_spoil(chance, path, case)


def _can_be_spoilt(path: Path) -> bool:
    """Whether it is a file still, and not one of gigabytes of nothing."""
    return path.is_file() and not path.is_symlink() and 0 < path.stat().st_size < _LARGE


def _try_to_spoil(chance: Random, path: Path, case: Path) -> None:
    try:
        _spoil(chance, path, case)
    except (ValueError, yaml.YAMLError, OSError, KeyError, RecursionError, SafetensorError):  # it was spoilt already
        path.write_bytes(b"")


def read_sample_folder(chance: Random, case: Path) -> None:
    """By one of those who read samples."""
    folder, out = case / "in" / "samples", case / "out"
    match chance.randrange(6):
        case 0 | 1:
            read_samples(folder)
        case 2:
            pack(folder, out / "set.tar", "webdataset", 4)
        case 3:
            pack(folder, out / "set.parquet", "parquet", 4)
        case 4:
            stage = SampleStage.model_validate({"method": {}, "labels": [0, 1]})
            opened = open_stage("sample", folder, str(read_json(folder / "stage.json").get("key")), stage)
            settle(opened)
            take_left(opened)
            sort_by_seed(folder)
        case _:
            stage = SampleStage.model_validate({"method": {}, "labels": [0, 1]})
            open_stage("sample", folder, chance.choice(("0123456789abcdef", "other")), stage)


# ----------------------------------------------------------------------------------------------------

_LIGHT = ("cost.json", "metrics.json", "classifiers.json", "diagnostics.json", "field.json", "neighbours.json")


def warm_samples(valid: Path, out: Path) -> None:
    """By all who read them."""
    for form in ("pictures", "points"):
        read_samples(valid / f"samples-{form}")
        pack(valid / f"samples-{form}", out / f"{form}.parquet", "parquet", 4)
    pack(valid / "samples-pictures", out / "set.tar", "webdataset", 4)


def warm_runs(valid: Path, out: Path) -> None:
    """By all who read them."""
    for form in ("pictures", "points"):
        shutil.copytree(valid / f"run-{form}", out / form)
        for number, (read, _) in enumerate(_READERS):
            (out / f"{form}-{number}").mkdir()
            if read is not _rest:  # nothing is calibrated there
                read(out / form, out / f"{form}-{number}")


def make_run(chance: Random, valid: Path, case: Path) -> None:
    """A run of points or pictures, with few or all of its files, one to three of them hostile."""
    source, folder = valid / f"run-{chance.choice(('pictures', 'points'))}", case / "in" / "run"
    shutil.copytree(source, folder)
    for name in _LIGHT:  # what is not there is not drawn, and more cases fit into a minute
        if chance.random() < 0.5:
            (folder / name).unlink(missing_ok=True)
    if chance.random() < 0.6:
        shutil.rmtree(folder / "trajectories")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    texts = [path for path in files if path.suffix in (".json", ".jsonl", ".yaml")]
    for _ in range(chance.choice((1, 1, 2, 3))):
        path = chance.choice(texts if chance.random() < 0.7 else files)
        if _can_be_spoilt(path):
            _try_to_spoil(chance, path, case)
    if chance.random() < 0.05:
        _rename_class(chance, folder)
    if chance.random() < 0.03:
        shutil.rmtree(folder / "score")
        (folder / "score").symlink_to(case / "outside")


def _rename_class(chance: Random, folder: Path) -> None:
    """A class, or a method, of a name that tries to be something else."""
    name = json.dumps(chance.choice(NAMES))
    for path in folder.rglob("*.json*"):
        if _can_be_spoilt(path):
            path.write_bytes(path.read_bytes().replace(b'"ant"', name.encode()).replace(b'"plain"', name.encode()))
    target = os.fsencode(chance.choice(("<script>alert(1)<", "two\nlines", "\x1b[2J", "half\udcff")))
    os.rename(os.fsencode(folder / "samples" / "plain"), os.path.join(os.fsencode(folder / "samples"), target))


def read_run_folder(chance: Random, case: Path) -> None:
    """By one of those who read runs."""
    chance.choices([read for read, _ in _READERS], weights=[weight for _, weight in _READERS])[0](
        case / "in" / "run", case / "out"
    )


def _offer(folder: Path, out: Path) -> None:
    describe_offer(read_offer(folder), Limits(), ModelCache(), torch.device("cpu"))


def _export(folder: Path, out: Path) -> None:
    export(folder, out / "exported", "mit")
    contents(out / "exported", "owner/name")


def _export_stage(folder: Path, out: Path) -> None:
    export(folder / "classifier-ce", out / "exported", "mit")


def _events(folder: Path, out: Path) -> None:
    with closing(Events(folder, out / "events")) as events:
        events.update()


def _rest(folder: Path, out: Path) -> None:
    for log in sorted(folder.glob("*/log.jsonl")):
        read_rows(log)
    read_previews(folder / "generator-smm")
    read_calibration(folder / "classifier-ce", folder / "score")


_READERS: tuple[tuple[Callable[[Path, Path], object], float], ...] = (
    (lambda folder, out: read_run(folder), 5),
    (lambda folder, out: build_report(folder), 1),
    (lambda folder, out: compare_runs([folder, folder / "score"], out / "both"), 0.2),
    (_offer, 2),
    (_export, 1.5),
    (_export_stage, 1),
    (_events, 0.5),
    (_rest, 2),
)
