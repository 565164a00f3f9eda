"""What exact scores cost and how exact they are: the oracle of a training set at twelve noise levels.

    CONDGEN_DATA=DIR uv run tests/benchmarks/oracle.py --full --json assets/oracle.json    (CIFAR-10: 8 minutes)

`Oracle.scores_along`, whose matrix products serve all noise levels, next to plain sums over all components in float64;
without --full on digits, in 20 s.
"""

import torch
from bench import Figure, Full, JsonFile, Rounds, device, finish, peak_memory, run, take_turns

from condgen.data.sets import load, parse_data
from condgen.diagnostics.score_errors import draw_queries
from condgen.oracle import ExactScores, Oracle
from condgen.rng import keyed_generator
from condgen.schedules import EDM

LEVELS = tuple(round(float(level), 4) for level in torch.logspace(-2, 1.7, 12, dtype=torch.float64))


def plain_scores(data, x_t, sigma, y) -> ExactScores:
    """Scores of the set noised by sigma at (B, ...), straight from their definition, all in float64."""
    x, points = x_t.flatten(1), data.floats().flatten(1)
    parts = [part.double() for part in points.split(2000)]
    logits = torch.cat([2 * (x @ part.T) - part.square().sum(1) for part in parts], 1) / (2 * sigma**2)

    def mean(weights):
        return sum(w @ part for w, part in zip(weights.softmax(1).split(2000, 1), parts, strict=True))

    of_class = mean(logits.masked_fill(data.y != y[:, None], -torch.inf))
    marginal = mean(logits)
    scores = (marginal - x) / sigma**2, (of_class - x) / sigma**2, (of_class - marginal) / sigma**2
    return ExactScores(*(score.view(x_t.shape) for score in scores))


def greatest_error(found: list[ExactScores], exact: list[ExactScores]) -> float:
    """The greatest distance of a prior or posterior score, in root mean square lengths of the exact one."""
    errors = []
    for ours, truth in zip(found, exact, strict=True):
        for score, expected in ((ours.prior, truth.prior), (ours.posterior, truth.posterior)):
            length = expected.flatten(1).square().sum(1).mean().sqrt()
            errors.append(float((score - expected).flatten(1).norm(dim=1).max() / length))
    return max(errors)


def main(json: JsonFile = None, full: Full = False, queries: int = 1000, rounds: Rounds = 1) -> None:
    where, figures = device(), []
    for name in ("digits", "cifar10") if full else ("digits",):
        data = load(parse_data(name), "train").to(where)
        schedule = EDM(sigma_min=LEVELS[0] / 2, sigma_max=2 * LEVELS[-1])
        oracle = Oracle(schedule, data.x, data.y, data.n_classes).to(where)
        x, eps, y = draw_queries(oracle, min(queries, oracle.at_once), keyed_generator(0))
        times = [schedule.t_of_noise_level(torch.tensor(level)) for level in LEVELS]
        ways = {
            "condgen": lambda o=oracle, q=(x, eps, times, y): [scores for _, scores in o.scores_along(*q)],
            "plain float64": lambda d=data, x=x, eps=eps, y=y: [
                plain_scores(d, x.double() + level * eps, level, y) for level in LEVELS
            ],
        }
        size = f"{data.source}: {len(data):,} images, {len(y)} queries, {len(LEVELS)} noise levels"
        figures += [Figure("memory", who, size, "MB", peak_memory(way, where)) for who, way in ways.items()]
        for who, ms in take_turns(ways, rounds, where).items():
            figures.append(Figure("time of 1,000 queries", who, size, "s", ms / len(y)))
        error = greatest_error(ways["condgen"](), ways["plain float64"]())
        figures.append(Figure("greatest error", "condgen", size, "of a score's length", error))
    finish(figures, json, rounds=rounds)


if __name__ == "__main__":
    run(main)
