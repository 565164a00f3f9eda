"""Networks whose features are trusted to see what matters in images, by the word that `--features` takes."""

import functools
import hashlib
import pickle
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from condgen.checkpoint import MODEL_FILE
from condgen.classifier import Classifier
from condgen.data.labelled import to_uint8
from condgen.errors import UserError, explain, from_extra
from condgen.hub import fetch
from condgen.metrics.features import Extractor, Features, pixels
from condgen.networks.cifar_resnet import CifarResNet

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which most networks are used to
_PIXELS = 2**21  # of a batch, as a network has it


def open_extractor(name: str, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Extractor:
    """The extractor of this name; a UserError where there is none, or it is not for samples of this shape."""
    if name == "pixels":
        return pixels(shape)
    if len(shape) != 3:
        raise UserError(f"features {name!r} are of images, and the samples are points: leave --features out")
    if name == "inception":
        return _inception(device)
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), device)
    if (Path(name) / MODEL_FILE).is_file():
        return _classifier(Path(name), shape, device)
    if Path(name).is_file():
        return _cifar_resnet(Path(name), device)
    published = "pixels; inception (FID's); timm:NAME (with its published weights, or timm:NAME@FILE.safetensors)"
    others = "the folder of a classifier that condgen trained; or the safetensors file of a CIFAR ResNet"
    raise UserError(f"there are no features {name!r}; choose {published}; {others}")


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _batch(size: int) -> int:
    return min(max(_PIXELS // size**2, 8), 500)


def _colour(x: Tensor) -> Tensor:
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


def _inception(device: torch.device | str) -> Extractor:
    """Inception-v3 as FID has it, of torch-fidelity, which fetches the weights: 2,048 features, and its logits."""
    with from_extra("inception"):
        from torch_fidelity import feature_extractor_inceptionv3 as library
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(library.URL_INCEPTION_V3).name
    fetch = library.load_state_dict_from_url
    # The library would unpickle whatever lies there; tensors alone are let in.
    library.load_state_dict_from_url = functools.partial(fetch, check_hash=True, weights_only=True)
    try:
        network = library.FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"]).to(device)
    except OSError as error:  # urllib's errors are among these
        advice = f"connect to a network once, or copy {path} from a machine that has it"
        raise UserError(f"the weights of Inception-v3 could not be fetched ({error}): {advice}") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} does not hold the weights of Inception-v3: delete it, it is fetched again") from error
    finally:
        library.load_state_dict_from_url = fetch

    def function(x: Tensor) -> Features:
        return Features(*network(to_uint8(_colour(x)).to(device)))

    key = f"inception-v3-compat {version('torch-fidelity')} {_content(path) if path.is_file() else ''}"
    batch = _batch(network.INPUT_IMAGE_SIZE)
    return Extractor("Inception-v3 (torch-fidelity)", function, key, inception=True, batch=batch)


def _timm(name: str, device: torch.device | str) -> Extractor:
    """Any model of timm, in the size and colours that it is used to."""
    import timm  # here, because the import takes seconds
    from torchvision.transforms.functional import normalize

    name, _, file = name.partition("@")
    options: dict[str, Any] = {"pretrained_cfg_overlay": {"file": file}} if file else {}
    if file and not (Path(file).is_file() and file.endswith(".safetensors")):
        raise UserError(f"{file} is not a safetensors file: timm:{name}@FILE takes weights of {name} in that form")
    online = "choose one of timm.list_models(pretrained=True), connect to a network once"
    advice = f"{online}, or name a file, as in timm:{name}@weights.safetensors"
    wrong = (OSError, RuntimeError, ValueError, KeyError, SafetensorError, UserError)
    with explain(f"the weights of timm:{name} are not on this machine", advice, *wrong):
        known = None if file else timm.get_pretrained_cfg(name)
        if known is not None and known.hf_hub_id:  # timm would ask a network that is not there for a minute
            prefix = "open_clip_" if (known.hf_hub_filename or "").startswith("open_clip_") else ""
            fetch(f"hf:{known.hf_hub_id}", (f"{prefix}model.safetensors",))
        network = timm.create_model(name, pretrained=True, **options).to(device).eval().requires_grad_(False)
    about = timm.data.resolve_model_data_config(network)
    size = about["input_size"][1:]

    def function(x: Tensor) -> Features:
        x = F.interpolate(_colour(x.to(device)), size, mode="bicubic", antialias=True, align_corners=False)
        found = network.forward_features(normalize((x + 1) / 2, about["mean"], about["std"]))
        vectors = network.forward_head(found, pre_logits=True)
        return Features(vectors, network.forward_head(found) if classifies else None)

    tag = str(network.pretrained_cfg.get("tag"))
    # Heads of other networks project, or pass on what they get.
    classifies = network.num_classes > 0 and (bool(file) or re.search(r"in(1|12|21|22)k", tag) is not None)
    key = f"timm {timm.__version__} {name} {_content(Path(file)) if file else tag}"
    return Extractor(f"timm {name}", function, key, batch=_batch(max(size)))


def _cifar_resnet(path: Path, device: torch.device | str) -> Extractor:
    """A public classifier of small images, used to ImageNet's mean and deviation: 64 features, and its logits."""
    from torchvision.transforms.functional import normalize  # here, because the import takes a second

    advice = "features come from nothing else"
    with explain(f"{path} is no safetensors file", advice, SafetensorError, OSError, ValueError):
        tensors = load_file(path)
    network = CifarResNet.from_tensors(tensors, str(path)).to(device)
    if network.conv1.in_channels != 3:
        raise UserError(f"{path} is for images of {network.conv1.in_channels} channels: features need one for 3")

    def function(x: Tensor) -> Features:
        vectors = network.features(normalize((_colour(x.to(device)) + 1) / 2, _MEAN, _STD))
        return Features(vectors, network.linear(vectors))

    return Extractor(path.stem, function, _content(path))


def _classifier(folder: Path, shape: tuple[int, ...], device: torch.device | str) -> Extractor:
    """A classifier of condgen at its least noise: what its last layer sees, and its logits."""
    classifier = Classifier.load(folder, device)
    if classifier.config.shape != shape:
        raise UserError(f"{folder} was trained on samples of shape {classifier.config.shape}, and these have {shape}")
    seen: list[Tensor] = []
    last = [module for module in classifier.net.modules() if isinstance(module, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1)))
    t = torch.tensor(classifier.schedule.t_min, dtype=torch.float64)
    alpha = float(classifier.schedule.alpha(t))

    def function(x: Tensor) -> Features:
        logits = classifier(alpha * x.to(device), t)
        return Features(seen.pop(), logits)

    return Extractor(f"classifier {folder.resolve().name}", function, _content(folder / MODEL_FILE))
