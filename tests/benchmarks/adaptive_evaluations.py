"""What the adaptive solver of the reverse SDE costs at a tolerance, next to the counts that its paper prints.

    CONDGEN_DATA=DIR uv run tests/benchmarks/adaptive_evaluations.py --full --json assets/adaptive-evaluations.json

"Gotta Go Fast" (Jolicoeur-Martineau et al. 2021, arXiv 2105.14080, table 1) counts two evaluations an attempt, until
the slowest sample of a batch is done. Step lengths depend on noise and data far more than on the network, so the exact
scores of CIFAR-10 images must give the same counts: data in [0, 1] for VE, in [-1, 1] for VP, an absolute tolerance of
one grey level, first steps of 0.01 of all time. It takes 2 minutes; without --full (30 s) digits stand in for CIFAR-10,
with other counts.
"""

import statistics

import torch
from bench import Figure, Full, JsonFile, device, finish, run

from condgen import VE, VP, Oracle, parse_data
from condgen.data.sets import load
from condgen.samplers.adaptive.solvers import AdaptiveSDE
from condgen.samplers.draw import draw

SETTINGS = {  # the paper's schedules, the least grey level, and its counts by tolerance
    "VE": (VE(sigma_min=0.01, sigma_max=50.0), 0.0, {0.01: 738, 0.02: 490, 0.05: 271, 0.10: 170}),
    "VP": (VP(beta_min=0.1, beta_max=20.0), -1.0, {0.01: 329, 0.02: 274, 0.05: 179, 0.10: 147}),
}


def main(json: JsonFile = None, full: Full = False, images: int = 1500, samples: int = 48) -> None:
    where, figures = device(), []
    data = load(parse_data("cifar10" if full else "digits"), "train")
    for name, (schedule, low, published) in SETTINGS.items():
        x = data.floats(torch.arange(min(images, len(data))))
        x = low + (x + 1) * 0.5 * (1 - low)
        oracle = Oracle(schedule, x.double(), torch.zeros(len(x), dtype=torch.int64), 1).to(where)
        for tolerance, count in published.items() if full else [*published.items()][-2:]:
            sampler = AdaptiveSDE(oracle, relative=tolerance, absolute=(1 - low) / 256)
            y = torch.zeros(samples, dtype=torch.int64, device=where)
            done = [one for batch in draw(sampler, None, range(samples), y, data.shape, samples) for one in batch]
            attempts = [one.accepted + one.rejected for one in done]
            size = f"{len(x):,} images of {data.source}, {samples} samples, as many at once"
            variant = f"{name}, relative {tolerance:g}"
            values = {"published": count, "as published counts": 2 * max(attempts)}
            values |= {"evaluations": statistics.fmean(one.evaluations for one in done)}
            values |= {"rejected": sum(one.rejected for one in done) / sum(attempts)}
            figures += [Figure(what, variant, size, "", value) for what, value in values.items()]
    finish(figures, json)


if __name__ == "__main__":
    run(main)
