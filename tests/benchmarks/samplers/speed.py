"""What a sampling loop costs beside the network that it drives, and how ours compares with others.

All loops drive the same network on the same batch, with the same number of evaluations, and take turns in one run. The
network's output stands for whatever a loop expects of it, so none pays for a conversion that another does not need. Two
networks tell two things: a small U-Net, whether the loop is worth a thought; one that only scales its input, what a
step of the loop costs in itself. A machine's noise is more than a loop costs beside a U-Net; the quotient of the loop's
own cost and the U-Net's is free of it.
"""

from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor

from benchmarks.samplers.peers import Network, peer_loops
from benchmarks.seeds import Fact, rows_over_seeds
from benchmarks.timing import take_turns
from condgen.denoiser import Denoiser
from condgen.networks import UNetSettings
from condgen.rng import Streams
from condgen.samplers import FIXED, SamplerName, final, grid_for, points_within, trajectory
from condgen.schedules import EDM, Schedule
from condgen.score import ScoreConfig, ScoreModel

__all__ = ["BARE", "SAMPLERS_TIMED", "speed_rows"]

SAMPLERS_TIMED: tuple[SamplerName, ...] = ("heun", "dpm++2m", "ancestral", "ddim")
BARE = "network alone"
_SHAPE = (3, 32, 32)


class _Bare(Denoiser):
    """A network's output as it is, for a denoised estimate."""

    def __init__(self, network: Network, schedule: Schedule) -> None:
        super().__init__()
        self.network, self.schedule = network, schedule

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The output."""
        condition = self.schedule.noise_level(t).log() / 4
        return self.network(x_t, condition.to(x_t.device, x_t.dtype).expand(len(x_t)))


def _networks(channels: int, device: torch.device) -> tuple[dict[str, Network], ScoreModel]:
    torch.manual_seed(0)
    config = ScoreConfig(
        network=UNetSettings(channels=channels, multipliers=(1, 2), blocks=1, attention=()),
        schedule=EDM(),
        shape=_SHAPE,
        names=("any",),
        sigma_data=0.5,
    )
    model = config.build().to(device).eval()
    weights = sum(p.numel() for p in model.parameters())
    return {
        f"U-Net of {weights / 1e6:.2g} M weights": lambda x, c: 0.1 * model.net(x, c, None),
        "a network that only scales": lambda x, c: 0.1 * x,
    }, model


def speed_rows(
    device: torch.device,
    evaluations: int = 9,
    batch: int = 64,
    rounds: int = 5,
    peers: bool = True,
    channels: int = 16,
) -> Generator[str, None, list[dict[str, Any]]]:
    """Times every loop around both networks.

    Args:
        device: of the network.
        evaluations: a loop, odd, which Heun's method can make exactly.
        batch: samples of 3 x 32 x 32.
        rounds: every loop is timed once a round; the median counts.
        peers: whether to time k-diffusion and diffusers.
        channels: of the U-Net.

    Yields:
        What comes next.

    Returns:
        Rows as `rows_over_seeds` makes them. By "sampler, library": "time" in ms an evaluation, "speed" in images a
        second, "overhead" in ms an evaluation beyond the network alone and as a share of it, and "loop", the overhead
        around the network that only scales, as a share of the U-Net; by sampler, the time of our loop "relative to the
        fastest peer".

    Raises:
        UserError: peers are asked for and not installed.
    """
    facts: list[Fact] = []
    found: dict[str, dict[str, float]] = {}
    networks, model = _networks(channels, device)
    x = torch.randn(batch, *_SHAPE, generator=torch.Generator().manual_seed(0)).to(device)
    for name, network in networks.items():
        where = f"{name}, batch {batch} of 3x32x32, {evaluations} evaluations"
        loops: dict[str, Callable[[], object]] = {BARE: _alone(network, x, evaluations)}
        for sampler in SAMPLERS_TIMED:
            loops[f"{sampler}, condgen"] = _ours(sampler, _Bare(network, EDM()), batch, evaluations, device)
        if "scales" not in name:
            loops["heun, condgen, preconditioned"] = _ours("heun", model, batch, evaluations, device)
        if peers:
            loops |= peer_loops(network, x, evaluations)
        timings = {loop: ms / evaluations for loop, ms in (yield from take_turns(loops, rounds, device)).items()}
        found[where], bare = timings, timings[BARE]
        for loop, ms in timings.items():
            facts.append(Fact("time", loop, where, "ms an evaluation", ms))
            facts.append(Fact("speed", loop, where, "images/s", 1000 * batch / (ms * evaluations)))
            if loop != BARE:
                facts.append(Fact("overhead", loop, where, "ms an evaluation", ms - bare))
                facts.append(Fact("relative overhead", loop, where, "of the network alone", ms / bare - 1))
        for sampler in SAMPLERS_TIMED if peers else ():
            others = [ms for loop, ms in timings.items() if loop.startswith(f"{sampler}, ") and "condgen" not in loop]
            ratio = timings[f"{sampler}, condgen"] / min(others)
            facts.append(Fact("relative to the fastest peer", sampler, where, "times as long", ratio))
    (unet, times), (_, own) = found.items()
    for loop in (loop for loop in own if loop != BARE):
        share = (own[loop] - own[BARE]) / times[BARE]
        facts.append(Fact("loop", loop, unet, "its own cost, of the network's", share))
    return rows_over_seeds(facts)


def _alone(network: Network, x: Tensor, evaluations: int) -> Callable[[], object]:
    condition = torch.zeros(len(x), device=x.device)

    @torch.no_grad()
    def run() -> None:
        for _ in range(evaluations):
            network(x, condition)

    return run


def _ours(
    name: SamplerName, denoiser: Denoiser, batch: int, evaluations: int, device: torch.device
) -> Callable[[], object]:
    sampler = FIXED[name](denoiser)
    grid = grid_for(sampler, points_within(sampler, evaluations))

    def run() -> Tensor:
        return final(trajectory(sampler, grid, Streams(range(batch), device), None, _SHAPE)).x

    return run
