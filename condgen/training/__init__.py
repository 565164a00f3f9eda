"""Training: a state, a loop that yields, checkpoints, many processes."""

from condgen.training.accumulate import Accumulation, LossFunction
from condgen.training.augment import Augmentation
from condgen.training.batch import Batch
from condgen.training.checkpoint import load_state, save_state, share_state
from condgen.training.distributed import Lost, Processes
from condgen.training.frozen import PriorSettings, lighten_, prepare_
from condgen.training.loop import Apply, Record, Task, train
from condgen.training.settings import Precision, TrainingSettings
from condgen.training.spoilt import Known, Spoilt, in_words
from condgen.training.state import State

__all__ = [
    "Accumulation",
    "Apply",
    "Augmentation",
    "Batch",
    "Known",
    "LossFunction",
    "Lost",
    "Precision",
    "PriorSettings",
    "Processes",
    "Record",
    "Spoilt",
    "State",
    "Task",
    "TrainingSettings",
    "in_words",
    "lighten_",
    "load_state",
    "prepare_",
    "save_state",
    "share_state",
    "train",
]
