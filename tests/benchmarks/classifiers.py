"""Other ways to learn a likelihood score, for as long as DLSM takes, by their posterior scores on held-out data.

    uv run tests/benchmarks/classifiers.py runs/digits/score --full --json assets/classifiers.json    (20 minutes)
    uv run tests/benchmarks/classifiers.py assets/pretrained/cifar10/score --full --steps 300 --per-class 50 ...

Below zero in the table, a way is nearer to the true posterior score than DLSM from random weights. All train by Adam
with a rate that falls to zero, milliseconds a step measured in turns; the prior's estimates at `--pool` noised images
are computed first, for all. A head sees the activations of the score model's network.
"""

import copy
import math
from pathlib import Path
from typing import Annotated

import torch
import typer
from balance import LEVELS, over_seeds
from bench import Figure, Full, JsonFile, Rounds, Seeds, console, device, finish, run, take_turns
from torch import nn
from torch.nn import functional as F

import condgen as cg
from condgen import perturb
from condgen.losses.base import gradient_of
from condgen.recipes.schema import ScoreStage
from condgen.rng import keyed_generator
from condgen.runs.folder import read_settings
from condgen.schedules import LogNormal, expand


class Plain(cg.Classifier):
    """A classifier with the usual network; `parts` name the terms of its loss."""

    def __init__(self, prior, parts, dropout=0.0, net=None):
        names = prior.names
        if net is None and len(prior.shape) == 3 and prior.shape[1] >= 16:
            net = cg.ResNetSettings(width=16, blocks=(1, 1, 1, 1), dropout=dropout)
        if not isinstance(net, nn.Module):
            net = (net or cg.MLPSettings(width=256, dropout=dropout)).build_classifier(prior.shape, len(names))
        super().__init__(net, prior.schedule, prior.shape, names, sigma_data=prior.sigma_data)
        self.parts, self.prior = parts, (prior,)  # a tuple, so that it is no part of the weights
        self.needs_prior = bool(parts & {"dlsm", "potential", "free"} and "joint" not in parts)

    def guided(self):
        return cg.ClassifierGuided(self.prior[0], self)

    def loss(self, x, y, t, eps, prior_eps):
        x_t = perturb(self.schedule, x, t, eps)
        log_p = self(x_t, t) if self.parts - {"dlsm", "frozen", "joint"} else None
        found = F.nll_loss(log_p, y, reduction="none") if "ce" in self.parts else 0.0
        if "dlsm" in self.parts:
            found = found + cg.dlsm_loss(self, prior_eps, x, y, t, eps)
        if "calibration" in self.parts:  # Javid et al. 2025 (arXiv 2511.05844)
            confidence, guess = log_p.exp().max(1)
            found = found + 0.5 * ((confidence - (guess == y).float()) ** 2 + 1e-2).sqrt()
        if "adversarial" in self.parts:  # half a noise level towards what is least like the class
            with torch.no_grad():
                gradient = gradient_of(self, x_t, t, y)[1]
            length = 0.5 * expand(self.schedule.sigma(t), x_t) / expand(gradient.flatten(1).norm(dim=1) + 1e-12, x_t)
            found = found + F.cross_entropy(self(x_t - length * gradient, t), y, reduction="none")
        if "consistent" in self.parts:  # p(y | x_t) = E[p(y | x_s) | x_t], s at half the noise level
            level = self.schedule.noise_level(t)
            s = self.schedule.t_of_noise_level(level / 2)
            less = expand(level / 2, x) * torch.randn_like(x)
            more = x + less + expand(level * 0.75**0.5, x) * torch.randn_like(x)
            with torch.no_grad():
                target = self(expand(self.schedule.alpha(s), x) * (x + less), s).exp()
            target = 0.5 * target + 0.5 * F.one_hot(y, len(self.names))
            found = found + F.cross_entropy(self(expand(self.schedule.alpha(t), x) * more, t), target, reduction="none")
        return found


class Head(nn.Module):
    """A small network on the activations of a score model's; x (B, *shape), noise (B,) -> logits (B, K)."""

    def __init__(self, prior, dropout, tuned):
        super().__init__()
        trunk = copy.deepcopy(prior.net).train(False).requires_grad_(tuned)
        self.trunk = (trunk,)
        if tuned:
            self.own = trunk
        with torch.no_grad():
            size = tuple(self.activations(torch.zeros(1, *prior.shape), torch.zeros(1)).shape[1:])
        net = cg.MLPSettings(width=256, depth=1, dropout=dropout)
        if len(size) == 3:
            net = cg.ResNetSettings(width=64, blocks=(1,), dropout=dropout)
        self.head = net.build_classifier(size, len(prior.names))

    def activations(self, x, noise):
        """Of the middle of a U-Net, (B, C, H, W), or of every block of a perceptron, (B, depth * width)."""
        (net,), found = self.trunk, []
        embedding = net.conditioning(noise)
        if hasattr(net, "trunk"):
            h = net.trunk.enter(x.flatten(1))
            for block in net.trunk.blocks:
                found.append(h := block(h, embedding))
            return torch.cat(found, dim=1)
        h = net.enter(x)
        for block in (*net.encoder, *net.middle):
            h = block(h, embedding)
        return h

    def forward(self, x, noise):
        return self.head(self.activations(x, noise), noise)


class OnPrior(Plain):
    """With a head on the activations of the prior, whose own copy may learn too, also its own loss."""

    def __init__(self, prior, parts, dropout=0.0):
        super().__init__(prior, parts, net=Head(prior, dropout, "frozen" not in parts))
        if "joint" in parts:
            own = cg.ScoreModel(self.net.own, prior.schedule, prior.shape, prior.names, sigma_data=prior.sigma_data)
            self.prior = (own,)

    def loss(self, x, y, t, eps, prior_eps):
        if "joint" not in self.parts:
            return super().loss(x, y, t, eps, prior_eps)
        with torch.no_grad():
            prior_eps = self.prior[0].eps(perturb(self.schedule, x, t, eps), t)
        return super().loss(x, y, t, eps, prior_eps) + cg.score_matching_loss(self.prior[0], x, t, eps)


class Unnormalised(Plain):
    """Any potential of image and class: its gradient is trained by DLSM alone. Or, `free`, any field."""

    def __init__(self, prior, parts, dropout=0.0):
        super().__init__(prior, parts, dropout)
        if "free" in parts:
            settings = cg.UNetSettings(channels=16) if prior.shape[1:] > (8, 8) else cg.MLPSettings(width=256)
            self.net = settings.build_denoiser(prior.shape, len(prior.names))

    def score(self, x_t, t, y):
        c, differentiable = self.coefficients(x_t, t), torch.is_grad_enabled()
        if "free" in self.parts:
            return self.net(c.c_in * x_t, c.c_noise, y) / expand(self.schedule.sigma(t), x_t)
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            potential = self.net(c.c_in * x_t, c.c_noise).gather(1, y[:, None]).sum()
            return torch.autograd.grad(potential, x_t, create_graph=differentiable)[0]

    def loss(self, x, y, t, eps, prior_eps):
        x_t = perturb(self.schedule, x, t, eps)
        residual = expand(self.schedule.sigma(t), x) * self.score(x_t, t, y) - (prior_eps - eps)
        return self.schedule.noise_level(t).float() * residual.square().flatten(1).sum(1) / 2


WAYS = {
    "dlsm": (Plain, {"dlsm"}),
    "ce": (Plain, {"ce"}),
    "ce, smooth calibration": (Plain, {"ce", "calibration"}),
    "ce, adversarial": (Plain, {"ce", "adversarial"}),
    "ce, consistent over noise": (Plain, {"ce", "consistent"}),
    "dlsm, smooth calibration": (Plain, {"dlsm", "calibration"}),
    "ce, head on the prior": (OnPrior, {"ce", "frozen"}),
    "dlsm, head on the prior": (OnPrior, {"dlsm", "frozen"}),
    "dlsm, from the prior's weights": (OnPrior, {"dlsm"}),
    "dlsm, with the prior on one trunk": (OnPrior, {"dlsm", "joint"}),
    "dlsm, unnormalised": (Unnormalised, {"potential"}),
    "free field": (Unnormalised, {"free"}),
}


class Training:
    """Batches of noised data with the prior's estimates, fresh ones or from a pool, and steps of Adam."""

    def __init__(self, prior, data, batch, pool):
        self.prior, self.data, self.batch, self.flip = prior, data, batch, data.shape[-1] >= 16
        generator = keyed_generator(0)
        self.pool = [self.fresh(min(128, pool - start), generator) for start in range(0, pool, 128)]
        self.pool = [torch.cat(parts) for parts in zip(*self.pool, strict=True)]

    @torch.no_grad()
    def fresh(self, n, generator, ask=True):
        rows = torch.randint(len(self.data), (n,), generator=generator)
        x, y = self.data.floats(rows), self.data.y[rows]
        if self.flip:
            x = torch.where(torch.rand(n, 1, 1, 1, generator=generator) < 0.5, x.flip(-1), x)
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        t = LogNormal(mean=0, std=1.2).quantile(self.prior.schedule, u)
        eps = torch.randn(x.shape, generator=generator)
        return x, y, t, eps, self.prior.eps(perturb(self.prior.schedule, x, t, eps), t) if ask else None

    def draw(self, generator, ask):
        if not self.pool:
            return self.fresh(self.batch, generator, ask)
        rows = torch.randint(len(self.pool[0]), (self.batch,), generator=generator)
        return [column[rows] for column in self.pool]

    def steps(self, way, count, seed):
        """Yields after each step; the last one leaves averaged weights, those of no step else."""
        lr = 1e-3 if isinstance(way, OnPrior) else 2e-3
        generator, parameters = keyed_generator(seed), [p for p in way.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=lr)
        average = [p.detach().clone() for p in parameters]
        for step in range(count):
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1, (step + 1) / 20) * (1 + math.cos(math.pi * step / count)) / 2
            loss = way.loss(*self.draw(generator, way.needs_prior)).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            torch._foreach_lerp_(average, parameters, 1 - min(0.995, step / (step + 10)))
            yield
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.data.copy_(mean)


def main(
    score: Annotated[Path, typer.Argument(help="A folder of condgen train-score.")],
    json: JsonFile = None,
    full: Full = False,
    only: Annotated[str, typer.Option(help="Ways, separated by semicolons; all by default.")] = "",
    steps: Annotated[int, typer.Option(help="Of DLSM; a tenth without --full.")] = 1000,
    images: Annotated[int, typer.Option(help="At most so many held-out images.")] = 1000,
    draws: Annotated[int, typer.Option(help="Noise draws an image.")] = 4,
    split: Annotated[str, typer.Option(help="validation, or test.")] = "validation",
    per_class: Annotated[int | None, typer.Option(help="Labels of every class; all by default.")] = None,
    dropout: Annotated[float, typer.Option(help="In every network.")] = 0.0,
    batch: int = 256,
    pool: int = 0,
    seeds: Seeds = 3,
    rounds: Rounds = 5,
) -> None:
    torch.set_num_threads(1)
    steps, seeds = (steps, seeds) if full else (max(2, steps // 10), 1)
    prior, data = cg.ScoreModel.load(score, device()), ScoreStage.model_validate(read_settings(score)).data.load_all()
    held_out = getattr(data, split).at_most(images, keyed_generator(0))
    names = only.split(";") if only else list(WAYS)

    def ready(name, seed):
        torch.manual_seed(seed)
        kind, parts = WAYS[name]
        return kind(prior, parts, dropout)

    calls = {}
    for name in dict.fromkeys(["dlsm", *names]):
        work = Training(prior, data.train, batch, min(pool, 2 * batch)).steps(ready(name, 0).train(), 10**6, 0)
        calls[name] = lambda work=work: next(work)
    ms = take_turns(calls, rounds, device())
    figures, methods = [Figure("cost", name, "a step", "ms", value) for name, value in ms.items()], {"zero": prior}
    for seed in range(seeds):
        training = Training(prior, data.train.per_class(per_class, keyed_generator(seed)), batch, pool)
        for name in names:
            way, count = ready(name, seed).train(), round(steps * ms["dlsm"] / ms[name])
            for _ in training.steps(way, count, seed):
                pass
            methods[f"{name}/{seed}"] = way.eval().guided()
            figures.append(Figure("steps", name, "a step", "", count))
            console.print(f"{name}, seed {seed}: {count} steps")
    rows, references = [], [f"dlsm/{seed}" for seed in range(seeds)]
    for row in cg.held_out_differences(methods, references, held_out.x, held_out.y, LEVELS, draws=draws):
        name, _, seed = row.method.partition("/")
        if seed in ("", row.reference.rpartition("/")[2]):
            rows.append(row.model_copy(update={"method": name, "reference": "dlsm"}))
    for row in over_seeds(rows):
        figures.append(Figure(f"{row.sigma:g}", row.method, "minus DLSM", "", 1e3 * row.mean))
        figures.append(Figure(f"{row.sigma:g}", row.method, "standard error", "", 1e3 * row.se))
    about = {"data": data.train.source, "images": len(held_out), "draws": draws, "split": split, "pool": pool}
    finish(figures, json, per_class=per_class, dropout=dropout, unit="1e-3 sigma^2 a dimension", **about)


if __name__ == "__main__":
    run(main)
