"""How time and memory grow with the work: images of a set, of a folder, classes, samples, oracle points, metrics' n.

    uv run tests/benchmarks/growth.py --full --json assets/growth.json    (15 minutes, 1 GB of disk)

Every part runs once at sizes ten times apart, on one thread; its time is that of the processor. The exponent is that of
the time between the last two sizes: 1 is linear. Memory is the peak above what is held before.
"""

import math
import tempfile
import time
from pathlib import Path

import torch
from bench import Figure, Full, JsonFile, console, finish, peak_memory, run
from PIL import Image
from typer.testing import CliRunner

from condgen import EDM, Classifier, Generator, LabelledSet, MLPSettings, Oracle, cross_entropy_loss
from condgen.cli.app import app
from condgen.data.labelled import stratified_order, validation_rows
from condgen.data.sets import Folder
from condgen.metrics.frechet import Gaussian, frechet_distance
from condgen.metrics.kernel import kernel_distance
from condgen.metrics.neighbours import prdc
from condgen.metrics.variety import class_spread
from condgen.rng import keyed_generator

NEIGHBOURS = "precision, recall, density, coverage"
METRICS = {
    "Fréchet distance": lambda real, fake: frechet_distance(Gaussian.fit(fake), Gaussian.fit(real)),
    "kernel distance": lambda real, fake: kernel_distance(fake, real),
    NEIGHBOURS: lambda real, fake: prdc(real, fake, 5),
}
SIDE, CPU = 32, torch.device("cpu")


def images(n, classes=10):
    x = torch.randint(256, (n, 3, SIDE, SIDE), dtype=torch.uint8, generator=keyed_generator(0))
    return LabelledSet(x, torch.arange(n) % classes, tuple(map(str, range(classes))), "noise", "train")


def split(data):
    validation_rows(data.y, 0.1, keyed_generator(0))
    stratified_order(data.y, keyed_generator(0))
    data.per_class(10, keyed_generator(0))


def known(data):
    data.fingerprint()
    data.standard_deviation()


def spread(x, classes):
    class_spread(x, torch.arange(len(x)) % classes, classes)


def image_folder(n, place):
    """PNG files of 32 x 32 pixels, in ten classes."""
    for start in range(0, n, 1000):
        part = images(min(1000, n - start))
        for i, x in enumerate(part.x.permute(0, 2, 3, 1).numpy(), start):
            (folder := place / str(n) / str(i % 10)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(x).save(folder / f"{i}.png", compress_level=1)
    return Folder(root=place / str(n))


def classifier_step(classes):
    settings = MLPSettings(width=256, depth=3)
    net = Classifier(settings.build_classifier((2,), classes), EDM(), shape=(2,), names=[*map(str, range(classes))])
    x, y = torch.randn(256, 2), torch.arange(256) % classes
    t, eps = torch.ones(256, dtype=torch.float64), torch.randn(256, 2)
    return lambda: cross_entropy_loss(net, x, y, t, eps).mean().backward()


def drawn(n, place):
    network, shape = MLPSettings(width=16, depth=1), (3, SIDE, SIDE)
    model = Generator(network.build_generator(shape, 10, 64), shape, [*"0123456789"], network=network)
    model.save(place / "generator")
    command = ["--threads", "1", "sample", "--generator", str(place / "generator"), "--n", str(n)]
    return lambda: CliRunner().invoke(app, [*command, "--out", str(place / f"samples-{n}")], catch_exceptions=False)


def oracle(points):
    means = torch.randn(points, 64, dtype=torch.float64, generator=keyed_generator(0))
    exact = Oracle(EDM(), means, torch.arange(points) % 10, 10)
    x, y = torch.randn(64, 64, dtype=torch.float64), torch.arange(64) % 10
    return lambda: exact.scores(x, torch.ones(64, dtype=torch.float64), y)


def features(n):
    return [torch.randn(n, 64, generator=keyed_generator(seed), dtype=torch.float64) for seed in (0, 1)]


def later(work, *given):
    """The work, with what it is given made before."""
    return lambda: work(*given)


def parts(place, most):
    """Name and powers of ten of each part, and what makes the work of a size."""
    sets, few, classes = range(3, most + 1), range(2, most), range(1, 5)
    yield "fingerprint and spread of a set", sets, lambda n: later(known, images(n))
    yield "parts of a set of ten classes", sets, lambda n: later(split, images(n))
    yield "parts of a set of 100,000, by classes", classes, lambda k: later(split, images(10**5, k))
    yield "spread in classes of 100,000, by classes", classes, lambda k: later(spread, features(10**5)[0], k)
    yield "step of a classifier, by classes", classes, classifier_step
    yield "a folder of images, first time", range(2, most + 1), lambda n: later(image_folder(n, place).load, "train")
    yield "the same, again", range(2, most + 1), lambda n: later(Folder(root=place / str(n)).load, "train")
    yield "samples in one step, as PNG", few, lambda n: drawn(n, place)
    yield "oracle, scores of 64 points, by components", sets, oracle
    for name, metric in METRICS.items():
        powers = few if name != NEIGHBOURS else range(2, 5)  # an evaluation looks at 10,000 at most
        yield f"{name}, by samples", powers, lambda n, metric=metric: later(metric, *features(n))


def main(json: JsonFile = None, full: Full = False, most: int = 0) -> None:
    torch.set_num_threads(1)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for name, sizes, make in parts(Path(folder), most or (6 if full else 4)):
            seconds: list[float] = []
            for power in sizes:
                work = make(10**power)

                def timed(work=work, seconds=seconds):
                    started = time.process_time()
                    work()
                    seconds.append(time.process_time() - started)

                memory = peak_memory(timed, CPU)
                size = f"n = {10**power:,}"
                console.print(f"{name}, {size}: {seconds[-1]:.3g} s, {memory:.0f} MB")
                figures.append(Figure("time", name, size, "s", seconds[-1]))
                figures.append(Figure("memory", name, size, "MB", memory))
            exponent = math.log10(seconds[-1] / seconds[-2])
            figures.append(Figure("exponent", name, "between the last two sizes", "", exponent))
    finish(figures, json)


if __name__ == "__main__":
    run(main)
