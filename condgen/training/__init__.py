"""Training: a state, a loop that yields, many processes."""

from condgen.training.batch import Batch as Batch
from condgen.training.distributed import Lost as Lost, Processes as Processes
from condgen.training.frozen import (
    PriorSettings as PriorSettings,
    describe_precision as describe_precision,
    lighten_ as lighten_,
    resolved as resolved,
)
from condgen.training.loop import Record as Record, Task as Task, train as train
from condgen.training.prior_pool import PooledPrior as PooledPrior, PriorPool as PriorPool
from condgen.training.settings import Precision as Precision, TrainingSettings as TrainingSettings
from condgen.training.state import (
    STATE_FILE as STATE_FILE,
    State as State,
    load_state as load_state,
    save_state as save_state,
    share_state as share_state,
)
