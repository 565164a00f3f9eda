"""The sampling stage: a folder of PNGs and `manifest.jsonl`, one line a sample.

Points have no picture; their coordinates stand in the manifest. A sample that is already in the manifest is not drawn
again, so sampling goes on where it stopped.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condgen.data import to_uint8
from condgen.errors import UserError
from condgen.generator import Generator
from condgen.noise import GRIDS
from condgen.recipe import Method, SampleStage, content_key
from condgen.rng import Streams
from condgen.run.folder import Progress, Stage, Work, drop_partial_line, open_stage, read_json, read_rows
from condgen.run.guided import Models, count_evaluations, open_guided
from condgen.sampling import SAMPLERS, Sampler, final, trajectory

__all__ = ["MANIFEST", "read_samples", "sample_stage"]

MANIFEST = "manifest.jsonl"


class _Source(NamedTuple):
    """What draws samples: everything that `draw` needs, and what the images are called."""

    shape: tuple[int, ...]
    names: tuple[str, ...]
    sampler: Sampler | None
    grid: Tensor | None
    generator: Generator | None
    device: torch.device

    @torch.no_grad()
    def draw(self, y: Tensor, seeds: Sequence[int]) -> tuple[Tensor, int]:
        """Samples (B, ...) on the CPU, and how often each went through a score model (a guide's too) or generator."""
        streams, y = Streams(seeds, self.device), y.to(self.device)
        if self.generator is not None:
            return self.generator(streams.normal((self.generator.config.latent,)), y).cpu(), 1
        assert self.sampler is not None
        assert self.grid is not None
        with count_evaluations(self.sampler.denoiser) as evaluations:
            last = final(trajectory(self.sampler, self.grid, streams, y, self.shape))
        return last.x.cpu(), evaluations.count // len(y)


def _open_models(method: Method, models: Models, device: torch.device) -> _Source:
    if method.generator:
        if models.generator is None:
            raise UserError("one-step sampling needs a generator: name its folder with --generator")
        generator = Generator.load(models.generator, device)
        return _Source(generator.config.shape, generator.config.names, None, None, generator, device)
    denoiser, score = open_guided(method, models, device)
    sampler = SAMPLERS[method.sampler](denoiser)
    grid = GRIDS[method.grid](score.schedule, method.steps)
    return _Source(score.config.shape, score.config.names, sampler, grid, None, device)


def sample_stage(name: str, folder: Path, stage: SampleStage, models: Models, device: torch.device) -> Work:
    """Draws the samples of a stage in a folder, or goes on, or does nothing where it is finished."""
    keys = models.keys(stage.method)
    source = _open_models(stage.method, models, device)
    unknown = [label for label in stage.labels if not 0 <= label < len(source.names)]
    if unknown:
        raise UserError(f"there is no class {unknown[0]}: the model knows {', '.join(source.names)}")
    opened = open_stage(name, folder, content_key(stage, *keys), stage)
    if opened.finished:
        return
    yield from opened.start()
    yield from _draw(opened, stage, source)


def _draw(opened: Stage, stage: SampleStage, source: _Source) -> Work:
    folder, total = opened.folder, len(stage.labels)
    drop_partial_line(folder / MANIFEST)
    done = len(read_rows(folder / MANIFEST))
    drawing_seconds = float(opened.record.get("drawing_seconds", 0.0))
    first, evaluations = done, int(opened.record.get("evaluations_per_image", 0))
    while done < total:
        labels = stage.labels[done : done + stage.batch]
        seeds = range(stage.seed + done, stage.seed + done + len(labels))
        started = time.perf_counter()
        x, evaluations = source.draw(torch.tensor(labels), seeds)
        drawing_seconds += time.perf_counter() - started
        bad = int((~x.flatten(1).isfinite().all(1)).sum())
        if bad:
            raise UserError(
                f"{opened.name}: {bad} of {len(x)} samples are not finite numbers, the first with seed {seeds[0]} or "
                f"after; lower the guidance scale ({stage.method.scale}) or take more steps ({stage.method.steps})"
            )
        _write(folder, done, x, labels, seeds, source.names, stage.method)
        done += len(labels)
        opened.note(drawing_seconds=round(drawing_seconds, 4), evaluations_per_image=evaluations)
        yield Progress(opened.name, done, total, done - first)
    opened.finish(
        [MANIFEST],
        images=total,
        images_per_second=round(total / drawing_seconds, 2) if drawing_seconds > 0 else None,
        what=f"{total:,} samples",
    )


def _write(
    folder: Path,
    first: int,
    x: Tensor,
    labels: Sequence[int],
    seeds: Sequence[int],
    names: Sequence[str],
    method: Method,
) -> None:
    """Writes the pictures, then their lines: what is in the manifest is whole."""
    how: dict[str, Any] = {"sampler": "one step"}
    if not method.generator:
        how = {"sampler": method.sampler, "steps": method.steps, "grid": method.grid}
    if method.classifier is not None or method.guide is not None:
        how |= {"guide": method.in_words(), "scale": method.scale, "interval": method.interval}
    images = to_uint8(x).numpy() if x.ndim == 4 else None
    lines = []
    for i, (label, seed) in enumerate(zip(labels, seeds, strict=True)):
        row: dict[str, Any] = {"file": None, "class": label, "name": names[label], "seed": seed, **how}
        if images is None:
            row["x"] = x[i].tolist()
        else:
            row["file"] = f"{first + i:05d}.png"
            pixels = images[i]
            picture = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
            picture.save(folder / row["file"])
        lines.append(json.dumps(row) + "\n")
    with (folder / MANIFEST).open("a", encoding="utf-8") as file:
        file.write("".join(lines))


def read_samples(folder: Path) -> tuple[Tensor, Tensor]:
    """What a sampling stage has written: floats (N, ...) as a network sees them, and labels (N,)."""
    record = read_json(folder / "stage.json")
    if not record.get("finished"):
        raise UserError(f"{folder} is not finished: run the command that made it again, it goes on where it stopped")
    rows = read_rows(folder / MANIFEST)
    try:
        labels = torch.tensor([int(row["class"]) for row in rows])
        if rows[0].get("file") is None:
            return torch.tensor([row["x"] for row in rows]), labels
        images = [_read_picture(folder, str(row["file"])) for row in rows]
        x = torch.from_numpy(np.stack(images)).float() / 127.5 - 1
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(f"{folder / MANIFEST} does not describe samples ({error!r}): sample again") from error
    return x, labels


def _read_picture(folder: Path, file: str) -> np.ndarray:
    path = folder / file
    if path.resolve().parent != folder.resolve():
        raise UserError(f"{folder / MANIFEST} names {file!r}, which lies outside the folder: sample again")
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    except OSError as error:
        raise UserError(f"{path} is missing or damaged ({error}): delete {folder} and sample again") from error
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
