"""The trajectories stage: a few samples of every many-step method on their way from noise, for people to look at.

`trajectories.json` has a row a sample, with the noise levels that are shown, and at each of them the state x_t and the
denoised estimate: images as two strips of equal pictures in a PNG each, points as coordinates.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from condgen.files import write_png
from condgen.recipes import TrajectoryStage
from condgen.runs.folder import write_json
from condgen.runs.layout import TRAJECTORIES
from condgen.runs.models import Folders
from condgen.runs.sample import open_source
from condgen.runs.sample_folder import picture_of
from condgen.runs.stage import Progress, Stage, StageFolder, Work, in_main
from condgen.samplers import Finished, record_trajectories, thin_out, unit_variance
from condgen.schedules import Schedule
from condgen.training import Processes

_PICTURES, _POINTS = 9, 40  # moments that are kept of a trajectory


@dataclass(frozen=True, eq=False)
class Trajectories(Stage):
    """Draws a few trajectories by every method.

    They have the seeds of samples, and end in them up to rounding, since batches differ, and networks are in full
    precision here.

    Args:
        folders: of the models.
    """

    settings: TrajectoryStage
    folders: Folders
    unit: ClassVar[str] = "methods"

    def reads(self) -> list[Path]:
        return [path for method in self.settings.methods.values() for path in self.folders.files(method)]

    def total(self) -> int:
        return len(self.settings.methods)

    def run(self, processes: Processes) -> Work:
        """Draws them in process 0."""
        opened = yield from self.open(processes)
        if not opened.finished:
            yield from in_main(processes, self._draw(opened, processes.device))

    def _draw(self, opened: StageFolder, device: torch.device) -> Work:
        stage, rows = self.settings, list[dict[str, Any]]()
        y = torch.tensor(stage.labels, device=device)
        for done, (name, method) in enumerate(stage.methods.items()):
            yield Progress(self.name, done, self.total(), done, name)
            source = open_source(method, self.folders, device)  # and no other: two large models may not fit
            assert source.many is not None
            (self.folder / name).mkdir(exist_ok=True)
            shown = _PICTURES if len(source.shape) == 3 else _POINTS
            paths = record_trajectories(source.many, source.grid, stage.seeds, y, source.shape, device, shown)
            lost: list[str] = []
            for place, path in enumerate(paths):
                label, seed = stage.labels[place], stage.seeds[place]
                row = {"method": name, "class": label, "name": source.names[label], "seed": seed}
                if path.problem is None and _is_finite(path):
                    rows.append(row | _keep(path, source.many.schedule, self.folder, f"{name}/{place:02d}"))
                else:
                    lost.append(str(seed))
            if lost:
                text = f"{self.name}: {name}: left out since they cannot be used: seed {', '.join(lost)}"
                yield Progress(self.name, done, self.total(), done, name, text)
            del source, paths
        write_json(self.folder / TRAJECTORIES, {"rows": rows})
        pictures = [row[kind] for row in rows for kind in ("x_t", "denoised") if isinstance(row[kind], str)]
        opened.finish([TRAJECTORIES, *pictures], what=f"{len(y)} each by {self.total()} methods")
        yield Progress(self.name, self.total(), self.total(), self.total())


def _is_finite(path: Finished) -> bool:
    """Whether the sample and all that it passed through are made of finite numbers."""
    parts = [path.x, *(part for point in path.points for part in (point.x_t, point.denoised))]
    return all(bool(part.isfinite().all()) for part in parts)


def _keep(path: Finished, schedule: Schedule, folder: Path, stem: str) -> dict[str, Any]:
    """What a row says of a trajectory beside its method, class and seed; pictures are written."""
    images = path.x.ndim == 3
    chosen = thin_out(path.points, _PICTURES if images else _POINTS)
    row: dict[str, Any] = {"evaluations": path.evaluations, "noise": [point.noise for point in chosen]}
    denoised = torch.stack([point.denoised for point in chosen]).cpu()
    if not images:  # in units of the data: x_t / alpha_t
        scales = schedule.alpha(torch.tensor([point.t for point in chosen], dtype=torch.float64)).float()
        states = torch.stack([point.x_t for point in chosen]).cpu() / scales[:, None]
        return row | {"x_t": states.tolist(), "denoised": denoised.tolist()}
    states = torch.stack([unit_variance(point, schedule) for point in chosen]).cpu()
    for kind, x in (("x_t", states), ("denoised", denoised)):
        row[kind] = f"{stem}-{kind}.png"
        write_png(folder / row[kind], picture_of(torch.cat(list(x), dim=-1)))  # side by side, with nothing between them
    return row
