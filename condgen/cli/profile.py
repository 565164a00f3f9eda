"""Where the time of a run goes: three steps of every stage, recorded by torch's profiler."""

import gzip
import json
import os
import re
from collections import Counter
from contextlib import closing
from pathlib import Path

from torch.profiler import profile

from condgen.runs.stage import Work

_SKIPPED, _RECORDED = 3, 3  # steps of a stage; more make traces that no viewer opens
_PARTS = {  # of the outermost function that matches
    "networks": r"nn\.Module: ",
    "gradients": r"torch/(_tensor|autograd/__init__)\.py\(\d+\): (backward|grad)$",
    "optimiser": r"torch/(optim/|nn/utils/clip_grad)",
    "data and noise": r"condgen/(data/|rng\.py|training/(batch|prior_pool)\.py)",
    "average of weights": r"condgen/training/state\.py\(\d+\): update_ema",
    "files": r"condgen/(files|checkpoint|runs/folder|runs/sample_folder)\.py",
}


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
                recorder, stage = profile(with_stack=True), event.stage
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
