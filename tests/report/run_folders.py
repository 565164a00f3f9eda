"""Run folders made of small random rows, of the shape that a recipe writes."""

import json

import numpy as np
import yaml
from PIL import Image

from condgen.diagnostics.score_errors import ErrorRow
from condgen.metrics.measures import MetricRow

HOSTILE = "<script>alert(1)</script>"
METHODS = ("ce", "dlsm", "one-step")
SIGMAS = (0.1, 1.0, 10.0)
COLLAPSED = (1.2, 0.5, 0.2, 0.1)  # in-class std ratios of a generator that collapses at its third look


def metric(method, name, value, half=None, **changes):
    ends = {} if half is None else {"low": value - half, "high": value + half}
    given = {"n": 360, "features": "pixels", "reference": "test", "floor": 0.5, "floor_n": 360, "seed": 0} | changes
    return MetricRow(method=method, metric=name, value=value, **ends, **given)


def error(method, sigma, mean, weighting="data", quantity="D_L"):
    given = {"sd": 0.1 * mean, "n": 100, "exact": 1.0}
    return ErrorRow(method=method, sigma=sigma, weighting=weighting, quantity=quantity, mean=mean, **given)


def write(path, value):
    """Writes a list as lines of JSON, a text as it is, and anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, list):
        value = "".join(json.dumps(row) + "\n" for row in value)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)


def error_rows(rng, weighting="data", sigmas=SIGMAS):
    rows = []
    for sigma in sigmas:
        base = {"sigma": sigma, "weighting": weighting, "n": 500, "exact": 1.0}
        rows.append(base | {"method": "prior", "quantity": "D", "mean": 0.4 / sigma, "sd": 0.1 / sigma})
        for method, share in {"zero guidance": 1.0, "ce": 1.2, "dlsm": 0.6}.items():
            for quantity in ("D_P", "D_L"):
                mean = share * float(rng.uniform(0.9, 1.1)) * sigma / (sigma**2 + 0.3)
                rows.append(base | {"method": method, "quantity": quantity, "mean": mean, "sd": 0.5 * mean})
    return rows


def level_rows(rng, sigmas=SIGMAS):
    """A classifier that helps at middle noise levels and is unsure at others."""
    rows = []
    for sigma in sigmas:
        norm = sigma / (1 + sigma**2)
        z = 40 * norm * float(rng.uniform(0.9, 1.1)) - 5
        row = {"sigma": sigma, "n": 360, "draws": 4, "accuracy": 0.1 + 0.8 / (1 + sigma), "ece": 0.02, "norm": norm}
        row |= {"cross_entropy": 2.3 * sigma / (1 + sigma), "gain": -0.01 * z / 40, "gain_se": 0.001}
        rows.append(row | {"scale": z / 15, "scale_se": 0.1, "z": z, "scale_gain": -0.011 * z / 40})
    return rows


def metric_rows(rng, n=360):
    centre = {"class accuracy": 0.8, "FD@360": 20.0, "recall": 0.6, "class-wise recall": 0.5}
    rows = []
    for metric, middle in centre.items():
        for method in METHODS:
            value = middle * float(rng.uniform(0.8, 1.15))
            row = {"method": method, "metric": metric, "value": value, "low": 0.96 * value, "high": 1.04 * value}
            row |= {"n": n, "features": "digits judge", "reference": "test split", "floor": middle * 1.1}
            rows.append(row | {"floor_n": n, "seed": 0})
    return rows


def make_run(folder, name, seed):
    """What runs of images and of points have in common."""
    rng = np.random.default_rng(seed)
    write(folder / "recipe.yaml", yaml.safe_dump({"name": name, "seed": 0, "data": {"kind": "digits"}}))
    took = {"seconds": 5.0, "what": "4000 steps"}
    stages = [{"stage": stage, "folder": stage} | took for stage in ("score", "classifier-dlsm")]
    machine = {"cpu": "a processor", "cores": 2, "memory_gib": 7.8}
    about = {"name": name, "condgen": "0.1.0", "torch": "2.11.0", "machine": machine, "started": "2025-01-02T03:04:05"}
    write(folder / "run.json", about | {"stages": stages, "command": f"condgen run recipes/{name}.yaml"})
    losses = [{"step": step, "loss": 0.2 + 2 * 0.995**step, "lr": 1e-3} for step in range(0, 4000, 200)]
    checks = [{"step": step, "levels": level_rows(rng)} for step in (1000, 2000, 4000)]
    write(folder / "score" / "log.jsonl", losses)
    write(folder / "classifier-dlsm" / "log.jsonl", losses + checks)
    seen = [
        {"metric": f"seen as {other}", "method": method, "class": label, "name": str(label), "value": share}
        for method in METHODS
        for label, other, share in ((0, "0", 0.75), (0, "1", 0.25), (1, "1", 1.0))
    ]
    what = {"judge": "logistic regression"}
    write(folder / "metrics.json", {"what": what, "rows": metric_rows(rng), "by_class": seen})
    cost = [
        {"method": method, "images": 360, "seconds": 4.0, "images_per_second": 90.0}
        | {"evaluations_per_image": evaluations, "sampler": "heun", "steps": 18, "scale": 1.0}
        for method, evaluations in zip(METHODS, (70, 70, 1), strict=True)
    ]
    write(folder / "cost.json", {"rows": cost})
    return rng


def make_digits(folder, names=("0", "1", "2"), name="digits"):
    """A run of small images with these class names."""
    rng = make_run(folder, name, seed=0)
    about = {"oracle": "training set", "methods": {"ce": "guided by ce at scale 10"}}
    write(folder / "diagnostics.json", {"what": about, "rows": error_rows(rng)})
    z = rng.normal(size=(len(SIGMAS), 8, 8)) * 3
    write(folder / "pixels.json", {"levels": SIGMAS, "n": 360, "z": {"dlsm minus ce": z.tolist()}})
    rows = [{"classifier": name, **row} for name in ("ce", "dlsm") for row in level_rows(rng, (0.01, *SIGMAS))]
    write(folder / "classifiers.json", {"what": {"split": "validation"}, "rows": rows})
    for method in METHODS:
        manifest = []
        for label, class_name in enumerate(names):
            for seed in range(8):
                file = f"{len(manifest):05}.png"
                picture(folder / "samples" / method / file, 60 * label + rng.integers(0, 60, (8, 8)))
                manifest.append({"file": file, "class": label, "name": class_name, "seed": seed})
        write(folder / "samples" / method / "manifest.jsonl", manifest)
    return folder


def make_moons(folder, names=("upper", "lower"), side=11):
    """A run of points in the plane with these class names."""
    rng = make_run(folder, "moons", seed=1)
    rows = error_rows(rng) + error_rows(rng, "grid", [7.5])
    write(folder / "diagnostics.json", {"what": {"oracle": "moons, 10000 points"}, "rows": rows})
    x, y = np.linspace(-40, 40, side), np.linspace(-25, 25, side)
    exact = np.stack([np.stack(np.meshgrid(x, y), -1), -np.stack(np.meshgrid(x, y), -1)]) / 1000
    labels = np.arange(60) % 2
    points = rng.normal(size=(60, 2)) + 20 * (1 - 2 * labels[:, None])
    field = {"sigma": 7.5, "x": x.tolist(), "y": y.tolist(), "points": points.tolist(), "labels": labels.tolist()}
    fields = {name: values.tolist() for name, values in {"exact": exact, "dlsm": 1.05 * exact}.items()}
    write(folder / "field.json", field | {"names": names, "fields": fields})
    for method in METHODS:
        manifest = [
            {"file": None, "x": point, "class": label, "name": names[label], "seed": seed}
            for seed, (point, label) in enumerate(zip(points.tolist(), labels.tolist(), strict=True))
        ]
        write(folder / "samples" / method / "manifest.jsonl", manifest)
    return folder


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
                picture(folder / near["file"], np.full((8, 8), index))
            row["neighbours"].append(near)
        rows.append(row)
    write(folder / "neighbours.json", {"what": {"features": "pixels", "reference": "1,000 images"}, "rows": rows})
