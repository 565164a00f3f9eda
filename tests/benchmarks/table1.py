"""Table 1 of the DLSM paper (Chao et al. 2022) on the moons: score errors, and samples at one noise level.

    uv run tests/benchmarks/table1.py --full --json assets/table1.json    (10 minutes; quick: one seed, 1 minute)

Score errors are those of `diagnose` on the paper's grid. Samples are drawn by the probability flow from the highest
noise to that noise level and compared with noised data of their class by precision and recall (k = 5); the row "noised
data" holds fresh noised data, the best that either can be at this n.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from bench import Figure, Full, JsonFile, Seeds, finish, run

from condgen import Denoiser, Oracle, ScoreModel, Streams, perturb, trajectory
from condgen.data.sets import load
from condgen.metrics.neighbours import prdc
from condgen.recipes.compose import load_recipe
from condgen.rng import keyed_generator
from condgen.runs.folder import read_json
from condgen.runs.models import Folders, open_guided
from condgen.runs.plan import run_recipe
from condgen.samplers.heun import Heun
from condgen.schedules import karras_levels
from condgen.training.distributed import Processes


def noised_data(schedule, train, level, per_class, seed):
    """Noised data, class after class: (K per_class, 2)."""
    generator, parts = keyed_generator(seed), []
    t = schedule.t_of_noise_level(torch.tensor(level))
    for label in range(train.n_classes):
        rows = (train.y == label).nonzero()[:, 0]
        x = train.floats(rows[torch.randint(len(rows), (per_class,), generator=generator)])
        parts.append(perturb(schedule, x, t, torch.randn(x.shape, generator=generator)))
    return torch.cat(parts)


def flow_samples(denoiser: Denoiser, level, per_class, n_classes, seed):
    """Points at one noise level, class after class, from the highest noise by Heun's method on 24 noise levels."""
    schedule = denoiser.schedule
    grid = schedule.t_of_noise_level(karras_levels(level, schedule.noise_range[1], 24))
    y = torch.arange(n_classes).repeat_interleave(per_class)
    streams = Streams(range(seed * 1_000_000, seed * 1_000_000 + len(y)))
    steps = list(trajectory(Heun(denoiser), grid, streams, y, (2,)))
    return steps[-2].x  # the last one is the denoised estimate


def figures_of_run(recipe, run: Path, seed, per_class) -> list[Figure]:
    """Score errors on the grid, and precision and recall of samples, of one finished run."""
    level, figures = recipe.diagnose.grid.levels[0], []
    for row in read_json(run / "diagnostics.json")["rows"]:
        if row.get("weighting") == "grid" and row["sigma"] == level:
            size = f"noise level {level:g}, grid of {row['n']} queries"
            figures.append(Figure(row["quantity"], row["method"], size, "1/data unit", row["mean"]))
    train = load(recipe.data, "train")
    folders = Folders.of_run(recipe, run)
    denoisers = {
        "oracle": Oracle(recipe.schedule, train.floats(), train.y, train.n_classes),
        "zero guidance": ScoreModel.load(run / "score"),
    }
    for name, guidance in recipe.diagnose.methods.items():
        denoisers[name] = open_guided(guidance, folders, torch.device("cpu"))[0]
    real = noised_data(recipe.schedule, train, level, per_class, seed)
    samples = {"noised data": noised_data(recipe.schedule, train, level, per_class, 10_000 + seed)}
    for name, denoiser in denoisers.items():
        samples[name] = flow_samples(denoiser, level, per_class, train.n_classes, seed)
    for name, drawn in samples.items():
        for label, (ours, theirs) in enumerate(zip(drawn.split(per_class), real.split(per_class), strict=True)):
            found = prdc(theirs, ours, 5)
            size = f"noise level {level:g}, class {train.names[label]}, n = {per_class}"
            figures.append(Figure("precision", name, size, "", float(found.precision.mean())))
            figures.append(Figure("recall", name, size, "", float(found.recall.mean())))
    return figures


def main(
    json: JsonFile = None,
    full: Full = False,
    seeds: Seeds = 1,
    per_class: Annotated[int, typer.Option(help="Samples, and noised data, of each class.")] = 2000,
    out: Annotated[Path, typer.Option(help="Of the runs, which are kept.")] = Path("runs/benchmarks/moons"),
    overrides: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of recipes/moons.yaml.")] = None,
) -> None:
    seeds = max(seeds, 5) if full else seeds
    recipe = load_recipe(Path("recipes/moons.yaml"), overrides or ())
    torch.set_num_threads(1)
    figures = []
    for seed in range(seeds):
        run = out / f"seed-{seed}"
        for event in run_recipe(recipe.model_copy(update={"seed": seed}), run, Processes(cpu=True), "table1"):
            print(f"\r{seed}: {event.stage:40}", end="")
        figures += figures_of_run(recipe, run, seed, per_class)
    print()
    finish(figures, json, recipe=recipe.name)


if __name__ == "__main__":
    run(main)
