"""Generated points that move freely along the gradient of each objective, under exact judges.

    uv run tests/benchmarks/particles.py --full --json assets/particles.json --picture assets/generator-bias.png

A generator without a network: what its objective does to a distribution. Points start from N(0, 0.5^2) and move by
Adam, one draw of noise a step; after every step the judges are the exact denoisers of the real data and of the points
(see fixed_points.py). Real data: N(0, 1); two modes of weights 0.7 and 0.3; two moons, a class each. It takes 2
minutes; without --full 40 seconds.
"""

from typing import Annotated

import torch
import typer
from bench import Figure, Full, JsonFile, Picture, finish, run
from fixed_points import LEVELS, Objective, exact_loss, schedule_of
from matplotlib.figure import Figure as Drawing
from sliced import directions, sliced_wasserstein

from condgen.data import Moons, load
from condgen.oracle import Oracle
from condgen.rng import keyed_generator

OBJECTIVES = (Objective("smm"), Objective("dmd"), Objective("sid"))


def mixture(levels, means, labels, std, weights=None) -> Oracle:
    """Real data: Gaussians with labels, whose exact scores are known at the levels."""
    means, labels = torch.as_tensor(means, dtype=torch.float64), torch.as_tensor(labels)
    return Oracle(schedule_of(levels), means, labels, int(labels.max()) + 1, stds=std, weights=weights)


def normal(levels) -> Oracle:
    return mixture(levels, [[0.0]], [0], 1.0)


def two_modes(levels) -> Oracle:
    """0.7 of N(-1, 0.3^2) and 0.3 of N(1, 0.3^2), one class."""
    return mixture(levels, [[-1.0], [1.0]], [0, 0], 0.3, torch.tensor([0.7, 0.3]))


def moons(levels) -> Oracle:
    """Two half circles, each of 100 Gaussians, of standard deviation one in all."""
    data = load(Moons(n=200), "train")
    return mixture(levels, data.floats().double() / data.standard_deviation(), data.y, 0.1)


def follow(objective: Objective, real: Oracle, levels, n: int, steps: int, seed: int, rate: float = 0.05):
    """Where n points of alternating classes end, (n, D) float64, and their labels."""
    y, shape = torch.arange(n) % real.n_classes, real.shape
    start = torch.randn(n, *shape, generator=keyed_generator(seed, 0), dtype=torch.float64)
    x = (0.5 * start).requires_grad_()
    adam = torch.optim.Adam([x], lr=rate, betas=(0.5, 0.99))
    for step in range(steps):
        draws = keyed_generator(seed, 1, step)
        u = (torch.randperm(n, generator=draws) + torch.rand((), generator=draws, dtype=torch.float64)) / n
        eps = torch.randn(n, *shape, generator=draws, dtype=torch.float64)
        fake = Oracle(real.schedule, x.detach().clone(), y, real.n_classes)
        (x.grad,) = torch.autograd.grad(exact_loss(objective, real, fake, levels, x, u, eps, y).sum(), x)
        adam.param_groups[0]["lr"] = rate * min(1.0, 2 * (1 - step / steps))
        adam.step()
    return x.detach(), y


def picture(found, path) -> None:
    """Points on the plane, a row a list of noise levels; the data set the limits."""
    columns, rows = ["data", *map(str, OBJECTIVES)], list(dict.fromkeys(name for name, _ in found))
    drawing = Drawing(figsize=(3 * len(columns), 2.2 * len(rows)), layout="constrained")
    axes = drawing.subplots(len(rows), len(columns), squeeze=False)
    for i, name in enumerate(rows):
        limits = found[name, "data"][0].aminmax(dim=0)
        for j, column in enumerate(columns):
            x, y = found[name, column]
            axes[i][j].scatter(*x.T, c=[f"C{label}" for label in y.tolist()], s=4)
            axes[i][j].set(
                xlim=(limits.min[0] - 0.5, limits.max[0] + 0.5), ylim=(limits.min[1] - 0.5, limits.max[1] + 0.5)
            )
            axes[i][j].set_title(column if column == "data" else f"{column}; noise levels {name}", fontsize=9)
    drawing.savefig(path, dpi=130)


def main(
    json: JsonFile = None,
    picture_file: Picture = None,
    full: Full = False,
    n: Annotated[int | None, typer.Option(help="Points.")] = None,
    steps: int = 150,
) -> None:
    n = n or (600 if full else 150)
    names, seeds = ("0.2 0.5 1", "1 2 3", "of T = 10") if full else ("0.2 0.5 1", "1 2 3"), 3 if full else 1
    along, figures, found = directions(2, 64, keyed_generator(3)), [], {}
    for name in names:
        levels = LEVELS[name]
        for seed in range(seeds):
            data = moons(levels).sample(n, keyed_generator(seed, 2))
            found.setdefault((name, "data"), data)
            for objective in OBJECTIVES:

                def add(what, value, objective=objective, name=name) -> None:
                    figures.append(Figure(what, str(objective), f"{n} points, noise levels {name}", "", float(value)))

                add("std for N(0, 1)", follow(objective, normal(levels), levels, n, steps, seed)[0].std())
                modes = follow(objective, two_modes(levels), levels, n, steps, seed)[0]
                add("weight of the mode of .3", (modes > 0).double().mean())
                points = follow(objective, moons(levels), levels, n, steps, seed)
                found.setdefault((name, str(objective)), points)
                add("SW to moons", sliced_wasserstein(points[0], data[0], along))
    finish(figures, json)
    if picture_file is not None:
        picture(found, picture_file)


if __name__ == "__main__":
    run(main)
