"""What a sampling loop costs around a network, ours and those of k-diffusion, diffusers and azula.

    uv run --group bench tests/benchmarks/speed.py --full --json assets/speed.json    (5 minutes; quick: 30 s)

All loops drive the same network on the same batch with equally many evaluations, and take turns in one run. The
network's output stands for whatever a loop expects of it, so none pays for a conversion. A small U-Net tells whether
the loop is worth a thought; a network that only scales its input tells what a step of the loop costs in itself.
"""

import importlib
import sys
import warnings
from types import ModuleType

import azula.denoise
import azula.noise
import azula.sample
import diffusers
import torch
from bench import Figure, Full, JsonFile, Rounds, device, finish, run, take_turns

from condgen import EDM, Denoiser, Streams, UNetSettings, build_sampler, trajectory
from condgen.samplers.catalogue import grid_for, points_within
from condgen.samplers.draw import draw
from condgen.score import ScoreConfig

SHAPE, SAMPLERS = (3, 32, 32), ("heun", "dpm++2m", "ancestral", "ddim")
sys.modules.setdefault("clip", ModuleType("clip"))  # k-diffusion's metrics import it; its samplers do not need it
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    k_diffusion = importlib.import_module("k_diffusion.sampling")


class OutputAsEstimate(Denoiser):
    """A network's output as it is, for a denoised estimate."""

    def __init__(self, network) -> None:
        super().__init__()
        self.network, self.schedule = network, EDM()

    def forward(self, x_t, t, y=None):
        condition = self.schedule.noise_level(t).log() / 4
        return self.network(x_t, condition.to(x_t.device, x_t.dtype).expand(len(x_t)))


def condgen_loop(name, network, x, evaluations):
    sampler = build_sampler(name, OutputAsEstimate(network))
    grid = grid_for(sampler, points_within(sampler, evaluations))
    return lambda: [*trajectory(sampler, grid, Streams(range(len(x)), x.device), None, SHAPE)][-1].x


def k_diffusion_loop(name, network, x, evaluations):
    names = {"heun": "heun", "dpm++2m": "dpmpp_2m", "ancestral": "euler_ancestral", "ddim": "euler"}
    steps = (evaluations + 1) // 2 if name == "heun" else evaluations
    sigmas = k_diffusion.get_sigmas_karras(steps, 0.002, 80.0, device=x.device)
    solve = torch.no_grad()(getattr(k_diffusion, f"sample_{names[name]}"))
    return lambda: solve(
        lambda x_t, sigma: network(x_t, sigma.log() / 4), torch.randn_like(x) * sigmas[0], sigmas, disable=True
    )


def diffusers_loop(name, network, x, evaluations):
    linear = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    make, steps = {
        "heun": (diffusers.HeunDiscreteScheduler, (evaluations + 1) // 2),
        "dpm++2m": (diffusers.DPMSolverMultistepScheduler, evaluations),
        "ancestral": (diffusers.EulerAncestralDiscreteScheduler, evaluations),
        "ddim": (diffusers.DDIMScheduler, evaluations),
    }[name]
    scheduler = make(**linear, **({"clip_sample": False} if name == "ddim" else {}))

    @torch.no_grad()
    def loop():
        scheduler.set_timesteps(steps, device=x.device)
        x_t = torch.randn_like(x) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            condition = ((t.to(x.dtype) + 1) / 1000).expand(len(x))
            x_t = scheduler.step(network(scheduler.scale_model_input(x_t, t), condition), t, x_t).prev_sample
        return x_t

    return loop


class DiracEstimate(azula.denoise.Denoiser):
    """The same for azula."""

    def __init__(self, network) -> None:
        super().__init__()
        self.network, self.schedule = network, azula.noise.VESchedule(0.002, 80.0)

    def forward(self, x_t, t):
        return azula.denoise.DiracPosterior(self.network(x_t, t.to(x_t).expand(len(x_t))))


def azula_loop(name, network, x, evaluations):
    estimate, steps = DiracEstimate(network), {"steps": evaluations, "silent": True}
    sampler = {
        "heun": lambda: azula.sample.HeunSampler(estimate, **steps | {"steps": evaluations // 2}),
        "dpm++2m": lambda: azula.sample.xEABSampler(estimate, order=2, **steps),
        "ancestral": lambda: azula.sample.DDPMSampler(estimate, **steps),
        "ddim": lambda: azula.sample.DDIMSampler(estimate, **steps),
    }[name]()
    return lambda: sampler(sampler.init(x.shape))


def adaptive_loop(name, batch, where):
    """Draws twice a batch around a network that costs nothing; and how many batches it evaluates meanwhile."""
    rows = []
    sampler = build_sampler(name, OutputAsEstimate(lambda x, condition: rows.append(len(x)) or 0.1 * x))
    for _ in draw(sampler, None, range(2 * batch), None, SHAPE, batch, where):
        pass
    return lambda: [*draw(sampler, None, range(2 * batch), None, SHAPE, batch, where)], sum(rows) / batch


def main(json: JsonFile = None, full: Full = False, batch: int = 64, evaluations: int = 9, rounds: Rounds = 3) -> None:
    where, figures = device(), []
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = UNetSettings(channels=16, multipliers=(1, 2), blocks=1, attention=())
    config = ScoreConfig(network=network, schedule=EDM(), shape=SHAPE, names=("any",), sigma_data=0.5)
    model = config.build().to(where).eval()
    networks = {"a network that only scales": lambda x, condition: 0.1 * x}
    if full:
        networks["a U-Net of .17 M weights"] = lambda x, condition: 0.1 * model.net(x, condition, None)
    x = torch.randn(batch, *SHAPE, device=where)
    peers = {"k-diffusion": k_diffusion_loop, "diffusers": diffusers_loop, "azula": azula_loop}
    made = {"condgen": condgen_loop, **peers}
    for size, net in networks.items():
        loops = {f"{s}, {who}": make(s, net, x, evaluations) for s in SAMPLERS for who, make in made.items()}
        alone = torch.no_grad()(lambda net=net: [net(x, torch.zeros_like(x[:, 0, 0, 0])) for _ in range(evaluations)])
        times = take_turns({**loops, "network alone": alone}, rounds, where)
        times = {variant: ms / evaluations for variant, ms in times.items()}
        times["heun, azula"] *= evaluations / (evaluations - evaluations % 2)  # it ends with a whole step
        for variant, ms in times.items():
            about = f"{size}, batch {batch} of 3x32x32, {evaluations} evaluations"
            figures.append(Figure("time", variant, about, "ms an evaluation", ms))
            if "," in variant:
                fastest = min(times[f"{variant.split(',')[0]}, {who}"] for who in peers)
                figures.append(Figure("relative", variant, about, "times of the fastest peer", ms / fastest))
    for size in (batch, 4 * batch):
        for name in ("adaptive-ode", "adaptive-sde"):
            loop, batches = adaptive_loop(name, size, where)
            ms = take_turns({name: loop}, rounds, where)[name] / batches
            about = f"a network that only scales, batch {size} of 3x32x32"
            figures.append(Figure("time", f"{name}, condgen", about, "ms an evaluation", ms))
    finish(figures, json, rounds=rounds)


if __name__ == "__main__":
    run(main)
