"""Tiny stages on digits, which many tests run."""

from processes import ALONE

from condgen.data.sets import parse_data
from condgen.recipes.schema import ClassifierStage, GeneratorStage, ScoreStage
from condgen.runs.folder import file_key
from condgen.runs.models import Folders
from condgen.runs.train import Train

DIGITS = parse_data("digits").load_all()
NETWORK = {"kind": "mlp", "width": 24, "depth": 1, "embedding": 8}
SCHEDULE = {"kind": "edm", "sigma_min": 0.02, "sigma_max": 20}
STAGES = {"score": ScoreStage, "classifier": ClassifierStage, "generator": GeneratorStage}


def small_stage(kind, training=None, data="digits", schedule=None, **part):
    """A stage of a perceptron, with changes to its training and to its part of the recipe."""
    shared = {"data": {"kind": data}, "schedule": schedule or SCHEDULE, "seed": 1}
    given = {"steps": 3, "batch": 32, "lr": 5e-3, "warmup": 2} | (training or {})
    return STAGES[kind].model_validate(shared | {kind: {"network": NETWORK, "training": given} | part})


def train(folder, settings, folders=None, data=DIGITS.train, held_out=None):
    """The work of a stage that trains in a folder, which names it."""
    return Train(folder.name, folder, settings, data, folders or Folders(), held_out).run(ALONE)


def model_key(folder):
    """The same for the same bits of a model and of what describes it."""
    return file_key(folder / "model.safetensors")
