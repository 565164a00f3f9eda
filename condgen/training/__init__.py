"""Training: a state, a loop that yields, checkpoints, many processes."""

from condgen.training.augment import Augmentation
from condgen.training.checkpoint import load_state, save_state, share_state
from condgen.training.distributed import Lost, Processes
from condgen.training.frozen import Precision, PriorSettings, lighten_
from condgen.training.loop import Apply, Batch, Record, Task, TrainingSettings, train
from condgen.training.state import State

__all__ = [
    "Apply",
    "Augmentation",
    "Batch",
    "Lost",
    "Precision",
    "PriorSettings",
    "Processes",
    "Record",
    "State",
    "Task",
    "TrainingSettings",
    "lighten_",
    "load_state",
    "save_state",
    "share_state",
    "train",
]
