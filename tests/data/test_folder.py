"""Folders of images: what is read, and how each fault is named."""

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from condgen.data import folder
from condgen.data.folder import list_images
from condgen.data.sets import Folder, load
from condgen.errors import UserError


def save(path, size=(6, 4), mode="RGB", value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    seed = sum(path.name.encode())
    pixels = np.full(shape, value) if value is not None else np.random.default_rng(seed).integers(256, size=shape)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return pixels.astype(np.uint8)


@pytest.fixture
def root(tmp_path):
    for label in ("b", "a"):
        for i in range(10):
            save(tmp_path / label / f"{i}.png")
    return tmp_path


def read_folder(root, size):
    images = list_images(root)
    return images.read(images.files, size), np.array([file.label for file in images.files]), images.names


def refused(root, *parts, **options):
    with pytest.raises(UserError) as error:
        load(Folder(root=root, **options), "train")
    for part in parts:
        assert str(part) in str(error.value)


def test_classes_are_the_sorted_folders_and_the_pixels_those_of_the_files(root):
    x, y, names = read_folder(root, None)
    assert (names, x.shape, x.dtype) == (("a", "b"), (20, 3, 4, 6), np.uint8)
    assert y.tolist() == [0] * 10 + [1] * 10
    assert np.array_equal(x[3], np.asarray(Image.open(root / "a" / "3.png")).transpose(2, 0, 1))


def test_the_splits_are_disjoint_and_together_everything(root):
    splits = Folder(root=root, test_fraction=0.3).load_all()
    train, validation, test = splits
    assert sum(split.y.bincount() for split in splits).tolist() == [10, 10]
    whole = {image.numpy().tobytes() for image in torch.cat([train.x, validation.x, test.x])}
    assert whole == {image.tobytes() for image in read_folder(root, None)[0]}
    assert (train.source, train.names) == (root.name, ("a", "b"))


def by_name(root, **options):
    """The split of every image, by its path."""
    images = list_images(root)
    return {
        file.path: split
        for split in ("train", "validation", "test")
        for file in images.rows(split, **{"test_fraction": 0.3, "validation_fraction": 0.2, "seed": 0} | options)
    }


def test_fractions_are_those_asked_for_and_another_seed_divides_otherwise(tmp_path):
    for i in range(2000):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[i % 2] / f"{i}.png").touch()
    found = by_name(tmp_path)
    for split, share in {"test": 0.3, "validation": 0.7 * 0.2, "train": 0.7 * 0.8}.items():
        assert list(found.values()).count(split) / 2000 == pytest.approx(
            share, abs=4 * (share * (1 - share) / 2000) ** 0.5
        )
    assert found != by_name(tmp_path, seed=1)


def test_an_image_more_or_less_and_another_place_move_no_image_to_another_split(root):
    for i in range(10, 20):
        save(root / "b" / f"{i}.png")
        save(root / "a" / f"{i}.png")
    before = by_name(root)
    for i in range(20, 30):
        save(root / "a" / f"{i}.png")
    (root / "b" / "0.png").unlink()
    after = by_name(root)
    assert all(after[path] == split for path, split in before.items() if path in after)
    other = root.with_name("elsewhere")
    root.rename(other)
    assert {path.relative_to(other): split for path, split in by_name(other).items()} == {
        path.relative_to(root): split for path, split in after.items()
    }


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_smallest_classes_give_one_image_to_the_test_and_then_to_validation(tmp_path, n):
    for i in range(n):
        save(tmp_path / "a" / f"{i}.png")
        save(tmp_path / "b" / f"{i}.png")
    splits = Folder(root=tmp_path, test_fraction=0.01, validation_fraction=0.01)
    sizes = [splits.load(split).y.bincount().tolist() for split in ("test", "train")]
    assert sizes == [[1, 1], [max(1, n - 2)] * 2]


def test_folders_train_and_test_are_the_splits(tmp_path):
    for split, n in {"train": 9, "test": 2}.items():
        for i in range(n):
            save(tmp_path / split / "a" / f"{i}.png")
            save(tmp_path / split / "b" / f"{i}.png", value=3)
    data = Folder(root=tmp_path)
    train, validation, test = data.load_all()
    assert (train.names, test.names) == (("a", "b"), ("a", "b"))
    assert (len(train) + len(validation), len(test)) == (18, 4)
    assert (validation.y.unique().tolist(), test.y.tolist()) == ([0, 1], [0, 0, 1, 1])
    save(tmp_path / "valid" / "a" / "0.png", value=7)
    save(tmp_path / "valid" / "b" / "0.png", value=8)
    train, validation, test = data.load_all()
    assert (len(train), len(test), validation.x.unique().tolist()) == (18, 4, [7, 8])


def test_classes_that_are_called_train_and_test_are_classes(tmp_path):
    for name in ("train", "test"):
        for i in range(4):
            save(tmp_path / name / f"{i}.png")
    assert load(Folder(root=tmp_path), "train").names == ("test", "train")


def test_every_image_of_a_split_is_decoded_once(root, monkeypatch):
    seen = []
    decode = folder.read_picture
    monkeypatch.setattr(folder, "read_picture", lambda path, **options: seen.append(path) or decode(path, **options))
    Folder(root=root).load_all()
    assert sorted(seen) == [file.path for file in list_images(root).files]


def test_many_images_are_decoded_once_into_a_file_that_is_mapped_until_they_change(root, monkeypatch, tmp_path_factory):
    plain = Folder(root=root).load("train")
    monkeypatch.setattr(folder, "_MOST_IN_MEMORY", 100)
    monkeypatch.setenv("CONDGEN_CACHE", str(cache := tmp_path_factory.mktemp("cache")))
    decode, seen = folder.read_picture, []
    monkeypatch.setattr(folder, "read_picture", lambda path, **options: seen.append(path) or decode(path, **options))
    for _ in range(2):
        mapped = Folder(root=root).load("train")
        assert mapped.fingerprint() == plain.fingerprint()
        mapped.x[0] = 0  # its own copy
    assert len(seen) == len(plain)
    assert Folder(root=root).load("test").fingerprint() != plain.fingerprint()
    del seen[len(plain) :]
    os.utime(root / "a" / "0.png", (0, 0))
    Folder(root=root).load("train")
    assert len(seen) == 2 * len(plain)
    new = save(root / "a" / "0.png", value=7)
    assert any(np.array_equal(image.permute(1, 2, 0), new) for image in Folder(root=root).load("train").x)
    save(root / "b" / "large.png", size=(7, 4))
    refused(root, "large.png", "7 x 4")
    assert len(list((cache / "images").iterdir())) == 4  # and nothing unfinished
    (root / "b" / "large.png").unlink()
    for kept in (cache / "images").iterdir():
        kept.write_bytes(kept.read_bytes()[:200])
    refused(root, cache / "images", "cut short", "delete it")
    monkeypatch.setenv("CONDGEN_CACHE", str(root / "a" / "0.png"))
    refused(root, "cannot write", "CONDGEN_CACHE")


def test_hidden_entries_and_other_files_are_passed_over_and_other_formats_read(root):
    (root / ".hidden").mkdir()
    (root / "README.md").write_text("about")
    (root / "a" / ".DS_Store").write_text("")
    (root / "a" / "labels.txt").write_text("")
    (root / "b" / "notes.txt").write_text("")
    for place in ("__MACOSX", "a/.ipynb_checkpoints"):
        save(root / place / "0.png")
    assert read_folder(root, None)[0].shape[0] == 20
    found = load(Folder(root=root), "train").passed_over
    for part in ("2 .txt", "1 .DS_Store", "1 .md", "folder .hidden", "folder __MACOSX", "folder .ipynb_checkpoints"):
        assert part in found
    for suffix in ("jpg", "JPEG", "webp", "bmp", "jfif", "tiff", "gif", "jp2", "ppm"):
        Image.new("RGB", (6, 4)).save(root / "a" / f"x.{suffix}", format="jpeg" if suffix == "jfif" else None)
    assert read_folder(root, None)[0].shape[0] == 29


def test_grey_stays_one_channel_only_if_all_images_are_grey(tmp_path):
    grey = save(tmp_path / "a" / "0.png", mode="L")
    save(tmp_path / "b" / "0.png", mode="L")
    assert np.array_equal(read_folder(tmp_path, None)[0][0], grey[None])
    save(tmp_path / "b" / "1.png", mode="RGB")
    x = read_folder(tmp_path, None)[0]
    assert x.shape[1] == 3
    assert np.array_equal(x[0], np.stack([grey] * 3))


def test_palettes_become_colours_and_what_is_transparent_is_laid_on_white(tmp_path):
    colours = save(tmp_path / "a" / "0.png", mode="RGBA")
    save(tmp_path / "b" / "0.png")
    palette = Image.new("P", (6, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "b" / "1.png", transparency=b"\xff\x80")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = read_folder(tmp_path, None)[0]
    opacity = colours[:, :, 3:] / 255
    expected = opacity * colours[:, :, :3] + (1 - opacity) * 255
    assert np.abs(x[0] - expected.transpose(2, 0, 1)).max() <= 1  # rounding
    assert np.abs(x[2, :, 0, 0] - np.array([132, 137, 142])).max() <= 1  # half transparent


def test_the_orientation_of_a_camera_is_applied(tmp_path):
    save(tmp_path / "b" / "0.png", size=(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    (tmp_path / "a").mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / "a" / "0.jpg", exif=exif)
    assert read_folder(tmp_path, None)[0].shape[2:] == (6, 4)


def test_image_size_crops_the_centre_and_resizes(tmp_path):
    striped = np.zeros((8, 32), np.uint8)
    striped[:, 5:27] = 200  # the central square, and the margin that the filter looks at
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        Image.fromarray(striped).save(tmp_path / label / "0.png")
    save(tmp_path / "b" / "1.png", size=(5, 9), mode="L", value=7)
    x = read_folder(tmp_path, 4)[0]
    assert x.shape == (3, 1, 4, 4)
    assert (x[0] == 200).all()
    assert (x[2] == 7).all()


def test_a_missing_folder_and_one_without_classes(tmp_path):
    refused(tmp_path / "none", "there is no folder", tmp_path / "none")
    refused(tmp_path, "holds no class folders")
    for i in range(3):
        save(tmp_path / "only" / f"{i}.png")
    refused(tmp_path, "at least 2 classes")


@pytest.mark.parametrize(
    ("name", "plant", "message"),
    [
        ("empty", Path.mkdir, "class 'empty' has no images"),
        ("a/deeper", Path.mkdir, "inside a class"),
        ("a/broken.png", lambda path: path.write_bytes(b"text"), "cannot identify image file"),
        ("a/0.png", lambda path: path.write_bytes(path.read_bytes()[:90]), "cannot be read as an image"),
        ("a/deep.png", lambda path: Image.fromarray(np.zeros((4, 6), np.uint16)).save(path), "more than 8 bits"),
    ],
)
def test_what_is_no_image_or_no_class_is_named(root, name, plant, message):
    plant(root / name)
    refused(root, root / name if "/" in name else name, message)


def test_images_of_two_sizes(root):
    save(root / "b" / "large.png", size=(7, 4))
    refused(root, root / "a" / "0.png", "6 x 4", root / "b" / "large.png", "7 x 4", "data.image_size")
    assert load(Folder(root=root, image_size=4), "train").shape == (3, 4, 4)


@pytest.mark.parametrize("target", ["file", "folder", "loop"])
def test_links_that_leave_the_root_or_lead_nowhere(root, tmp_path_factory, target):
    outside = tmp_path_factory.mktemp("outside")
    save(outside / "0.png")
    if target == "file":
        (root / "a" / "link.png").symlink_to(outside / "0.png")
        refused(root, root / "a" / "link.png", "leaves", root, "data.follow_links=true")
        assert len(list_images(root, follow_links=True).files) == 21
    elif target == "folder":
        (root / "c").symlink_to(outside)
        refused(root, root / "c", "leaves", root)
        assert list_images(root, follow_links=True).names == ("a", "b", "c")
    else:
        (root / "a" / "link.png").symlink_to(root / "a" / "link.png")
        refused(root, root / "a" / "link.png", "cannot be read")


def test_a_class_of_one_image_is_refused_with_its_folder(root):
    save(root / "lone" / "0.png")
    refused(root, "class 'lone' has too few images, 1", root / "lone")


def test_a_class_of_the_test_folder_alone_and_a_split_without_images_are_named(root):
    for split in ("train", "test"):
        for label in ("a", "b"):
            save(root / "split" / split / label / "0.png")
    save(root / "split" / "test" / "late" / "0.png")
    refused(root / "split", "class 'late' has too few images, 0", root / "split" / "train" / "late")
    shutil.rmtree(root / "split" / "test" / "late")
    with pytest.raises(UserError, match="leave none to the validation split"):
        load(Folder(root=root / "split"), "validation")


def test_a_class_whose_name_is_no_text_has_one(tmp_path):
    for label in (b"caf\xe9", b"tea"):
        for i in range(3):
            save(tmp_path / os.fsdecode(label) / f"{i}.png")
    assert load(Folder(root=tmp_path), "train").names == ("caf?", "tea")


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[2J", "<script>alert(1)<", "\u202egnp", "-rf"])
def test_names_of_any_sort_are_names_and_errors_one_line(root, name):
    (root / "a").rename(root / name)
    assert name in read_folder(root, 8)[2]
    (root / name / "x.png").write_bytes(b"broken")
    with pytest.raises(UserError) as error:
        read_folder(root, 8)
    assert str(error.value).isprintable()


def test_links_inside_the_root_are_followed_unless_they_lead_into_a_circle(root):
    (root / "a" / "link.png").symlink_to(root / "a" / "0.png")
    assert read_folder(root, None)[0].shape[0] == 21
    (root / "c").symlink_to(root)
    refused(root, "inside a class")
