"""What a folder offers, and what it says where it offers nothing."""

import shutil

import pytest
import yaml

from condgen.errors import UserError
from condgen.recipes.guidance import Method
from condgen.studio.offer import read_offer


def test_a_run_offers_its_models_and_its_methods(digits_of_few_steps, offer):
    assert offer.folders.main == digits_of_few_steps / "score"
    assert offer.labels == {"score": "none", "told": "embedding", "snapshot-3": "none"}
    assert (set(offer.folders.classifiers), set(offer.folders.generators)) == ({"ce"}, {"sid"})
    assert list(offer.methods) == ["unguided", "ce", "calibrated", "own-steps", "one-step"]
    knows = {name: offer.knows_labels(method) for name, method in offer.methods.items()}
    assert knows == {name: name != "unguided" for name in offer.methods}


def test_methods_whose_models_are_not_there_or_whose_sampler_is_ones_own_are_left_out(digits_of_few_steps, tmp_path):
    run = shutil.copytree(digits_of_few_steps, tmp_path / "run")
    shutil.rmtree(run / "generator-sid")
    shutil.rmtree(run / "classifier-ce" / "calibration")
    assert list(read_offer(run).methods) == ["unguided", "ce", "own-steps"]
    tree = yaml.safe_load((run / "recipe.yaml").read_text())
    tree["sample"]["methods"]["ce"]["sampler"] = "condgen.samplers.heun:Heun"
    (run / "recipe.yaml").write_text(yaml.safe_dump(tree))
    assert set(read_offer(run).methods) == {"unguided", "own-steps"}


def test_a_recipe_of_another_version_leaves_the_models(digits_of_few_steps, tmp_path):
    run = shutil.copytree(digits_of_few_steps, tmp_path / "run")
    (run / "recipe.yaml").write_text("nothing: that is known\n")
    methods = read_offer(run).methods
    assert methods["score model"] == Method()
    assert methods["ce"] == Method(classifier="ce")
    assert methods["sid"] == Method(generator="sid")


@pytest.mark.parametrize(
    ("stage", "method"), [("score", Method()), ("generator-sid", Method(generator="generator-sid"))]
)
def test_a_single_model_is_enough(digits_of_few_steps, stage, method):
    offer = read_offer(digits_of_few_steps / stage)
    assert method in offer.methods.values()
    assert offer.folders.files(method)
    assert offer.names == tuple("0123456789")
    if stage == "generator-sid":
        with pytest.raises(UserError, match="there is no score model"):
            offer.folders.files(Method())


def test_folders_without_a_model_that_draws(digits_of_few_steps, tmp_path):
    for folder, words in [
        (tmp_path / "nowhere", "holds no trained"),
        (tmp_path, "holds no trained"),
        (digits_of_few_steps / "samples", "holds no trained"),
        (digits_of_few_steps / "classifier-ce", "could draw"),
    ]:
        with pytest.raises(UserError, match=words):
            read_offer(folder)
