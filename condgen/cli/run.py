"""`condgen run`, `recipes` and `doctor`."""

import gzip
import json
import os
import posixpath
import re
import shlex
import shutil
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Annotated

import torch
import typer

from condgen.cli.options import Device, Overrides, Size
from condgen.cli.pictures import draw_samples, follow_previews, show_generators
from condgen.cli.progress import show_report, work_in
from condgen.cli.terminal import console, say
from condgen.data.sets import load, parse_data
from condgen.errors import UserError
from condgen.files import read_text
from condgen.recipes.compose import find_recipe, load_recipe, shipped_recipes
from condgen.runs.environment import describe_environment
from condgen.runs.plan import plan, run_all, run_recipe, seed_runs, states
from condgen.runs.stage import Work
from condgen.training.distributed import Processes

_SKIPPED, _RECORDED = 3, 3  # steps of a stage; more make traces that no viewer opens
_PARTS = {  # of the outermost function that matches
    "networks": r"nn\.Module: ",
    "gradients": r"torch/(_tensor|autograd/__init__)\.py\(\d+\): (backward|grad)$",
    "optimiser": r"torch/(optim/|nn/utils/clip_grad)",
    "data and noise": r"condgen/(data/|rng\.py|training/(batch|prior_pool)\.py)",
    "average of weights": r"condgen/training/state\.py\(\d+\): update_ema",
    "files": r"condgen/(files|checkpoint|runs/folder|runs/sample_folder)\.py",
}


def run(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(parser=find_recipe, metavar="FILE|NAME", help="See condgen recipes.")],
    size: Size = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; default: runs/NAME, or runs/NAME-SIZE.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run nothing; list the stages and their states.")] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="Run with so many seeds: mean and sd of figures.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Stages at once; default: as many as cores allow.")] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Tell where time goes; traces in FOLDER/profile.")] = False,
    device: Device = None,
    overrides: Overrides = None,
) -> None:
    """Train, sample, evaluate, diagnose and report, as a recipe says.

    --seeds runs it in seed-0, seed-1, ..., and compares these in one report.
    """
    settings = load_recipe(recipe, overrides or (), size)
    folder, processes, cores = out or Path("runs") / settings.name, Processes(), torch.get_num_threads()
    if settings.threads is not None and context.obj is None:
        torch.set_num_threads(min(settings.threads, torch.get_num_threads()))
    if profile and max(processes.count, jobs or 1) > 1:
        raise UserError("--profile records one process: leave --jobs and the launcher out")
    if jobs is None:
        alone = profile or processes.count > 1 or processes.device.type != "cpu"
        jobs = 1 if alone else cores // torch.get_num_threads()
    elif jobs > 1 and processes.count > 1:
        raise UserError("a launcher's processes share every stage: leave --jobs out, or the launcher")
    how = processes, shlex.join(["condgen", *sys.argv[1:]]), jobs
    runs = {folder: settings} if seeds is None else seed_runs(settings, seeds, folder)
    if dry_run:
        from condgen.report.page import Table, to_rich

        for place, one in runs.items():
            stages = plan(one, place, one.data.load_all())
            found = states(stages)
            rows = [(stage.name, found[stage.folder], f"{stage.total():,} {stage.unit}") for stage in stages]
            table = Table(f"{place.name}: nothing was run", ("stage", "state", "in all"), rows)
            console.print(to_rich(table, console.width))
        return
    work = follow_previews(run_recipe(settings, folder, *how) if seeds is None else run_all(runs, *how))
    if not work_in(folder, profiled(work, folder / "profile") if profile else work, processes):
        return
    if seeds is not None:
        show_report(folder, list(runs))
    else:
        picture = draw_samples(folder, settings)
        show_generators(folder)
        if picture is not None:
            say(f"samples: {picture.resolve()}")
        show_report(folder)


def profiled(work: Work, folder: Path) -> Work:
    """The work, with `folder/STAGE.json.gz` for every stage of six steps or more, which Perfetto and Chrome show."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own lines, among those of the run
    steps, recorder, stage = Counter[str](), None, ""
    with closing(work):
        for event in work:
            steps[event.stage] += 1
            ends = event.stage != stage or event.done == event.total or steps[stage] == _SKIPPED + _RECORDED
            if recorder is not None and ends:  # also a stage that had fewer steps than samples
                recorder.stop()
                path = folder / f"{stage.replace(' ', '-')}.json.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                recorder.export_chrome_trace(str(path))
                message = f"{stage}, time: {_shares(path)}; {path}"
                recorder, event = None, event._replace(message=f"{event.message}\n{message}".strip())
            elif steps[event.stage] == _SKIPPED and event.total - event.done >= _RECORDED:
                recorder, stage = torch.profiler.profile(with_stack=True), event.stage
                recorder.start()
            yield event


def _shares(trace: Path) -> str:
    """As "networks 40%, gradients 50%, other 10%"."""
    with gzip.open(trace) as file:
        events = [event for event in json.load(file)["traceEvents"] if event.get("cat") == "python_function"]
    parts, end = Counter[str](), 0.0
    for event in sorted(events, key=lambda event: (event["ts"], -event["dur"])):
        part = next((name for name, pattern in _PARTS.items() if re.search(pattern, event["name"])), None)
        if part is not None and event["ts"] >= end:
            parts[part] += event["dur"]
            end = event["ts"] + event["dur"]
    whole = max(event["ts"] + event["dur"] for event in events) - min(event["ts"] for event in events)
    parts["other"] = whole - parts.total()
    return ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in parts.most_common())


def recipes(name: Annotated[str | None, typer.Argument(help="Print this one, to start your own from.")] = None) -> None:
    """List the recipes that come with condgen, which condgen run takes by name, or print one.

    condgen recipes digits > mine.yaml
    """
    shipped = shipped_recipes()
    if name is None:
        for each, path in shipped.items():
            say(f"{each:<24} {read_text(path).partition('# What:')[2].partition(chr(10))[0].strip()}")
    elif name in shipped:
        say(_anywhere(name, read_text(shipped[name])).rstrip())
    else:
        raise UserError(f"there is no recipe {name!r} among: {', '.join(shipped)}")


def _anywhere(name: str, text: str) -> str:
    """The text of a shipped recipe, which names those that it includes as `find_recipe` does, not by its own folder."""

    def named(found: re.Match[str]) -> str:
        return f"include: [{', '.join(posixpath.normpath(f'{name}/../{each}') for each in found[1].split(', '))}]"

    return re.sub(r"^include: \[(.*)\]$", named, text, flags=re.MULTILINE)


def doctor(out: Annotated[Path, typer.Option(help="Where runs would go.")] = Path("runs")) -> None:
    """Print versions, processors, devices, data sets and free disk space."""
    about = describe_environment()
    near = next(path for path in (out.resolve(), *out.resolve().parents) if path.exists())
    lines = {**about, **about.pop("machine")}
    lines["free disk"] = f"{shutil.disk_usage(near).free / 2**30:.1f} GiB in {near}"
    lines["writable"] = "yes" if os.access(near, os.W_OK) else f"no: choose another folder than {near}"
    for name in ("digits", "moons", "cifar10", "cifar100"):
        try:
            data = load(parse_data(name), "train")
        except UserError as error:
            lines[f"data: {name}"] = f"not found ({error})"
        else:
            lines[f"data: {name}"] = f"{len(data):,} training samples of shape {data.shape}"
    for name, value in lines.items():
        say(f"{name:<16} {value}")
