import json
import os

import pytest
import torch

from condgen.checkpoint import save_tensors
from condgen.data.labelled import LabelledSet
from condgen.runs.layout import PREVIEWS

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small tensors run fastest on one thread, and equal bits need an equal number of them."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Nothing is kept in the home of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONDGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def cifar_at_hand(request):
    """Tests with the marker cifar are skipped where there is none."""
    if request.node.get_closest_marker("cifar") is not None and not os.environ.get("CONDGEN_DATA"):
        pytest.skip("CONDGEN_DATA is not set")


@pytest.fixture
def tiny_images():
    """60 random 4x4 grey images in three classes."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = (torch.rand(60, 1, 4, 4, generator=generator) * 120 + 60 * y.view(-1, 1, 1, 1)).to(torch.uint8)
    return LabelledSet(x=x, y=y, names=("ant", "bee", "cat"), source="tiny", split="train")


STEPS = (100, 200, 300, 400)
HEALTHY = (1.2, 0.5, 0.7, 0.8)  # in-class std ratios at these steps
CRITIC = {"critic_real": 0.3, "loss": 0.6, "critic_fake": 1.1}


def make_generator(folder, spreads=HEALTHY, losses=CRITIC, names=("ant", "bee"), points=False, skipped=0):
    """A stage's folder as the training of a generator leaves it: a look every 100 steps, a log every 50.

    Image j of class k at look i is grey of the level 60 i + 20 k + 3 j.
    """
    rows = []
    for index, (step, spread) in enumerate(zip(STEPS, spreads, strict=False)):
        rows += [{"step": step - half, "lr": 1e-3, **losses} for half in (50, 0)]
        rows.append({"step": step, "preview": {"std_ratio": spread, "recall": 0.4, "accuracy": 0.99, "n": 1000}})
        y = torch.arange(8) % len(names)
        grey = 60 * index + 20 * y + 3 * (torch.arange(8) // len(names))
        x = grey.view(-1, 1, 1, 1).expand(8, 1, 8, 8).to(torch.uint8).contiguous()
        if points:
            x = torch.stack([y - 0.5 + spread * torch.linspace(-1, 1, 8), spread * torch.linspace(1, -1, 8)], 1)
        about = {"kind": "preview", "step": step, "names": names}
        save_tensors(folder / PREVIEWS / f"{step:08d}.safetensors", {"x": x, "y": y}, about)
    if skipped:
        rows[-2]["skipped"] = skipped
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    about = folder.parent / "run.json"
    if about.exists() and ".before-" not in folder.name:  # a stage of that run
        run = json.loads(about.read_text())
        stage = {"stage": folder.name.replace("-", " ", 1), "folder": folder.name, "seconds": 1.0}
        about.write_text(json.dumps(run | {"stages": [*run.get("stages", []), stage]}))
    return folder


@pytest.fixture(scope="session")
def make_a_generator():
    """A function that makes the folder of a generator in training."""
    return make_generator


FEW_STEPS = """
name: tiny
data: {kind: digits}
schedule: {kind: edm, sigma_min: 0.02, sigma_max: 20}
threads: 1
score: {network: &net {kind: mlp, width: 16, depth: 1, embedding: 8}, training: {steps: 6, batch: 16, snapshots: [3]}}
scores: {told: {network: *net, training: &few {steps: 6, batch: 16}, labels: embedding}}
classifiers: {ce: {network: *net, objective: {loss: ce}, training: *few}}
generators: {sid: {network: *net, objective: {loss: sid, network: *net}, training: *few}}
calibrate: {draws: 1}
sample:
  per_class: 2
  seed: 7
  methods:
    unguided: {}
    ce: {classifier: ce, scale: 1.5, nfe: 5}
    calibrated: {classifier: ce, scale: calibrated, sampler: heun, steps: 4}
    own-steps: {score: told, guide: unlabelled, scale: 2, sampler: adaptive-ode}
    one-step: {generator: sid}
evaluate: false
"""


@pytest.fixture(scope="session")
def digits_of_few_steps(tmp_path_factory):
    """A finished run on digits by every kind of model, sampled by each method; not to be changed."""
    from condgen.recipes.compose import parse_yaml
    from condgen.recipes.schema import Recipe
    from condgen.runs.plan import run_recipe
    from condgen.training.distributed import Processes

    recipe = Recipe.model_validate(parse_yaml(FEW_STEPS, "the recipe of a few steps"))
    folder = tmp_path_factory.mktemp("few") / "tiny"
    list(run_recipe(recipe, folder, Processes(cpu=True), "test"))
    return folder
