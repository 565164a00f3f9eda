import pytest
from pydantic import TypeAdapter, ValidationError

from condgen.losses import AnyGeneratorLoss, DistributionMatching, ScoreIdentity, ScoreMismatching

NETWORK = {"kind": "mlp", "width": 16}
ANY = TypeAdapter(AnyGeneratorLoss)


@pytest.mark.parametrize(
    ("loss", "made"), [("smm", ScoreMismatching), ("dmd", DistributionMatching), ("sid", ScoreIdentity)]
)
def test_recipes_choose_an_objective_by_its_loss(loss, made):
    objective = ANY.validate_python({"loss": loss, "network": NETWORK})
    assert type(objective) is made
    assert ANY.validate_python(objective.model_dump(mode="json")) == objective


@pytest.mark.parametrize(
    "tree",
    [
        {"loss": "gan", "network": NETWORK},
        {"loss": "smm"},  # a critic has no teacher to take its network from
        {"loss": "smm", "network": NETWORK, "levels": [0.1, 0.0]},
        {"loss": "dmd", "alpha": 1.0},  # only score identity has one
        {"loss": "sid", "network": {"kind": "convgen"}},
    ],
    ids=repr,
)
def test_what_means_nothing_is_refused(tree):
    with pytest.raises(ValidationError):
        ANY.validate_python(tree)
