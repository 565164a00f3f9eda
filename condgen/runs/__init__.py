"""Run folders, and the stages that fill them."""

from condgen.runs.calibrate import Calibrate as Calibrate
from condgen.runs.diagnose import Diagnose as Diagnose, loss_of as loss_of, with_defaults as with_defaults
from condgen.runs.environment import (
    cache_folder as cache_folder,
    describe_environment as describe_environment,
    keep_freed_memory as keep_freed_memory,
    usable_cores as usable_cores,
)
from condgen.runs.evaluate import Evaluate as Evaluate
from condgen.runs.folder import (
    each_row as each_row,
    file_key as file_key,
    origin_of as origin_of,
    read_json as read_json,
    read_rows as read_rows,
    read_settings as read_settings,
    recorded_data as recorded_data,
    write_json as write_json,
)
from condgen.runs.import_diffusers import Import as Import, find_diffusers as find_diffusers
from condgen.runs.models import Folders as Folders, open_guided as open_guided
from condgen.runs.plan import plan as plan, run_recipe as run_recipe, run_seeds as run_seeds, states as states
from condgen.runs.sample import Sample as Sample
from condgen.runs.sample_folder import picture_side as picture_side, read_samples as read_samples
from condgen.runs.stage import Progress as Progress, Work as Work, lock as lock
from condgen.runs.train import Train as Train
