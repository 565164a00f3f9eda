"""What is done with trained models, measured in small: samples, their figures, score errors, calibration."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from condgen.classifier import Classifier
from condgen.data import LabelledSet, stratified_order
from condgen.denoiser import Denoiser
from condgen.diagnostics.classifier_errors import AT_ONCE, measure_classifier
from condgen.diagnostics.score_errors import compare, draw_queries
from condgen.metrics import Extractor, Measures, Store, evaluating, pixels
from condgen.metrics.cas import network_accuracy
from condgen.oracle import ExactScores, Oracle
from condgen.recipes import CalibrateStage, DiagnoseStage, SampleStage
from condgen.rng import keyed_generator
from condgen.runs.calibrate import calibration_levels
from condgen.runs.dry_run.probes import peak_of, probe, waiting
from condgen.runs.layout import MANIFEST
from condgen.runs.sample import Source
from condgen.runs.sample_folder import write_samples
from condgen.samplers import AdaptiveSampler, build_sampler, draw, evaluations_on
from condgen.schedules import Schedule, expand
from condgen.score import ScoreModel

__all__ = ["Drawing", "calibrating", "diagnosing", "drawing", "evaluating_all", "written"]

_TRIED = 16  # samples that a sampler draws of a Gaussian
_SIZE = 1000  # samples whose figures are measured
_ORACLE_QUERIES = 32
_STEPS = 20  # of a ResNet's training
_BLOCK = 4096  # bytes that a file takes at least


class Drawing(NamedTuple):
    """What drawing samples takes."""

    evaluations: float  # of the denoiser, per sample
    evaluation: float  # seconds of one, for a whole batch
    overhead: float  # seconds of all that the sampler does beside, for a whole batch
    memory: int

    def in_words(self) -> str:
        """How often the denoiser is asked, where that is more than once."""
        return f"{self.evaluations:.4g} evaluations a sample" if self.evaluations > 1 else ""

    def seconds(self, samples: int, batch: int) -> float:
        """Of so many samples."""
        return samples / batch * (self.evaluations * self.evaluation + self.overhead)


class _Gaussian(Denoiser):
    """The exact denoiser of a Gaussian, which costs nothing: what is left is the sampler's own work."""

    def __init__(self, schedule: Schedule, std: float) -> None:
        super().__init__()
        self.schedule, self.std = schedule, std

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        alpha, sigma = expand(self.schedule.alpha(t), x_t), expand(self.schedule.sigma(t), x_t)
        pull: Tensor = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return pull * x_t


def drawing(stage: SampleStage, source: Source, std: float, batch: int) -> Drawing:
    """Measures evaluations of a source's model at a few noise levels, and its sampler on a Gaussian.

    Args:
        stage: which samples.
        source: what draws them.
        std: standard deviation of the data.
        batch: samples at a time.
    """
    device = source.device
    if source.many is None:

        def generate(n: int) -> None:
            list(source.draw(stage.labels[:1] * n, range(n), n))

        seconds = probe(generate, batch, device)
        return Drawing(1, seconds, 0.0, _weights(source.model) + peak_of(generate, _TRIED, batch))
    denoiser, schedule = source.many.denoiser, source.many.schedule
    low, high = schedule.noise_range
    times = [schedule.t_of_noise_level(torch.tensor(min(max(std * by, low), high))) for by in (0.1, 1.0, 10.0)]

    @torch.no_grad()
    def evaluate(n: int) -> None:
        x = torch.randn(n, *source.shape, device=device)
        y = torch.zeros(n, dtype=torch.int64, device=device)
        for t in times:
            denoiser(expand(schedule.sigma(t), x) * x, t, y)

    seconds = probe(evaluate, batch, device) / len(times)
    few = min(batch, _TRIED)
    sampler = build_sampler(stage.method.sampler, _Gaussian(schedule, std), stage.method.options)
    y = torch.zeros(few, dtype=torch.int64, device=device)
    started = waiting(device)
    drawn = [one for part in draw(sampler, source.grid, range(few), y, source.shape, few, device) for one in part]
    overhead = waiting(device) - started
    evaluations = sum(one.evaluations for one in drawn) / len(drawn)
    if source.grid is not None and not isinstance(sampler, AdaptiveSampler):
        evaluations = evaluations_on(sampler, source.grid)
    memory = _weights(denoiser) + peak_of(evaluate, _TRIED, batch) + 32 * batch * _numbers(source.shape)
    return Drawing(evaluations, seconds, overhead, memory)


def _weights(model: object) -> int:
    return sum(parameter.nbytes for parameter in model.parameters()) if isinstance(model, torch.nn.Module) else 0


def _numbers(shape: Sequence[int]) -> int:
    return int(torch.Size(shape).numel())


def written(data: LabelledSet, scratch: Path) -> tuple[float, int]:
    """Seconds and bytes that a sample takes to be written, by writing some real ones."""
    n = min(_TRIED, len(data))
    rows = [
        {"class": 0, "name": data.names[0], "seed": i, "sampler": "euler-maruyama", "options": {}} for i in range(n)
    ]
    scratch.mkdir(parents=True)
    write_samples(scratch, [0], data.floats(torch.arange(1)).cpu(), rows[:1])  # imports
    (scratch / MANIFEST).unlink()
    started = waiting(torch.device("cpu"))
    write_samples(scratch, range(n), data.floats(torch.arange(n)).cpu(), rows)
    seconds = waiting(torch.device("cpu")) - started
    lines = (scratch / MANIFEST).stat().st_size
    files = sum(-(-file.stat().st_size // _BLOCK) * _BLOCK for file in scratch.glob("*.png"))
    return seconds / n, (lines + files) // n


def calibrating(
    stage: CalibrateStage, prior: ScoreModel, classifier: Classifier, held_out: LabelledSet, device: torch.device
) -> tuple[float, int, int]:
    """Seconds that a calibration takes, its noise levels, and bytes at its peak."""
    levels = calibration_levels(stage, classifier)
    held_out = held_out.at_most(stage.calibrate.most, keyed_generator(stage.calibrate.seed))
    x, y = held_out.floats().to(device), held_out.y.to(device)

    def measure(n: int) -> None:
        list(measure_classifier(classifier, prior, x[:n], y[:n], levels[:1], generator=keyed_generator(0)))

    seconds = probe(measure, len(x), device) * len(levels) * stage.calibrate.draws
    memory = _weights(prior) + _weights(classifier) + peak_of(measure, _TRIED, min(len(x), AT_ONCE))
    return seconds, len(levels), memory


def diagnosing(
    stage: DiagnoseStage, prior: ScoreModel, methods: Mapping[str, Denoiser], data: LabelledSet, device: torch.device
) -> tuple[float, int]:
    """Seconds that a diagnosis takes, and bytes at its peak: the oracle on a few queries, the networks on a few."""
    settings = stage.diagnose
    oracle = Oracle(prior.schedule, data.x, data.y, data.n_classes).to(device)
    some = draw_queries(oracle, min(oracle.at_once, _ORACLE_QUERIES, settings.queries), keyed_generator(0))
    chosen = sorted(settings.levels)
    tried = (chosen[len(chosen) // 2], chosen[0], chosen[-1])
    times = [prior.schedule.t_of_noise_level(torch.tensor(level)) for level in tried]
    marks = [waiting(device)]
    for _ in oracle.scores_along(some.x, some.eps, times, some.y):
        marks.append(waiting(device))
    first, *others = [after - before for before, after in pairwise(marks)]
    level = sum(others) / len(others)
    exact = max(first - level, 0.0) + level * len(settings.levels)
    t = times[0]

    def networks(n: int) -> None:
        x = torch.randn(n, *data.shape, device=device, dtype=torch.float64)
        compare(ExactScores(x, x, x), prior, methods, t, x, torch.zeros(n, dtype=torch.int64, device=device))

    batch = min(settings.queries, oracle.at_once, 250)
    network = probe(networks, batch, device) / batch
    per_query = exact / len(some.y) + network * len(settings.levels)
    seconds = per_query * settings.queries
    if settings.grid is not None:
        points = settings.grid.points**2 * data.n_classes
        seconds += len(settings.grid.levels) * points * (first / len(some.y) + network)
    weights = sum(_weights(model) for model in {prior, *methods.values()})
    return seconds, 10 * 8 * oracle.held + data.x.nbytes + weights + peak_of(networks, _TRIED, batch)


def evaluating_all(
    measures: Measures,
    extractor: Extractor,
    sizes: Sequence[int],
    train: LabelledSet,
    test: LabelledSet,
    device: torch.device,
) -> Generator[str, None, float]:
    """Seconds that the figures of so many samples a method take, from those of a few real ones.

    Args:
        measures: which figures.
        extractor: what they are measured in.
        sizes: samples of every method.
        train: the real reference.
        test: held-out real data.
        device: where networks run.
    """
    real, held_out = (_some(part, _SIZE) for part in (train, test))
    plain = measures.model_copy(update={"cas": measures.cas if measures.cas == "probe" else "none"})
    samples = held_out.floats(), held_out.y
    marks: list[tuple[str, float]] = []
    for advance in evaluating({"few": samples}, real, held_out, 0, plain, Store(pixels(train.shape), None)):
        if advance.what.startswith("figures of"):
            marks.append((advance.what, waiting(device)))
        yield f"evaluate: {advance.what}"
    seconds = 0.0
    each = marks[1][1] - marks[0][1]
    pairs = len(real) * len(held_out)
    for n in (*sizes, len(test)):
        seconds += each * max(1.0, min(n, measures.most) * min(len(train), measures.most) / pairs)
    if extractor.key is not None:
        images = len(train) + len(test) + sum(sizes)
        x = held_out.floats().to(device)
        batch = min(extractor.batch, len(x), 64)
        seconds += probe(lambda n: extractor.function(x[:n]), batch, device) / batch * images
    if measures.cas == "resnet" and train.is_images:
        started = waiting(device)
        for _ in network_accuracy(*samples, _some(test, _SIZE).to(device), _STEPS, 0, "", flip=measures.cas_flip):
            pass
        seconds += (waiting(device) - started) / _STEPS * measures.cas_steps * (len(sizes) + len({*sizes}))
    return seconds


def _some(data: LabelledSet, n: int) -> LabelledSet:
    """A few of a set, of every class."""
    chosen = stratified_order(data.y, keyed_generator(0))[: max(n, 2 * data.n_classes)]
    return replace(data, x=data.x[chosen.to(data.x.device)], y=data.y[chosen.to(data.y.device)])
