"""Samplers, and the one loop that drives them."""

from typing import Literal, TypeAlias

from condgen.sampling.fixed import Ancestral, EulerMaruyama, Heun
from condgen.sampling.loop import Sampler, Step, final, trajectory

__all__ = ["SAMPLERS", "Ancestral", "EulerMaruyama", "Heun", "Sampler", "SamplerName", "Step", "final", "trajectory"]

SamplerName: TypeAlias = Literal["heun", "euler-maruyama", "ancestral"]

SAMPLERS: dict[SamplerName, type[Sampler]] = {
    "heun": Heun,
    "euler-maruyama": EulerMaruyama,
    "ancestral": Ancestral,
}
