"""What a generator starts from, and what its teacher and its classifier have to fit."""

import pytest
import torch
from stages import ALONE, DIGITS, NETWORK, small_stage, train

from condgen import ScoreModel, UserError, parse_data
from condgen.data.sets import load
from condgen.networks.embedding import ClassEmbedding
from condgen.rng import keyed_generator
from condgen.runs.models import Folders
from condgen.runs.prepare import generator_task

OWN = {"network": NETWORK, "objective": {"loss": "sid", "network": NETWORK}}  # not the teacher's


def generator_stage(**changes):
    return small_stage("generator", **{"network": None, "objective": {"loss": "sid"}, "teacher": {}} | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    for labels in ("none", "embedding", "separate"):
        list(train(root / labels, small_stage("score", labels=labels)))
    list(train(root / "ce", small_stage("classifier", objective={"loss": "ce"})))
    return root


def task(stage, score=None, classifier=None, guide=None):
    folders = Folders(score, {"weak": guide} if guide else {}, {"ce": classifier} if classifier else {})
    return generator_task(stage, DIGITS.train, folders, ALONE.device)


def tables(net):
    return [module.table.weight for module in net.modules() if isinstance(module, ClassEmbedding)]


@pytest.mark.parametrize("labels", ["none", "embedding"])
@pytest.mark.parametrize("level", [2.0, 5.0])
def test_a_generator_begins_as_its_teacher_at_one_noise_level(labels, level, trained):
    teacher = ScoreModel.load(trained / labels)
    guidance = {"classifier": "ce", "scale": 2} if labels == "none" else {}
    stage = generator_stage(level=level, teacher=guidance)
    begun = task(stage, score=trained / labels, classifier=trained / "ce")
    z, y = torch.randn(10, 1, 8, 8, generator=keyed_generator(0)), torch.arange(10)
    sigma = level * teacher.config.sigma_data
    t = teacher.schedule.t_of_noise_level(torch.tensor(sigma, dtype=torch.float64))
    with torch.no_grad():
        if labels == "none":  # what the classes add, which the teacher does not know, aside
            for table in (*tables(begun.model.net), *tables(begun.fake.net)):
                table.zero_()
        expected = teacher(sigma * z, t, y)  # alpha is 1 in this schedule
        torch.testing.assert_close(begun.model(z, y), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(begun.fake(sigma * z, t, y), expected, rtol=0, atol=0)


def test_classes_begin_apart_also_where_the_teacher_knows_none(trained):
    guided = generator_stage(teacher={"classifier": "ce"})
    begun = task(guided, score=trained / "none", classifier=trained / "ce")
    for net in (begun.model.net, begun.fake.net):
        assert tables(net)
        assert all(len(table.unique(dim=0)) == len(table) for table in tables(net))


def test_a_network_of_another_kind_begins_afresh(trained):
    begun = task(generator_stage(network=NETWORK, latent=5), score=trained / "embedding")
    assert begun.model.config.level is None
    assert begun.model.latent_shape == (5,)
    wider = generator_stage(objective={"loss": "sid", "network": NETWORK | {"width": 32}})
    begun = task(wider, score=trained / "embedding")
    taught = ScoreModel.load(trained / "embedding")
    assert begun.fake.config.network.width == 32  # a network of its own, which cannot start from the teacher's weights
    assert begun.model.config.network == taught.config.network
    weights = taught.net.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in begun.model.net.state_dict().items())


def test_a_teacher_is_frozen_and_only_the_others_learn(trained):
    taught = task(generator_stage(), score=trained / "embedding")
    assert taught.models.keys() == {"model", "fake"}
    assert not any(parameter.requires_grad for parameter in taught.real.parameters())
    network = {"network": NETWORK, "objective": {"loss": "dmd", "network": NETWORK}, "teacher": None}
    alone = task(generator_stage(**network))
    assert alone.models.keys() == {"model", "fake", "real"}
    for name, module in (*taught.models.items(), *alone.models.items()):
        assert all(parameter.requires_grad for parameter in module.parameters()), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_lighter_teacher_may_have_a_network_per_class(precision, trained):
    taught = task(generator_stage(**OWN, prior={"precision": precision}), score=trained / "separate")
    exact = ScoreModel.load(trained / "separate")
    x, t, y = torch.randn(4, 1, 8, 8), torch.full((4,), 0.5, dtype=torch.float64), torch.tensor([0, 7, 7, 2])
    with torch.no_grad():
        torch.testing.assert_close(taught.real(x, t, y), exact(x, t, y), rtol=0.1, atol=0.05)


def test_a_likelihood_term_needs_a_classifier_of_the_same_data(trained):
    stage = generator_stage(likelihood={"classifier": "ce", "weight": 0.5})
    likely = task(stage, score=trained / "embedding", classifier=trained / "ce").likely
    assert likely.term.weight == 0.5
    assert not any(parameter.requires_grad for parameter in likely.classifier.parameters())
    with pytest.raises(UserError, match="there is no classifier 'ce' among: none"):
        task(stage, score=trained / "embedding")
    with pytest.raises(UserError, match="holds a score model, where a classifier is needed"):
        task(stage, score=trained / "embedding", classifier=trained / "none")
    moons = load(parse_data("moons"), "train")
    alone = generator_stage(**OWN, teacher=None, likelihood={"classifier": "ce"})
    with pytest.raises(UserError, match="one data set and one schedule for both"):
        generator_task(alone, moons, Folders(classifiers={"ce": trained / "ce"}), ALONE.device)


@pytest.mark.parametrize("level", [1e-9, 1e6])
def test_a_denoisers_network_is_asked_at_a_level_of_its_schedule(trained, level):
    with pytest.raises(UserError, match=r"generator.level .* outside the schedule's, .* choose one between"):
        task(generator_stage(level=level), score=trained / "embedding")


def test_the_noise_levels_of_mismatching_suit_the_width_of_the_data():
    """Images range from -1 to 1; points are twice their standard deviation wide."""
    objective = {"loss": "smm", "network": NETWORK}
    stage = generator_stage(network=NETWORK, objective=objective, teacher=None)
    moons = load(parse_data("moons"), "train")
    for data, unit in ((DIGITS.train, 1.0), (moons, 2 * moons.standard_deviation())):
        critic = generator_task(stage, data, Folders(), ALONE.device).critic
        assert critic.schedule.noise_range[1] == pytest.approx(0.3103 * unit, rel=1e-3)


def test_every_score_model_of_a_teacher_is_made_lighter(trained):
    stage = generator_stage(**OWN, teacher={"guide": "weak", "scale": 2}, prior={"precision": "bfloat16"})
    guided = task(stage, score=trained / "embedding", guide=trained / "separate").real
    for net in (guided.denoiser.net, *guided.guide.net):
        inside = []
        layer = next(module for module in net.modules() if isinstance(module, torch.nn.Linear))
        layer.register_forward_hook(lambda module, given, out, inside=inside: inside.append(out.dtype))
        assert net(torch.randn(2, *guided.denoiser.config.shape), torch.zeros(2)).dtype == torch.float32
        assert inside == [torch.bfloat16]


def test_a_generator_of_a_network_with_dropout_has_none():
    """What is trained is what is shipped; the denoiser of its samples learns with dropout as its teacher did."""
    network = {"kind": "unet", "channels": 8, "multipliers": [1], "blocks": 1, "attention": [], "dropout": 0.3}
    alone = task(generator_stage(objective={"loss": "sid", "network": network}, teacher=None))
    assert alone.model.config.network.dropout == 0
    assert alone.fake.config.network.dropout == 0.3
    y, z = torch.arange(4), torch.randn(4, *alone.model.latent_shape)
    assert torch.equal(alone.model(z, y), alone.model(z, y))
