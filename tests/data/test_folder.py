"""Folders of images: what is read, and how each fault is named."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from condgen.data import Folder, load
from condgen.data.folder import read_folder
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


def refused(root, *parts, **options):
    with pytest.raises(UserError) as error:
        load(Folder(root=root, **options), "train")
    assert "\n" not in str(error.value)
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
    assert [split.y.bincount().tolist() for split in splits] == [[6, 6], [1, 1], [3, 3]]
    whole = {image.numpy().tobytes() for image in torch.cat([train.x, validation.x, test.x])}
    assert whole == {image.tobytes() for image in read_folder(root, None)[0]}
    assert train.source == str(root)


def test_hidden_entries_and_other_files_are_passed_over_and_other_formats_read(root):
    (root / ".hidden").mkdir()
    (root / "README.md").write_text("about")
    (root / "a" / ".DS_Store").write_text("")
    (root / "a" / "labels.txt").write_text("")
    assert read_folder(root, None)[0].shape[0] == 20
    for suffix in ("jpg", "JPEG", "webp", "bmp"):
        save(root / "a" / f"x.{suffix}")
    assert read_folder(root, None)[0].shape[0] == 24


def test_grey_stays_one_channel_only_if_all_images_are_grey(tmp_path):
    grey = save(tmp_path / "a" / "0.png", mode="L")
    save(tmp_path / "b" / "0.png", mode="L")
    assert np.array_equal(read_folder(tmp_path, None)[0][0], grey[None])
    save(tmp_path / "b" / "1.png", mode="RGB")
    x = read_folder(tmp_path, None)[0]
    assert x.shape[1] == 3
    assert np.array_equal(x[0], np.stack([grey] * 3))


def test_palettes_and_transparency_become_colours(tmp_path):
    colours = save(tmp_path / "a" / "0.png", mode="RGBA")
    save(tmp_path / "b" / "0.png")
    palette = Image.new("P", (6, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "b" / "1.png", transparency=b"\xff\x80")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = read_folder(tmp_path, None)[0]
    assert np.array_equal(x[0], colours[:, :, :3].transpose(2, 0, 1))
    assert x[2, :, 0, 0].tolist() == [10, 20, 30]


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
    refused(tmp_path, "holds 0 class folders")
    save(tmp_path / "only" / "0.png")
    refused(tmp_path, "holds 1 class folder;", "at least 2 classes")


def plant(path, content):
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty", None, "class 'empty' has no images"),
        ("a/deeper", None, "inside a class"),
        ("a/broken.png", b"text", "cannot identify image file"),
        ("a/deep.png", np.zeros((4, 6), np.uint16), "more than 8 bits"),
    ],
)
def test_what_is_no_image_or_no_class_is_named(root, name, content, message):
    plant(root / name, content)
    refused(root, root / name if "/" in name else name, message)


def test_an_image_that_is_cut_short(root):
    whole = (root / "a" / "0.png").read_bytes()
    (root / "a" / "0.png").write_bytes(whole[: len(whole) * 2 // 3])
    refused(root, root / "a" / "0.png", "cannot be read as an image")


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
        refused(root, root / "a" / "link.png", "leaves", root)
    elif target == "folder":
        (root / "c").symlink_to(outside)
        refused(root, root / "c", "leaves", root)
    else:
        (root / "a" / "link.png").symlink_to(root / "a" / "link.png")
        refused(root, root / "a" / "link.png", "cannot be read")


def test_too_few_images_to_hold_out(tmp_path):
    for label in ("a", "b", "c"):
        for i in range(3):
            save(tmp_path / label / f"{i}.png")
    refused(tmp_path, "9 images in 3 classes", "hold out 1", "data.test_fraction")
    assert len(load(Folder(root=tmp_path, test_fraction=0.3), "test")) == 3
    save(tmp_path / "lone" / "0.png")
    refused(tmp_path, "the smallest, 'lone', has 1", test_fraction=0.5)


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
