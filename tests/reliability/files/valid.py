"""Small valid files of every sort that condgen reads, from which hostile ones are made."""

import json
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml
from torch import nn

from condgen.checkpoint import MODEL_FILE, save_tensors
from condgen.classifier import Classifier, ClassifierConfig
from condgen.generator import Generator, GeneratorConfig
from condgen.networks.cifar_resnet import CifarResNet
from condgen.score import ScoreConfig, ScoreModel
from condgen.training.checkpoint import save_state
from condgen.training.state import State
from reliability.files.pictures import grey

__all__ = ["STATE_KEY", "fresh_state", "make_valid", "recipe_of", "write_rows"]

STATE_KEY = "0123456789abcdef"
_MLP = {"kind": "mlp", "width": 8, "depth": 1, "embedding": 4}
_UNET = {"kind": "unet", "channels": 4, "multipliers": [1, 2], "blocks": 1, "attention": [4], "embedding": 2}
_EDM = {"kind": "edm", "sigma_min": 0.02, "sigma_max": 20.0}
_NAMES = ["ant", "bee"]
_LEVELS = (0.05, 0.5, 5.0)


def recipe_of(chance: Random) -> dict[str, Any]:
    """A recipe that holds, with much or little in it."""
    training = {"steps": 6, "batch": 16, "lr": 1e-3}
    tree: dict[str, Any] = {
        "name": "tiny",
        "data": chance.choice(({"kind": "digits"}, {"kind": "moons", "n": 100}, {"kind": "folder", "root": "data/x"})),
        "schedule": chance.choice((_EDM, {"kind": "vp"}, {"kind": "ve"}, {"kind": "cosine"})),
        "score": {"network": chance.choice((_MLP, _UNET)), "training": training | {"snapshots": [3]}},
    }
    more: dict[str, Any] = {
        "scores": {"told": {"network": _MLP, "training": training, "labels": "embedding"}},
        "classifiers": {
            "ce": {"network": _MLP, "objective": {"loss": "ce"}, "training": training},
            "dlsm": {"network": {"kind": "resnet", "width": 4, "blocks": [1, 1]}, "training": training},
        },
        "generators": {
            "smm": {"network": _MLP, "objective": {"loss": "smm", "network": _MLP}, "training": training},
            "sid": {"network": _MLP, "objective": {"loss": "sid", "network": _MLP}, "training": training},
        },
        "evaluate": chance.choice((True, False, {"most": 200})),
        "calibrate": {"draws": 1, "levels": [0.1, 1.0]},
        "promise": {"hardware": "2 CPU cores", "minutes": 1, "memory": 0.5},
        "threads": 1,
    }
    kept = {key: part for key, part in more.items() if chance.random() < 0.4}
    methods: dict[str, Any] = {"plain": {"sampler": "heun", "steps": 5}, "own": {"sampler": "adaptive-ode"}}
    if "classifiers" in kept:
        methods["ce"] = {"classifier": "ce", "scale": 1.5, "nfe": 5, "interval": [0.1, 5.0]}
    if "generators" in kept:
        methods["one-step"] = {"generator": "smm"}
    if chance.random() < 0.5:
        kept["sample"] = {"per_class": 2, "seed": 7, "methods": methods}
    if chance.random() < 0.3:
        kept["diagnose"] = {"levels": [0.5, 1.0], "queries": 10, "grid": {"x": [-1, 1], "y": [-1, 1], "levels": [1.0]}}
    return tree | kept


def make_valid(folder: Path) -> None:
    """Writes all of it into a folder, always the same."""
    torch.manual_seed(0)
    chance = Random(0)
    for name, (model, config) in _models().items():
        save_tensors(folder / "models" / name / MODEL_FILE, model.state_dict(), config)
    save_state(folder / "state", fresh_state(steps=2), STATE_KEY)
    resnet = {name: one.contiguous() for name, one in CifarResNet(3, 2, 8).state_dict().items()}
    save_tensors(folder / "features" / "resnet.safetensors", resnet, {"kind": "resnet"})
    kept = {"vectors": torch.randn(6, 4), "logits": torch.randn(6, 2)}
    save_tensors(folder / "features" / "kept.safetensors", kept, {"kind": "features", "extractor": "x", "of": "y"})
    for form in ("pictures", "points"):
        _make_samples(folder / f"samples-{form}", chance, points=form == "points")
        _make_run(folder / f"run-{form}", chance, points=form == "points")


def fresh_state(steps: int = 0) -> State:
    """The state of a small training, after so many steps."""
    state = State.fresh({"model": nn.Linear(3, 2), "critic": nn.Linear(2, 1)}, (0.9, 0.99))
    for _ in range(steps):
        for name, model in state.models.items():
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
            state.step_optimizer(name, torch.tensor(True))
        state.step += 1
    return state


def _models() -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    of_points: dict[str, Any] = {"shape": [2], "names": _NAMES}
    of_pictures: dict[str, Any] = {"shape": [1, 8, 8], "names": _NAMES}
    learnt: dict[str, Any] = {"schedule": _EDM, "sigma_data": 0.5}
    convgen = {"kind": "convgen", "channels": 4, "multipliers": [2, 1], "embedding": 2}
    scores = {
        "score-points": of_points | learnt | {"network": _MLP},
        "score-unet": of_pictures | learnt | {"network": _UNET, "labels": "embedding"},
        "score-separate": of_points | learnt | {"network": _MLP, "labels": "separate"},
    }
    classifiers = {
        "classifier-mlp": of_points | learnt | {"network": _MLP},
        "classifier-resnet": of_pictures | learnt | {"network": {"kind": "resnet", "width": 4, "blocks": [1, 1]}},
    }
    generators = {
        "generator-mlp": of_points | {"network": _MLP, "latent": 4},
        "generator-conv": of_pictures | {"network": convgen, "latent": 4},
        "generator-level": of_points | {"network": _MLP, "scale": 0.5, "level": 2.0},
    }
    found: dict[str, tuple[nn.Module, dict[str, Any]]] = {}
    for name, tree in scores.items():
        score = ScoreConfig.model_validate(tree)
        found[name] = ScoreModel(score), score.model_dump(mode="json")
    for name, tree in classifiers.items():
        classifier = ClassifierConfig.model_validate(tree)
        found[name] = Classifier(classifier), classifier.model_dump(mode="json")
    for name, tree in generators.items():
        generator = GeneratorConfig.model_validate(tree)
        found[name] = Generator(generator), generator.model_dump(mode="json")
    return found


# ----------------------------------------------------------------------------------------------------
# Samples and runs


def _write(path: Path, tree: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """A file with a row a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _make_samples(folder: Path, chance: Random, points: bool) -> None:
    rows: list[dict[str, Any]] = []
    for seed in range(6):
        row: dict[str, Any] = {"file": None, "x": [chance.gauss(0, 1), 0.5]} if points else {"file": f"{seed:05d}.png"}
        about = {"class": seed % 2, "name": _NAMES[seed % 2], "seed": seed, "sampler": "heun", "steps": 5}
        rows.append(row | about)
        if not points:
            folder.mkdir(parents=True, exist_ok=True)
            grey(chance).save(folder / row["file"])
    write_rows(folder / "manifest.jsonl", rows)
    _write(folder / "stage.json", _stage("sample", ["manifest.jsonl"]) | {"images": 6})


def _stage(name: str, outputs: list[str]) -> dict[str, Any]:
    return {"stage": name, "key": STATE_KEY, "seconds": 1.5, "finished": True, "outputs": outputs, "what": "6 steps"}


def _make_run(folder: Path, chance: Random, points: bool) -> None:
    models = _models()
    kinds = {"score": "score-points", "classifier-ce": "classifier-mlp", "generator-smm": "generator-mlp"}
    if not points:
        kinds = {"score": "score-unet", "classifier-ce": "classifier-resnet", "generator-smm": "generator-conv"}
    training = {"steps": 6, "batch": 16, "lr": 1e-3}
    data = {"kind": "moons", "n": 100} if points else {"kind": "digits"}
    recipe = {
        "name": "tiny", "data": data, "schedule": _EDM, "threads": 1,
        "score": {"network": _MLP, "training": training},
        "classifiers": {"ce": {"network": _MLP, "objective": {"loss": "ce"}, "training": training}},
        "generators": {"smm": {"network": _MLP, "objective": {"loss": "smm", "network": _MLP}, "training": training}},
        "sample": {"per_class": 2, "methods": {"plain": {}, "ce": {"classifier": "ce"}, "one": {"generator": "smm"}}},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    for place, name in kinds.items():
        model, config = models[name]
        save_tensors(folder / place / MODEL_FILE, model.state_dict(), config)
        own: dict[str, Any] = {"data": data, "schedule": _EDM, place.split("-")[0]: {"training": training}}
        (folder / place / "recipe.yaml").write_text(yaml.safe_dump(own))
        _write(folder / place / "stage.json", _stage(place.replace("-", " "), [MODEL_FILE]))
        write_rows(folder / place / "log.jsonl", _log(place))
    _make_looks(folder / "generator-smm" / "previews", points)
    rows = [{"classifier": "ce", **row} for row in _level_rows()]
    _write(folder / "classifier-ce" / "calibration" / "calibration.json", {"what": {"draws": 4}, "rows": _level_rows()})
    _write(folder / "classifiers.json", {"what": {"split": "test", "draws": 4}, "rows": rows})
    stages = [{"stage": p.replace("-", " "), "folder": p, "seconds": 2.5, "what": "6 steps"} for p in kinds]
    stages.append({"stage": "trajectories", "folder": "trajectories", "seconds": 1.0})
    machine = {"cpu": "a processor", "cores": 2, "threads": 1, "memory_gib": 7.8, "device": "cpu"}
    about = {"name": "tiny", "condgen": "0.1.0", "torch": "2.11.0", "machine": machine, "stages": stages, "notes": []}
    _write(folder / "run.json", about | {"started": "2025-01-02T03:04:05", "command": "condgen run tiny.yaml"})
    _make_figures(folder)
    for method in ("plain", "ce"):
        _make_samples(folder / "samples" / method, chance, points)
    _make_ways(folder, chance, points)
    if points:
        x, y = [-1.0, 0.0, 1.0], [-1.0, 1.0]
        field = [[[[0.1, -0.1]] * 3] * 2] * 2
        grid = {"sigma": 0.5, "x": x, "y": y, "points": [[0.1, 0.2], [0.3, 0.4]], "labels": [0, 1], "names": _NAMES}
        _write(folder / "field.json", grid | {"fields": {"exact": field, "ce": field}})


def _log(place: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"step": step, "loss": 1 / step, "lr": 1e-3} for step in range(1, 7)]
    if place.startswith("classifier"):
        rows.append({"step": 6, "levels": _level_rows()})
    if place.startswith("generator"):
        look = {"std_ratio": 1.1, "recall": 0.4, "accuracy": 0.9, "n": 100, "judge": 0.9}
        rows = [row | {"critic_real": 0.5, "critic_fake": 0.6, "skipped": 0} for row in rows]
        rows += [{"step": step, "preview": look} for step in (3, 6)]
    return rows


def _level_rows() -> list[dict[str, Any]]:
    row = {"n": 10, "draws": 4, "accuracy": 0.8, "cross_entropy": 0.5, "ece": 0.02, "norm": 0.4, "gain": -0.1}
    more = {"gain_se": 0.01, "scale": 1.2, "scale_se": 0.1, "scale_gain": -0.11, "z": 3.0}
    return [{"sigma": sigma, **row, **more} for sigma in _LEVELS]


def _make_looks(folder: Path, points: bool) -> None:
    y = torch.arange(8) % 2
    for step in (3, 6):
        x = torch.randn(8, 2) if points else torch.randint(0, 255, (8, 1, 8, 8), dtype=torch.uint8)
        save_tensors(
            folder / f"{step:08d}.safetensors", {"x": x, "y": y}, {"kind": "preview", "step": step, "names": _NAMES}
        )


def _make_figures(folder: Path) -> None:
    errors = [
        {"method": m, "sigma": s, "weighting": "data", "quantity": q, "mean": 0.4, "sd": 0.1, "n": 50, "exact": 1.0}
        for s in _LEVELS for m, q in (("prior", "D"), ("zero guidance", "D_L"), ("ce", "D_L"), ("ce", "D_P"))
    ]  # fmt: skip
    _write(folder / "diagnostics.json", {"what": {"oracle": "training set", "n": 50}, "rows": errors})
    seen = {"low": 0.6, "high": 0.9, "n": 50, "features": "pixels", "reference": "test split", "floor": 0.8}
    rows = [
        {"method": method, "metric": metric, "value": 0.75, **seen, "floor_n": 50, "seed": 0}
        for metric in ("FD@50", "precision", "recall") for method in ("plain", "ce", "one")
    ]  # fmt: skip
    each = [
        {"metric": "class-wise recall", "method": "plain", "class": i, "name": n, "value": 0.5}
        for i, n in enumerate(_NAMES)
    ]
    _write(folder / "metrics.json", {"what": {"judge": "logistic"}, "rows": rows, "by_class": each})
    cost = {"images": 6, "seconds": 2.0, "images_per_second": 3.0, "evaluations_per_image": 5, "sampler": "heun"}
    rows = [{"method": method, **cost, "steps": 5, "scale": 1.0} for method in ("plain", "ce", "one")]
    _write(folder / "cost.json", {"rows": rows})


def _make_ways(folder: Path, chance: Random, points: bool) -> None:
    """Trajectories and nearest neighbours."""
    noise = [5.0, 0.5, 0.05]
    ways: list[dict[str, Any]] = []
    for label, name in enumerate(_NAMES):
        row: dict[str, Any] = {"method": "plain", "class": label, "name": name, "seed": label, "noise": noise}
        for kind in ("x_t", "denoised"):
            row[kind] = [[level, -level] for level in noise] if points else f"plain/{label}-{kind}.png"
            if not points:
                (folder / "trajectories" / "plain").mkdir(parents=True, exist_ok=True)
                grey(chance, 24).crop((0, 0, 24, 8)).save(folder / "trajectories" / row[kind])
        ways.append(row)
    _write(folder / "trajectories" / "trajectories.json", {"rows": ways})
    near = {"index": 3, "class": 1, "name": "bee", "distance": 0.5}
    own: dict[str, Any] = {"x": [0.5, 0.5]} if points else {"file": "samples/plain/00000.png"}
    if not points:
        (folder / "neighbours").mkdir()
        grey(chance).save(folder / "neighbours" / "train-00003.png")
        near["file"] = "neighbours/train-00003.png"
    row = {"method": "plain", "class": 0, "name": "ant", "seed": 0, "neighbours": [near, near], **own}
    _write(folder / "neighbours.json", {"what": {"features": "pixels"}, "rows": [row, row]})
