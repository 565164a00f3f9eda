"""Rules of guidance on digits: what each makes of one classifier, over its strength, at 20 evaluations a sample.

    uv run condgen run recipes/rivals.yaml --seeds 3 --set "classifiers.dlsm.training.snapshots=[150]"
    uv run tests/benchmarks/rules.py runs/rivals/seed-0 runs/rivals/seed-1 runs/rivals/seed-2 --full
      --json assets/rules.json --picture assets/rules.png    (12 minutes)

Rules for which a run has no labelled score model or snapshot are left out. So is tilted guidance (arXiv 2511.05844):
it weighs a sample by others of its batch, where here a sample depends on its own seed alone.
"""

import math
import time
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Annotated

import matplotlib.pyplot as plt
import torch
import typer
from bench import Figure, Full, JsonFile, Picture, device, finish, run
from scaling import Tempered

from condgen import Classifier, ClassifierGuided, Denoiser, DenoiserGuided, Likelihood, ScaleCurve, ScoreModel, sample
from condgen.data.sets import load, parse_data
from condgen.metrics.evaluate import Measures, evaluating
from condgen.metrics.extractors import open_extractor
from condgen.metrics.features import Store
from condgen.runs.models import read_calibration
from condgen.schedules import expand

STRENGTHS = (1.0, 1.5, 2.0, 3.0)
SHOWN = ("class accuracy", "FD", "held-out FD", "class-wise FD", "recall", "in-class std ratio")


class Rule(Likelihood):
    """A likelihood score that is the gradient of another function of log-probabilities: (log_p, x_t, t, y) -> (B,)."""

    def __init__(self, classifier, potential):
        super().__init__()
        self.classifier, self.potential = classifier, potential
        self.schedule, self.n_classes = classifier.schedule, classifier.n_classes

    def forward(self, x_t, t):
        return self.classifier(x_t, t)

    @torch.enable_grad()
    def score(self, x_t, t, y):
        x_t = x_t.detach().requires_grad_()
        return torch.autograd.grad(self.potential(self(x_t, t), x_t, t, y).sum(), x_t)[0]


class Both(Denoiser):
    """Classifier-free guidance, and a likelihood on top."""

    def __init__(self, labelled, classifier, scale):
        super().__init__()
        self.free, self.classifier, self.scale = DenoiserGuided(labelled, scale=scale), classifier, scale
        self.schedule = labelled.schedule

    def forward(self, x_t, t, y=None):
        shift = (self.scale - 1) * self.schedule.sigma(t) ** 2 / self.schedule.alpha(t)
        return self.free(x_t, t, y) + expand(shift, x_t) * self.classifier.score(x_t, t, y)


def of(log_p, y):
    return log_p.gather(1, y[:, None])[:, 0]


def entropy(log_p):
    return -(log_p.exp() * log_p).sum(1)


def over_entropy(log_p, x_t, t, y):
    """Li et al. 2022 (arXiv 2206.11474), at most tenfold."""
    return of(log_p, y) * (math.log(log_p.shape[1]) / entropy(log_p)).clamp(max=10).detach()


def rules(place, classifier):
    """By name, what guides at a strength s."""
    folder = place / classifier
    score, dlsm = ScoreModel.load(place / "score", device()), Classifier.load(folder, device())
    curve = read_calibration(folder, place / "score")

    def guided(potential, scale=1.0):
        return lambda s: ClassifierGuided(score, Rule(dlsm, potential), scale * s)

    def calibrated(s):
        scales = [s * scale for scale in curve.scales]
        return ClassifierGuided(score, dlsm, ScaleCurve(levels=curve.levels, scales=scales))

    found = {
        "classifier": lambda s: ClassifierGuided(score, dlsm, s),
        "from noise level .3 to 5": lambda s: ClassifierGuided(score, dlsm, s, (0.3, 5.0)),
        "calibrated, times": calibrated,
        "temperature 2": lambda s: ClassifierGuided(score, Tempered(dlsm, 0.5), s),
        "temperature 1/2": lambda s: ClassifierGuided(score, Tempered(dlsm, 2.0), s),
        "plus .3 of the entropy": guided(lambda log_p, x_t, t, y: of(log_p, y) + 0.3 * entropy(log_p)),
        "over the entropy, half of": guided(over_entropy, 0.5),
    }
    if (place / "score-labelled").exists():
        labelled = ScoreModel.load(place / "score-labelled", device())
        found["classifier-free"] = lambda s: DenoiserGuided(labelled, scale=s)
        found["classifier-free and classifier"] = lambda s: Both(labelled, dlsm, s)
    if (folder / "snapshots").exists():
        early = Classifier.load(next((folder / "snapshots").iterdir()), device())

        def contrast(s):
            return Rule(dlsm, lambda log_p, x_t, t, y: s * of(log_p, y) - (s - 1) * of(early(x_t, t), y))

        found["away from an early classifier"] = lambda s: ClassifierGuided(score, contrast(s))
    return found


def finished(work):
    try:
        while True:
            next(work)
    except StopIteration as end:
        return end.value


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders of rivals.yaml, of one seed each.")],
    json: JsonFile = None,
    full: Full = False,
    picture: Picture = None,
    classifier: Annotated[str, typer.Option(help="Its folder in each run.")] = "classifier-dlsm",
    n: Annotated[int, typer.Option(help="Samples of a row; a tenth without --full.")] = 1440,
) -> None:
    torch.set_num_threads(1)
    train, test = (load(parse_data("digits"), split) for split in ("train", "test"))
    n, measures, store = n if full else n // 10, Measures(cas="none"), Store(open_extractor("pixels", test.shape), None)
    y, figures, values = torch.arange(n) % 10, [], defaultdict(list)
    for place in runs if full else runs[:1]:
        methods = {}
        for name, guide in rules(place, classifier).items():
            for s in STRENGTHS:
                started = time.process_time()
                methods[f"{name} {s:g}"] = sample(guide(s), y, nfe=20), y
                cost = 1e3 * (time.process_time() - started) / n
                figures.append(Figure("cost", f"{name} {s:g}", f"n = {n}", "ms an image", cost))
        for row in finished(evaluating(methods, train, test, 0, measures, store)).rows:
            if (what := row.metric.partition("@")[0]) in SHOWN:
                figures.append(Figure(row.metric, row.method, f"n = {n}", "", row.value))
                values[row.method, what].append(row.value)
    if picture is not None:
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
        for axis, what in zip(axes, ("held-out FD", "recall"), strict=True):
            for name in rules(runs[0], classifier):
                each = ([fmean(values[f"{name} {s:g}", of]) for s in STRENGTHS] for of in ("class accuracy", what))
                axis.plot(*each, marker="o", label=name)
            axis.set(xlabel="class accuracy", ylabel=what)
        axes[0].legend(fontsize=7)
        figure.savefig(picture, dpi=120)
    finish(figures, json, evaluations=20)


if __name__ == "__main__":
    run(main)
