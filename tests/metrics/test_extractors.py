"""Networks for features: what they see, by which word, and what they refuse."""

import pickle
import sys
import urllib.error

import pytest
import torch
from finish import finish
from models import classifier
from safetensors.torch import save_file

from condgen import ResNetSettings, UserError
from condgen.metrics import extractors
from condgen.metrics.extractors import open_extractor
from condgen.metrics.features import Store
from condgen.networks.cifar_resnet import CifarResNet
from condgen.rng import keyed_generator

COLOUR, GREY = (3, 16, 16), (1, 16, 16)


def images(shape, n=5):
    return torch.rand(n, *shape, generator=keyed_generator(1)) * 2 - 1


def kept(store, x, what="x"):
    return finish(store.of_samples(x, what))[0]


@pytest.fixture
def resnet(tmp_path):
    torch.manual_seed(0)
    network = CifarResNet(3, 10, 8).eval()
    save_file(network.state_dict(), tmp_path / "public.safetensors")
    return network, tmp_path / "public.safetensors"


def test_a_public_classifier_sees_what_it_is_used_to(resnet):
    network, path = resnet
    x = images(COLOUR)
    found = open_extractor(str(path), COLOUR)
    pixels = (x + 1) / 2  # in [0, 1]
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    vectors, logits = found.function(x)
    assert torch.allclose(vectors, network.features((pixels - mean) / std), atol=1e-6)
    assert torch.allclose(logits, network((pixels - mean) / std), atol=1e-6)
    assert (found.name, found.inception) == ("public", False)
    grey, of_grey = images(GREY), open_extractor(str(path), GREY)
    assert torch.equal(of_grey.function(grey).vectors, found.function(grey.expand(-1, 3, -1, -1)).vectors)


def test_inception_comes_from_torch_fidelity_in_whole_pixels(monkeypatch):
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    torch.manual_seed(0)
    found = open_extractor("inception", GREY)
    assert found.inception
    seen = []
    monkeypatch.setattr(
        module.FeatureExtractorInceptionV3,
        "forward",
        lambda _, x: seen.append(x) or (torch.zeros(len(x), 2048), torch.zeros(len(x), 1008)),
    )
    x = torch.tensor([-1.0, 0.0, 1.0]).expand(1, 1, 2, 3)
    assert [part.shape[1] for part in found.function(x)] == [2048, 1008]
    assert seen[0].dtype == torch.uint8
    assert seen[0].shape == (1, 3, 2, 3)
    assert seen[0][0, 0, 0].tolist() in ([0, 127, 255], [0, 128, 255])


def test_inception_lets_tensors_in_and_nothing_else(monkeypatch, tmp_path):
    """Whatever lies where the weights are kept, it is not run."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    place = tmp_path / "checkpoints" / module.URL_INCEPTION_V3.split("/")[-1]
    place.parent.mkdir()

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    for content in (pickle.dumps(Trap(), protocol=2), b"", b"cut short"):
        place.write_bytes(content)
        with pytest.raises(UserError, match="does not hold the weights of Inception-v3: delete it"):
            open_extractor("inception", COLOUR)
    torch.save({"weight": Trap()}, place)
    with pytest.raises(UserError, match="does not hold the weights"):
        open_extractor("inception", COLOUR)
    assert not (tmp_path / "sprung").exists()
    assert "partial" not in repr(module.load_state_dict_from_url)  # the library is left as it was


def test_inception_without_a_network_or_its_extra_says_what_to_do(monkeypatch):
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    def refuse(*_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(module, "load_state_dict_from_url", refuse)
    with pytest.raises(UserError, match=r"could not be fetched .*no route.*connect to a network once"):
        open_extractor("inception", COLOUR)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UserError, match=r"pip install 'condgen\[inception\]'"):
        open_extractor("inception", COLOUR)


def test_timm_with_weights_of_a_file(tmp_path):
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet10t").eval()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    found = open_extractor(f"timm:resnet10t@{tmp_path / 'w.safetensors'}", COLOUR)
    x = images(COLOUR, 2)
    vectors, logits = found.function(x)
    about = timm.data.resolve_model_data_config(network)
    resized = torch.nn.functional.interpolate(x, about["input_size"][1:], mode="bicubic", antialias=True)
    mean, std = (torch.tensor(about[k])[:, None, None] for k in ("mean", "std"))
    with torch.no_grad():
        expected = network(((resized + 1) / 2 - mean) / std)
    assert torch.allclose(logits, expected, atol=1e-4)
    assert vectors.shape == (2, 512)
    assert 8 <= found.batch < 100  # images of 176 pixels are many numbers


def test_heads_that_do_not_classify_give_no_logits(monkeypatch):
    import timm

    monkeypatch.setattr("condgen.metrics.extractors.fetch", lambda *_: None)
    created = timm.create_model
    for name, tag, logits in (("resnet10t", "c3_in1k", True), ("resnet10t", "openai", False)):

        def create(name, pretrained, _tag=tag, **options):
            network = created(name, **options)
            network.pretrained_cfg["tag"] = _tag
            return network

        monkeypatch.setattr(timm, "create_model", create)
        assert (open_extractor(f"timm:{name}", COLOUR).function(images(COLOUR, 1)).logits is not None) == logits


def test_weights_of_timm_are_asked_for_once(monkeypatch):
    def refuse(repository, **_):
        asked.append(repository)
        raise OSError("no route")

    asked = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(UserError, match=r"weights of timm:resnet10t are not on this machine .*no route.*connect to a"):
        open_extractor("timm:resnet10t", COLOUR)
    assert asked == ["timm/resnet10t.c3_in1k"]


def test_a_classifier_of_condgen_at_its_least_noise(tmp_path):
    torch.manual_seed(0)
    judge = classifier(network=ResNetSettings(width=8, blocks=(1, 1)), shape=GREY, names=tuple("abc")).eval()
    folder = tmp_path / "judge"
    judge.save(folder)
    x, t = images(GREY), torch.tensor(judge.schedule.t_min, dtype=torch.float64)
    vectors, logits = open_extractor(str(folder), GREY).function(x)
    with torch.no_grad():
        assert torch.allclose(logits, judge(judge.schedule.alpha(t).float() * x, t), atol=1e-6)
        assert torch.allclose(judge.net.leave(vectors).log_softmax(1), logits, atol=1e-6)
    with pytest.raises(UserError, match="trained on samples of shape"):
        open_extractor(str(folder), COLOUR)


def test_what_is_no_extractor(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"none")
    for name, shape, message in (
        ("inceptoin", COLOUR, "there are no features 'inceptoin'; choose pixels; inception"),
        ("inception", (2,), "features 'inception' are of images, and the samples are points"),
        (str(tmp_path / "broken.safetensors"), COLOUR, "is no safetensors file"),
        (str(tmp_path), COLOUR, "there are no features"),
        ("timm:resnett", COLOUR, r"Unknown model \(resnett\).*: choose one of timm.list_models"),
        ("timm:resnet10t@weights.bin", COLOUR, "weights.bin is not a safetensors file"),
    ):
        with pytest.raises(UserError, match=message):
            open_extractor(name, shape)


def test_features_are_kept_by_the_content_of_samples_and_network(resnet, tmp_path, monkeypatch):
    _, path = resnet
    x, folder = images(COLOUR, 7), tmp_path / "kept"
    calls = []
    plain = open_extractor(str(path), COLOUR)
    counted = extractors.Extractor("n", lambda x: calls.append(len(x)) or plain.function(x), plain.key)
    first = kept(Store(counted, folder), x)
    again = kept(Store(counted, folder), x.clone())
    assert calls == [7]
    assert torch.equal(first.vectors, again.vectors)
    assert torch.equal(first.logits, again.logits)
    kept(Store(counted, folder), x + 1e-6)
    assert calls == [7, 7]
    kept(Store(extractors.Extractor("n", counted.function, plain.key + "another network"), folder), x)
    assert calls == [7, 7, 7]
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:50])  # cut short
    assert torch.equal(kept(Store(counted, folder), x).vectors, first.vectors)
    assert calls == [7, 7, 7, 7]
    kept(Store(extractors.Extractor("n", counted.function), folder), x)
    assert len(list(folder.iterdir())) == 3  # without a key nothing is kept


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(resnet, tmp_path):
    _, path = resnet
    (tmp_path / "file").write_text("in the way")
    store = Store(open_extractor(str(path), COLOUR), tmp_path / "file" / "below")
    assert kept(store, images(COLOUR, 7)).vectors.shape == (7, 64)
    assert "cannot write" in store.problem
