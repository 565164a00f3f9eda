"""What a recipe may say of training, and what a dump of it holds."""

import pytest
from pydantic import ValidationError

from condgen.training import TrainingSettings

NEW = {"flip": True, "precision": "bfloat16", "compile": True, "micro_batch": 8}


def test_a_dump_names_what_was_added_later_only_where_it_is_chosen():
    assert not NEW.keys() & TrainingSettings(steps=1).model_dump(mode="json").keys()
    chosen = TrainingSettings(steps=1, **NEW)
    assert NEW.items() <= chosen.model_dump(mode="json").items()
    assert TrainingSettings.model_validate(chosen.model_dump(mode="json")) == chosen


@pytest.mark.parametrize("rows", [0, -1, "all", 1.5])
def test_micro_batches_are_a_number_or_auto(rows):
    with pytest.raises(ValidationError):
        TrainingSettings(steps=1, micro_batch=rows)
    assert TrainingSettings(steps=1, micro_batch="auto").micro_batch == "auto"
