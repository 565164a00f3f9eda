"""What evaluations of the denoiser buy, for every sampler: digits with trained models, unguided and guided, and exact.

    uv run tests/benchmarks/work_precision.py --full --json assets/samplers.json --picture assets/samplers.png

Yardsticks: sliced Wasserstein (SW) and Frechet distance (FD) of pixels in [-1, 1] to the training images; class
accuracy by a support vector machine; and, for samplers without noise, the error of the flow: the root mean square
distance of each sample from where the model's probability flow leads from the same seed (Heun, 199 evaluations), which
no number of samples blurs. "exact scores" is the oracle of 300 training images, so that all error is the sampler's.
Models are those of recipes/digits.yaml (2 minutes a seed, kept). --full: 3 seeds, 20 minutes; quick: 1 seed.
"""

import statistics
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from bench import Figure, Full, JsonFile, Picture, finish, rows_over_seeds, run
from matplotlib.figure import Figure as Drawing
from sliced import directions, sliced_wasserstein

import condgen as cg
from condgen.metrics.features import extract, pixels
from condgen.metrics.frechet import Gaussian, frechet_distance
from condgen.metrics.judge import Judge
from condgen.recipes.compose import load_recipe
from condgen.recipes.guidance import Guidance
from condgen.rng import keyed_generator
from condgen.runs.models import Folders, open_guided
from condgen.runs.plan import run_recipe
from condgen.samplers.catalogue import build_sampler, grid_for, points_within
from condgen.samplers.draw import draw
from condgen.training.distributed import Processes

SW, FD, FLOW = "SW", "FD", "error of the flow"
SOLVERS = ("unipc", "dpm++2m", "ddim", "heun")  # of the probability flow
QUICK = {"unipc": (10, 20), "dpm++2m-sde": (20,), "heun": (19,), "euler-maruyama": (100,)}
PLAN = {  # evaluations of every sampler, or, below one, tolerances
    **dict.fromkeys((*SOLVERS, "edm", "dpm++2m-sde"), (5, 10, 20, 50, 100)),
    **dict.fromkeys(("ancestral", "consistent-annealed"), (5, 10, 20, 50, 100, 200)),
    **dict.fromkeys(("reverse-diffusion", "predictor-corrector", "annealed-langevin"), (20, 50, 100, 200)),
    "euler-maruyama": (20, 50, 100, 200, 1000),
    "adaptive-ode": (0.5, 0.2, 0.05, 0.01),
    "adaptive-sde": (0.5, 0.2, 0.1, 0.05),
}


def drawn(denoiser, name, budget, first, y, shape):
    """Samples with seeds from `first`, the mean evaluations, and the seconds; None where one is not finite."""
    sampler = build_sampler(name, denoiser, {"relative": budget} if budget < 1 else {})
    grid = grid_for(sampler, points_within(sampler, budget)) if isinstance(sampler, cg.Sampler) else None
    started = time.perf_counter()
    done = [one for batch in draw(sampler, grid, range(first, first + len(y)), y, shape, len(y)) for one in batch]
    seconds = time.perf_counter() - started
    x = torch.stack([one.x for one in sorted(done, key=lambda one: one.number)])
    found = x, statistics.fmean(one.evaluations for one in done), seconds
    return None if any(one.problem for one in done) else found


def measure(problem, denoiser, seed, y, shape, measures, plan) -> list[Figure]:
    """Every measure of every sampler at every budget; with a picture's coordinates among them."""
    first, figures = (seed + 1) * 1_000_000, []
    flow, _, _ = drawn(denoiser, "heun", 199, first, y, shape)
    for name, budgets in plan.items():
        for budget in budgets:
            found = drawn(denoiser, name, budget, first, y, shape)
            if found is None:
                continue
            x, evaluations, seconds = found
            values = {what: judge(x) for what, judge in measures.items()}
            if name in SOLVERS or name == "adaptive-ode":
                values[FLOW] = float((x - flow).double().square().mean().sqrt())
            values |= {"evaluations": evaluations, "seconds for 1,000": 1000 * seconds / len(y)}
            variant = f"{name}, {f'relative {budget:g}' if budget < 1 else f'at most {budget} evaluations'}"
            figures += [Figure(what, variant, f"{problem}; n = {len(y)}", "", value) for what, value in values.items()]
    return figures


def distances(reference):
    along = directions(reference[0].numel(), 200, keyed_generator(271828))
    extractor = pixels(tuple(reference.shape[1:]))
    fitted = Gaussian.fit(extract(extractor, reference))
    return {
        SW: lambda x: sliced_wasserstein(x, reference, along),
        FD: lambda x: frechet_distance(Gaussian.fit(extract(extractor, x)), fitted),
    }


def picture(figures, path: Path) -> None:
    """SW and the error of the flow against evaluations, a column a problem."""
    points = {}
    for row in rows_over_seeds(figures):
        points.setdefault((row["size"], row["variant"]), {})[row["what"]] = row["value"]
    sizes = list(dict.fromkeys(size for size, _ in points))
    drawing = Drawing(figsize=(5 * len(sizes), 7), layout="constrained")
    for column, size in enumerate(sizes):
        for place, what in enumerate((SW, FLOW)):
            axes = drawing.add_subplot(2, len(sizes), place * len(sizes) + column + 1)
            for number, name in enumerate(PLAN):
                line = sorted(
                    (found["evaluations"], found[what])
                    for (where, variant), found in points.items()
                    if where == size and variant.split(",")[0] == name and what in found
                )
                if line:
                    axes.plot(*zip(*line, strict=True), marker="os^D"[number % 4], color=f"C{number % 10}", label=name)
            axes.set(xscale="log", yscale="log", title=size, xlabel="evaluations", ylabel=what)
    drawing.axes[0].legend(fontsize=7)
    drawing.savefig(path, dpi=130)


def main(
    json: JsonFile = None,
    full: Full = False,
    picture_file: Picture = None,
    n: Annotated[int, typer.Option(help="Samples a sampler, problem and seed.")] = 360,
    out: Annotated[Path, typer.Option(help="Of the runs, which are kept.")] = Path("runs/benchmarks/digits"),
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of recipes/digits.yaml.")] = None,
) -> None:
    parts = ("evaluate=false", "sample=null", "generators={}", "diagnose=null", "calibrate=null")  # only the models
    recipe = load_recipe(Path("recipes/digits.yaml"), (*parts, *(overrides or ())))
    torch.set_num_threads(1)
    train, test = cg.load_data(recipe.data, "train"), cg.load_data(recipe.data, "test")
    measures, y, seen = distances(train.floats()), torch.arange(n) % train.n_classes, pixels(train.shape)
    judge = Judge(extract(seen, train.floats()), train.y)
    plan, figures = PLAN if full else QUICK, []
    for seed in range(3 if full else 1):
        place = out / f"seed-{seed}"
        list(run_recipe(recipe.model_copy(update={"seed": seed}), place, Processes(cpu=True), "work_precision"))
        for scale in (0.0, 1.5):
            guidance = Guidance(classifier="dlsm", scale=scale) if scale else Guidance()
            denoiser = open_guided(guidance, Folders.of_run(recipe, place), torch.device("cpu"))[0]
            judged = {"class accuracy": lambda x: judge.accuracy(extract(seen, x), y)} if scale else {}
            name = f"digits, guided at scale {scale:g}" if scale else "digits, unguided"
            figures += measure(name, denoiser, seed, y, train.shape, measures | judged, plan)
        few = train.floats(torch.arange(300))
        oracle = cg.Oracle(recipe.schedule, few, torch.zeros(300, dtype=torch.int64), 1)
        figures += measure("exact scores", oracle, seed, 0 * y, train.shape, {SW: distances(few)[SW]}, plan)
    real = "real images, held out", f"digits, unguided; n = {len(test)}", ""
    figures += [Figure(what, *real, measured(test.floats())) for what, measured in measures.items()]
    finish(figures, json)
    if picture_file is not None:
        picture(figures, picture_file)


if __name__ == "__main__":
    run(main)
