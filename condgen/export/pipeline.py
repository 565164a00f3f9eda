"""A pipeline for diffusers: its schedulers draw from a score model of condgen that a noise-aware classifier guides.

`condgen export` copies this file into the folders that it writes.
"""

import inspect
from collections.abc import Sequence
from typing import Self

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, SchedulerMixin
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor

import condgen as cg
from condgen.rng import device_of


class Component:
    """Lets diffusers load a model of condgen."""

    @staticmethod
    def from_pretrained(folder: str, **_: object) -> cg.ScoreModel | cg.Classifier:
        return cg.load(folder)


class ClassifierGuidedPipeline(DiffusionPipeline):  # type: ignore[misc]
    def __init__(self, scheduler: SchedulerMixin, score: cg.ScoreModel, classifier: cg.Classifier) -> None:
        super().__init__()
        self.register_modules(scheduler=scheduler, score=score, classifier=classifier)

    @property
    def device(self) -> torch.device:
        return device_of(self.score)

    def to(self, device: torch.device | str) -> Self:
        self.score.to(device)
        self.classifier.to(device)
        return self

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[int | str],
        guidance_scale: float = 1.0,
        num_inference_steps: int = 20,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
    ) -> ImagePipelineOutput:
        r"""An image for each of the labels, numbers or names; output_type as in other pipelines: pil, np or pt.

        A scheduler's state is :math:`u\sqrt{1+s^2}` or :math:`u`, in units of signal, at its noise level s, and it
        takes the guided noise :math:`\epsilon`: any scheduler serves that predicts noise from betas.
        """
        guided, scheduler = cg.ClassifierGuided(self.score, self.classifier, guidance_scale), self.scheduler
        names, schedule, device = self.score.names, guided.schedule, self.device
        y = torch.tensor([names.index(label) if isinstance(label, str) else label for label in class_labels])
        scheduler.set_timesteps(num_inference_steps, device=device)
        x = randn_tensor((len(y), *self.score.shape), generator, device) * scheduler.init_noise_sigma
        draws = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
        for place, step in enumerate(self.progress_bar(scheduler.timesteps)):
            sigmas = getattr(scheduler, "sigmas", None)
            if not getattr(scheduler, "state_in_first_order", True):  # in the middle of a step
                sigmas = getattr(scheduler, "sigmas_interpol", sigmas)
            level = (1 / scheduler.alphas_cumprod[int(step)] - 1).sqrt() if sigmas is None else sigmas[place]
            level = level.double().cpu().clamp(*schedule.noise_range)
            u = scheduler.scale_model_input(x, step) * float((1 + level**2).sqrt())
            t = schedule.t_of_noise_level(level)
            eps = guided.eps(float(schedule.alpha(t)) * u, t, y.to(device))
            x = scheduler.step(eps, step, x, **draws).prev_sample
        return ImagePipelineOutput(VaeImageProcessor().postprocess(x, output_type))
