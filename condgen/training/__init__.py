"""Training: a state, a loop that yields, many processes."""

from condgen.training.augment import Augmentation
from condgen.training.batch import Batch
from condgen.training.distributed import Lost, Processes
from condgen.training.frozen import PriorSettings, describe_precision, lighten_, resolved
from condgen.training.loop import Record, Task, train
from condgen.training.prior_pool import PooledPrior, PriorPool
from condgen.training.settings import Precision, TrainingSettings
from condgen.training.state import STATE_FILE, State, load_state, save_state, share_state

__all__ = [
    "STATE_FILE",
    "Augmentation",
    "Batch",
    "Lost",
    "PooledPrior",
    "Precision",
    "PriorPool",
    "PriorSettings",
    "Processes",
    "Record",
    "State",
    "Task",
    "TrainingSettings",
    "describe_precision",
    "lighten_",
    "load_state",
    "resolved",
    "save_state",
    "share_state",
    "train",
]
