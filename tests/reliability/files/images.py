"""Data that others collected: folders of pictures, and files that would be unpickled if anybody did."""

import shutil
from pathlib import Path
from random import Random

from condgen.data import Folder, load, parse_data
from condgen.data.folder import read_folder
from reliability.files.mutate import hostile_bytes
from reliability.files.pictures import PLACES, file_name, grey, hostile_file, planted

__all__ = ["make_archive", "make_images", "read_archive", "read_images", "warm_images"]


def make_images(chance: Random, valid: Path, case: Path) -> None:
    """Two classes of small pictures, with one to three things among them that few expect."""
    root = case / "in" / "images"
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for number in range(3):
            grey(chance).save(root / label / f"{number}.png")
    for _ in range(chance.choice((1, 1, 2, 3))):
        folder, draw = root / chance.choice("ab"), chance.random()
        place = folder / (file_name(chance) if chance.random() < 0.3 else f"x{chance.randrange(9)}.png")
        if place.exists() or place.is_symlink():
            continue
        if draw < 0.65:
            place.write_bytes(hostile_file(chance))
        elif draw < 0.85:
            chance.choice(list(PLACES.values()))(place, case / "outside")
        elif draw < 0.95:
            name = file_name(chance, "")
            if not (root / name).exists():
                shutil.copytree(root / "b", root / name, symlinks=True, ignore=lambda _, names: set(names) - {"0.png"})
        else:
            (root / "c").symlink_to(chance.choice((case / "outside", root, Path("/proc/self"), Path("c"))))
            break


def read_images(chance: Random, case: Path) -> None:
    """As training reads them."""
    root, size = case / "in" / "images", chance.choice((8, 8, 8, None))
    if chance.random() < 0.5:
        read_folder(root, size)
    else:
        load(Folder(root=root, image_size=size, test_fraction=0.4), "train")


def warm_images(valid: Path, out: Path) -> None:
    """Loads scikit-learn, torchvision and Pillow's plugins."""
    import torchvision.datasets

    for label in ("a", "b"):
        (out / label).mkdir()
        for number in range(5):
            grey(Random(number)).save(out / label / f"{number}.png")
    load(Folder(root=out, image_size=8, test_fraction=0.4), "train")
    assert torchvision.datasets


def make_archive(chance: Random, valid: Path, case: Path) -> None:
    """What should be CIFAR: pickles that write the canary, in the place of its files and beside them."""
    names = {
        "cifar-10-batches-py": (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        "cifar-100-python": ("train", "test", "meta"),
    }
    for folder, files in names.items():
        for file in (*files, "data.npz", "labels.npy", "model.pt"):
            path = case / "in" / folder / file
            path.parent.mkdir(exist_ok=True)
            content = planted(chance, case / "canary")
            path.write_bytes(hostile_bytes(chance, content) if chance.random() < 0.3 else content)
        if chance.random() < 0.2:
            path = case / "in" / folder / chance.choice(files)
            path.unlink()
            chance.choice(list(PLACES.values()))(path, case / "outside")


def read_archive(chance: Random, case: Path) -> None:
    """As training reads it."""
    data = parse_data(chance.choice(("cifar10", "cifar100"))).model_copy(update={"root": case / "in"})
    load(data, chance.choice(("train", "test")))
