"""Run folders made of small random rows, of the shape that a recipe writes."""

import json

import numpy as np
import yaml
from PIL import Image

HOSTILE = "<script>alert(1)</script>"
METHODS = ("no guidance", "ce", "dlsm", "one-step")


def _write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def _lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def error_rows(rng, sigmas, weighting="data", n=500):
    level = {"zero guidance": 1.0, "ce": 1.2, "ce x10": 9.0, "ce, calibrated": 0.9, "cfg": 0.8, "dlsm": 0.6}
    rows = []
    for sigma in sigmas:
        base = {"sigma": sigma, "weighting": weighting, "n": n}
        rows.append(base | {"method": "prior", "quantity": "D", "mean": 0.4 / sigma, "sd": 0.1 / sigma})
        for method, share in level.items():
            for quantity, extra in (("D_P", 1.3), ("D_L", 1.0)):
                mean = share * extra * float(rng.uniform(0.9, 1.1)) * sigma / (sigma**2 + 0.3)
                rows.append(base | {"method": method, "quantity": quantity, "mean": mean, "sd": 0.5 * mean})
    return rows


def level_rows(rng, sigmas, strength=1.0, prior=True):
    """A classifier that helps at middle noise levels and is unsure at others."""
    rows = []
    for sigma in sigmas:
        norm = strength * sigma / (1 + sigma**2)
        row = {"sigma": sigma, "n": 360, "draws": 4, "accuracy": 0.1 + 0.8 / (1 + sigma), "ece": 0.02, "norm": norm}
        row["cross_entropy"] = 2.3 * sigma / (1 + sigma)
        if prior:
            z = 40 * norm * float(rng.uniform(0.9, 1.1)) - 5
            row |= {"gain": -0.01 * z / 40, "gain_se": 0.001, "scale": z / 15, "scale_se": 0.1, "z": z}
            row["scale_gain"] = -0.011 * z / 40
        rows.append(row)
    return rows


def metric_rows(rng, n=360):
    centre = {"class accuracy": 0.8, "FD@360": 20.0, "precision": 0.7, "recall": 0.6, "density": 0.9, "coverage": 0.7}
    rows = []
    for metric, middle in (centre | {"class-wise recall": 0.5, "in-class std ratio": 0.95}).items():
        for method in METHODS:
            value = middle * float(rng.uniform(0.8, 1.15))
            rows.append(
                {"method": method, "metric": metric, "value": value, "low": 0.96 * value, "high": 1.04 * value}
                | {"n": n, "features": "digits judge", "reference": "test split", "floor": middle * 1.1}
                | {"floor_n": n, "seed": 0}
            )
    return rows


def common_files(folder, rng, names, recipe_name):
    _write(folder / "recipe.yaml", yaml.safe_dump({"name": recipe_name, "seed": 0, "data": {"kind": "digits"}}))
    stages = [
        {"stage": stage, "folder": stage, "seconds": float(rng.uniform(5, 80)), "what": "4000 steps", "reused": False}
        for stage in ("score", "classifier-ce", "classifier-dlsm", "generator")
    ]
    _write(
        folder / "run.json",
        {
            "name": recipe_name,
            "condgen": "0.1.0",
            "python": "3.11.9",
            "torch": "2.11.0",
            "machine": {"cpu": "a processor", "cores": 2, "threads": 2, "memory_gib": 7.8, "device": "cpu"},
            "started": "2025-01-02T03:04:05",
            "stages": stages,
            "command": f"condgen run recipes/{recipe_name}.yaml",
            "notes": [],
        },
    )
    for stage in stages:
        rows = [
            {"step": step, "loss": 0.2 + 2 * 0.995**step + float(rng.uniform(0, 0.1)), "lr": 1e-3}
            for step in range(0, 4000, 200)
        ]
        _write(folder / stage["folder"] / "log.jsonl", _lines(rows))
    _write(folder / "metrics.json", {"what": {"judge": "logistic regression, 0.97 held out"}, "rows": metric_rows(rng)})
    cost = [
        {"method": method, "images": 360, "seconds": seconds, "images_per_second": 360 / seconds}
        | {"evaluations_per_image": evaluations, "sampler": "heun", "steps": 18, "scale": 1.0}
        for method, seconds, evaluations in zip(METHODS, (4.0, 9.0, 9.5, 0.02), (35, 70, 70, 1), strict=True)
    ]
    _write(folder / "cost.json", {"rows": cost})


def classifier_files(folder, rng):
    """What calibration has found, and what was seen in the training of one classifier."""
    rows = [
        {"classifier": name, **row}
        for name, strength in (("ce", 0.7), ("dlsm", 1.0))
        for row in level_rows(rng, np.geomspace(0.01, 50, 12).tolist(), strength)
    ]
    _write(folder / "classifiers.json", {"what": {"split": "test (held out)", "draws": 4}, "rows": rows})
    looks = [{"step": step, "levels": level_rows(rng, [0.1, 1, 10])} for step in (1000, 2000, 4000)]
    log = folder / "classifier-dlsm" / "log.jsonl"
    log.write_text(log.read_text() + _lines(looks))


def make_digits(folder, names=tuple("0123456789"), name="digits"):
    """A run of small images with these class names."""
    rng = np.random.default_rng(0)
    common_files(folder, rng, names, name)
    rows = error_rows(rng, np.geomspace(0.05, 10, 9).tolist())
    about = {"oracle": "training set", "n": 500, "seed": 0, "methods": {"ce x10": "guided by ce at scale 10"}}
    _write(folder / "diagnostics.json", {"what": about, "rows": rows})
    classifier_files(folder, rng)
    pictures = rng.integers(0, 255, (len(names), 3, 8, 8), dtype=np.uint8)
    for method in METHODS:
        manifest = []
        for label, class_name in enumerate(names):
            for seed in range(8):
                noise = rng.integers(0, 60, (8, 8), dtype=np.uint8)
                file = f"{len(manifest):05}.png"
                target = folder / "samples" / method / file
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((pictures[label, 0] // 2 + noise).astype(np.uint8)).save(target)
                manifest.append({"file": file, "class": label, "name": class_name, "seed": seed})
        _write(folder / "samples" / method / "manifest.jsonl", _lines(manifest))
    return folder


def make_moons(folder, names=("upper", "lower"), side=11):
    """A run of points in the plane with these class names."""
    rng = np.random.default_rng(1)
    common_files(folder, rng, names, "moons")
    rows = error_rows(rng, [1.0, 2.5, 5.0, 7.5, 10.0]) + error_rows(rng, [7.5], "grid", n=5)
    _write(folder / "diagnostics.json", {"what": {"oracle": "moons, 10000 points"}, "rows": rows})
    x, y = np.linspace(-40, 40, side), np.linspace(-25, 25, side)
    grid_x, grid_y = np.meshgrid(x, y)
    toward = np.stack([-np.ones_like(grid_x), 0.3 * grid_x / 10], -1) / (30 + grid_y[..., None] ** 2 / 20)
    exact = np.stack([toward, -toward])
    angle = rng.uniform(0, np.pi, 60)
    labels = np.arange(60) % len(names)
    points = np.stack([20 * np.cos(angle) - 10 + 20 * labels, (15 * np.sin(angle) - 7) * (1 - 2 * labels)], -1)
    fields = {"exact": exact, "ce": 1.4 * exact + 0.02, "dlsm": 1.05 * exact}
    _write(
        folder / "field.json",
        {"sigma": 7.5, "x": x.tolist(), "y": y.tolist(), "points": points.tolist(), "labels": labels.tolist()}
        | {"names": list(names), "fields": {k: v.reshape(len(names), -1, 2).tolist() for k, v in fields.items()}},
    )
    for method in METHODS:
        cloud = points + rng.normal(0, 2, points.shape)
        manifest = [
            {"file": None, "x": point.tolist(), "class": int(label), "name": names[label], "seed": seed}
            for seed, (point, label) in enumerate(zip(cloud, labels, strict=True))
        ]
        _write(folder / "samples" / method / "manifest.jsonl", _lines(manifest))
    return folder


NOISE = (40.0, 5.0, 0.7, 0.1, 0.005)


def add_trajectories(folder, names, points=False):
    """Two classes by two methods; the grey of image i of a strip is 20 i, and 128 more of estimates."""
    rows = []
    for method in ("ce", "dlsm"):
        for label in (0, 1):
            row = {"method": method, "class": label, "name": names[label], "seed": label, "noise": NOISE}
            for kind, grey in (("x_t", 0), ("denoised", 128)):
                if points:
                    row[kind] = [[noise * (1 - 2 * label), noise] for noise in NOISE]
                    continue
                line = np.repeat(grey + 20 * np.arange(len(NOISE), dtype=np.uint8), 8)[None].repeat(8, 0)
                row[kind] = f"{method}/{label}-{kind}.png"
                target = folder / "trajectories" / row[kind]
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(line).save(target)
            rows.append(row)
    _write(folder / "trajectories" / "trajectories.json", {"rows": rows})
    about = json.loads((folder / "run.json").read_text())
    about["stages"].append({"stage": "trajectories", "folder": "trajectories", "seconds": 1.0})
    _write(folder / "run.json", about)


def add_neighbours(folder, names, points=False):
    """Four samples of a method with three training images each, the second of another class."""
    rows = []
    for place in range(4):
        row = {"method": "ce", "class": 0, "name": names[0], "seed": place, "elsewhere": 2.5, "neighbours": []}
        row |= {"x": [0.5, place]} if points else {"file": f"samples/ce/{place:05}.png"}
        for index in (10 * place, 10 * place + 1, 10 * place + 2):
            near = {"index": index, "class": index % 10 % 2, "name": names[index % 10 % 2], "distance": 0.5 + index / 8}
            if not points:
                near["file"] = f"neighbours/train-{index:05}.png"
                (folder / "neighbours").mkdir(exist_ok=True)
                Image.fromarray(np.full((8, 8), index, dtype=np.uint8)).save(folder / near["file"])
            row["neighbours"].append(near)
        rows.append(row)
    _write(folder / "neighbours.json", {"what": {"features": "pixels", "reference": "1,000 images"}, "rows": rows})
