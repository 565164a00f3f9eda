"""The sampling loops of k-diffusion and diffusers, around a network that is given to them.

A network here is a function of x (B, ...) and a noise condition (B,), and its output stands for whatever a loop
expects: k-diffusion takes it for the denoised estimate, diffusers for the noise. The images are meaningless and the
work is the same. Both libraries are imported late: `uv sync --group bench` installs them.
"""

import importlib
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from condgen.errors import UserError

__all__ = ["Loop", "Network", "peer_loops", "require_peers"]

Network: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Loop: TypeAlias = Callable[[], Tensor]

_K_DIFFUSION, _DIFFUSERS = "k_diffusion.sampling", "diffusers"
_TRAINED_ON = 1000  # discrete times of diffusers' schedules
_RANGE = (0.002, 80.0)  # noise levels of k-diffusion's


def _module(name: str) -> Any:
    if name == _K_DIFFUSION:  # its metrics import clip, which needs setuptools of before 70; its samplers need neither
        sys.modules.setdefault("clip", ModuleType("clip"))
    try:
        with warnings.catch_warnings():  # of what k-diffusion imports, CLIP above all
            warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
            warnings.filterwarnings(
                "ignore", message="jsonschema.RefResolver is deprecated", category=DeprecationWarning
            )
            return importlib.import_module(name)
    except ImportError as error:
        library = name.partition(".")[0].replace("_", "-")
        raise UserError(
            f"{library} cannot be imported ({error}): install the peers with 'uv sync --group bench', or leave them "
            "out with --no-peers"
        ) from error


def require_peers() -> None:
    """Raises UserError where k-diffusion or diffusers is not installed."""
    for name in (_K_DIFFUSION, _DIFFUSERS):
        _module(name)


def peer_loops(network: Network, x: Tensor, evaluations: int) -> dict[str, Loop]:
    """Loops that make at most so many evaluations, from noise of the shape of x, by "sampler, library".

    Heun's method, the second-order multistep method of DPM-Solver++, ancestral sampling and DDIM, each where a library
    has it.

    Raises:
        UserError: a library is not installed.
    """
    return {**_k_diffusion(network, x, evaluations), **_diffusers(network, x, evaluations)}


def _k_diffusion(network: Network, x: Tensor, evaluations: int) -> dict[str, Loop]:
    sampling = _module(_K_DIFFUSION)

    def model(x_t: Tensor, sigma: Tensor) -> Tensor:
        return network(x_t, sigma.log() / 4)

    def loop(name: str, steps: int) -> Loop:
        sigmas = sampling.get_sigmas_karras(steps, *_RANGE, device=x.device)

        @torch.no_grad()
        def run() -> Tensor:
            out: Tensor = getattr(sampling, name)(model, torch.randn_like(x) * sigmas[0], sigmas, disable=True)
            return out

        return run

    return {
        "heun, k-diffusion": loop("sample_heun", (evaluations + 1) // 2),
        "dpm++2m, k-diffusion": loop("sample_dpmpp_2m", evaluations),
        "ancestral, k-diffusion": loop("sample_euler_ancestral", evaluations),
        "ddim, k-diffusion": loop("sample_euler", evaluations),
    }


def _diffusers(network: Network, x: Tensor, evaluations: int) -> dict[str, Loop]:
    library = _module(_DIFFUSERS)
    linear = {"num_train_timesteps": _TRAINED_ON, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}

    def loop(scheduler: Any, steps: int) -> Loop:
        @torch.no_grad()
        def run() -> Tensor:
            scheduler.set_timesteps(steps, device=x.device)
            x_t: Tensor = torch.randn_like(x) * scheduler.init_noise_sigma
            for t in scheduler.timesteps:
                seen = scheduler.scale_model_input(x_t, t)
                condition = ((t.to(x.dtype) + 1) / _TRAINED_ON).expand(len(x))
                x_t = scheduler.step(network(seen, condition), t, x_t).prev_sample
            return x_t

        return run

    heun, multistep = library.HeunDiscreteScheduler(**linear), library.DPMSolverMultistepScheduler(**linear)
    ddim = library.DDIMScheduler(**linear, clip_sample=False)
    return {
        "heun, diffusers": loop(heun, (evaluations + 1) // 2),
        "dpm++2m, diffusers": loop(multistep, evaluations),
        "ancestral, diffusers": loop(library.EulerAncestralDiscreteScheduler(**linear), evaluations),
        "ddim, diffusers": loop(ddim, evaluations),
    }
