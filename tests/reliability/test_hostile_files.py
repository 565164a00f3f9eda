"""Files of strangers: whatever stands in them is read, or refused in one line; no code in them runs.

Hypothesis changes the files of a real run: bytes, and values within JSON, YAML and the headers of weights. More of it:
`CONDGEN_EXAMPLES=5000 uv run pytest -m slow tests/reliability/test_hostile_files.py`.
"""

import copy
import json
import os
import pickle
import resource
import shutil
import struct
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies as st

import condgen as cg
from condgen import ScoreModel, UserError
from condgen.checkpoint import load_tensors
from condgen.data.sets import Folder, load
from condgen.recipes.compose import load_recipe
from condgen.report.build import build_report
from condgen.report.load import read_run
from condgen.runs.models import read_calibration
from condgen.runs.sample_folder import read_samples
from condgen.training.state import State, load_state

MEMORY = 4 * 10**9
NAMES = ("<script>", "two\nlines", "\x1b[2J", "\u202egnp", "nul \0", "../../x", "/dev/zero", "", "x" * 5000, "\ud800")
NUMBERS = (0, -1, 1, 255, 2**31, 2**63, 10**18, 10**400, 0.5, 1e-320, 1e308, float("inf"), float("nan"), True)
OTHERS = (None, [], {}, [[]], {"kind": "unknown"}, {"kind": "mlp", "width": 10**9}, [0.5] * 3000, "1e999", "calibrated")
values = st.sampled_from((*NAMES, *NUMBERS, *OTHERS)) | st.text(max_size=20) | st.integers() | st.floats()
places = st.floats(0, 1, exclude_max=True)
tree_changes = st.lists(
    st.tuples(places, st.sampled_from(("replace", "drop", "rename", "repeat")), values), min_size=1, max_size=3
)
byte_changes = st.lists(
    st.tuples(places, st.sampled_from(("flip", "cut", "drop", "insert")), st.binary(max_size=8)), min_size=1, max_size=4
)


def change_tree(tree, changes):
    """Values, keys and branches of a tree replaced, dropped, renamed, repeated."""
    tree = copy.deepcopy(tree)
    for place, what, value in changes:
        spots, waiting = [], [tree]
        while waiting:
            node = waiting.pop()
            keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
            spots += [(node, key) for key in keys]
            waiting += [node[key] for key in keys]
        if not spots:
            return value
        node, key = spots[int(place * len(spots))]
        if what == "drop":
            del node[key]
        elif what == "rename" and isinstance(node, dict):
            node[str(value)] = node.pop(key)
        else:
            node[key] = [node[key]] * 3 if what == "repeat" else value
    return tree


def change_bytes(content, changes):
    data = bytearray(content)
    for place, what, piece in changes:
        at = int(place * len(data))
        if what == "flip" and data:
            data[at] ^= 1 << len(piece) % 8
        elif what == "cut":
            del data[at:]
        elif what == "drop":
            del data[at : at + 1 + len(piece)]
        else:
            data[at:at] = piece
    return bytes(data)


def change_values(path, content, changes):
    """The content with its values changed, by the form of its file; None where it has no values."""
    if path.suffix == ".json":
        return json.dumps(change_tree(json.loads(content), changes)).encode()
    if path.suffix == ".jsonl":
        rows = change_tree([json.loads(line) for line in content.splitlines()], changes)
        return "".join(json.dumps(row) + "\n" for row in rows if rows).encode() if isinstance(rows, list) else b"[]"
    if path.suffix == ".yaml":
        changed = change_tree(yaml.safe_load(content), changes)
        return yaml.safe_dump(changed, allow_unicode=True).encode(errors="replace")
    if path.suffix == ".safetensors":
        size = struct.unpack("<Q", content[:8])[0]
        head = json.loads(content[8 : 8 + size])
        described = {key: json.loads(value) for key, value in head.pop("__metadata__").items()}
        described = change_tree(described, changes)
        if isinstance(described, dict):
            head["__metadata__"] = {str(key): json.dumps(value) for key, value in described.items()}
        packed = json.dumps(head).encode()
        return struct.pack("<Q", len(packed)) + packed + content[8 + size :]
    return None


def read_state(folder):
    _, about = load_tensors(folder / "score" / "state" / "state.safetensors")
    model = ScoreModel.load(folder / "score").requires_grad_(True)
    load_state(folder / "score", State.fresh({"model": model}, (0.9, 0.99)), about.get("key"))


TARGETS = {  # the files that are changed, and what reads them
    "recipe": ("recipe.yaml", lambda run: load_recipe(run / "recipe.yaml")),
    "score model": ("score/model.safetensors", lambda run: cg.load(run / "score")),
    "classifier": ("classifier-ce/model.safetensors", lambda run: cg.load(run / "classifier-ce")),
    "generator": ("generator-sid/model.safetensors", lambda run: cg.load(run / "generator-sid")),
    "state": ("score/state/state.safetensors", read_state),
    "calibration": ("classifier-ce/calibration/*", lambda run: read_calibration(run / "classifier-ce", run / "score")),
    "samples": ("samples/ce/*", lambda run: read_samples(run / "samples" / "ce")),
    "run": ("*.json", read_run),
    "logs": ("*/log.jsonl", read_run),
    "pictures": ("images/*/*.png", lambda run: load(Folder(root=run / "images", image_size=8), "train")),
}
RUNNING = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class", "socket.connect"}
seen, watching = [], []


def listen(event, arguments):
    if watching and event in RUNNING:
        seen.append(f"{event} {arguments}")


sys.addaudithook(listen)


def check(read, run):
    """Reads a run, and raises where that ends otherwise than well or in one line of an error."""
    said = "nothing"
    watching.append(True)
    try:
        read(run)
    except UserError as error:
        said = str(error)
    finally:
        watching.clear()
    assert len(said.splitlines()) == 1
    assert not seen
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < MEMORY


@pytest.fixture(scope="module")
def hostile_run(digits_of_few_steps, tmp_path_factory):
    run = tmp_path_factory.mktemp("hostile") / "run"
    shutil.copytree(digits_of_few_steps, run)
    for number, picture in enumerate(sorted((run / "samples" / "ce").glob("[0-9]*.png"))[:4]):
        place = run / "images" / "ab"[number % 2] / picture.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, place)
    return run


def hostile_case(target, run, examples):
    pattern, read = TARGETS[target]
    files = sorted(path for path in run.glob(pattern) if path.is_file())
    assert files

    @settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    @given(st.sampled_from(files), tree_changes, byte_changes, st.booleans())
    def read_changed(path, in_tree, in_bytes, of_values):
        content = path.read_bytes()
        changed = change_values(path, content, in_tree) if of_values else None
        path.write_bytes(change_bytes(content, in_bytes) if changed is None else changed)
        try:
            check(read, run)
        finally:
            path.write_bytes(content)

    read(run)  # it can be read as it is
    return read_changed


MANY = pytest.param(int(os.environ.get("CONDGEN_EXAMPLES", "1000")), marks=pytest.mark.slow, id="many")


@pytest.mark.parametrize("examples", [40, MANY])
@pytest.mark.parametrize("target", TARGETS)
def test_changed_files_are_read_or_refused_in_one_line(target, examples, hostile_run):
    hostile_case(target, hostile_run, examples)()


@pytest.mark.slow
def test_reports_of_changed_runs(hostile_run, monkeypatch):
    monkeypatch.setitem(TARGETS, "report", ("*.json", build_report))
    hostile_case("report", hostile_run, 100)()


class Planted:
    def __reduce__(self):
        return Path.write_text, (Path("canary"), "unpickled")


def test_a_pickle_in_place_of_any_file_is_not_opened(hostile_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for pattern, read in TARGETS.values():
        path = next(path for path in sorted(hostile_run.glob(pattern)) if path.is_file())
        content = path.read_bytes()
        path.write_bytes(pickle.dumps(Planted()))
        try:
            check(read, hostile_run)
        finally:
            path.write_bytes(content)
    assert not Path("canary").exists()
    watching.append(True)
    pickle.loads(pickle.dumps(Planted()))  # the pickle would have run, and would have been seen
    watching.clear()
    assert Path("canary").exists()
    assert seen
    seen.clear()
