"""Pictures, and things that are called pictures, that somebody made to do harm or that few expect."""

import io
import os
import random
import resource
import socket
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from reliability.files.pictures import bomb, planted, png

from condgen.data import Cifar10, Cifar100, Folder, load
from condgen.data.folder import read_folder
from condgen.errors import UserError


@pytest.fixture
def root(tmp_path):
    for label in ("a", "b"):
        for number in range(3):
            path = tmp_path / "images" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), number).save(path)
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def in_time():
    """The promise is 5 seconds; torchvision takes some of its own, the first time."""
    started = time.process_time()
    yield
    assert time.process_time() - started < 5


def encoded(mode, form, **options):
    out = io.BytesIO()
    Image.new(mode, (8, 8)).save(out, format=form, **options)
    return out.getvalue()


def exif(content):
    return encoded("L", "JPEG", exif=b"Exif\0\0" + content)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (encoded("L", "PNG")[:40], "cannot be read as an image"),
        (b"", "cannot identify image file"),
        (EPS, "cannot identify image file"),  # for which Pillow would start Ghostscript
        (encoded("L", "TIFF"), "should be PNG, JPEG, WEBP, BMP"),
        (encoded("L", "GIF"), "should be PNG, JPEG, WEBP, BMP"),
        (encoded("I;16", "PNG"), "more than 8 bits a channel"),
        (png(50_000, 50_000, 8, 6, zlib.compress(b"\0")), "exceeds limit"),
        (png(2**31 - 1, 2**31 - 1, 8, 6, zlib.compress(b"\0")), "cannot be read as an image"),
        (png(0, 8, 8, 0, zlib.compress(b"\0")), "cannot be read as an image"),
        (png(8, 8, 8, 9, zlib.compress(bytes(72))), "cannot be read as an image"),
        (bomb(13_300), "exceeds limit"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIHDR", "cannot be read as an image"),
    ],
    ids=["cut", "empty", "EPS", "TIFF", "GIF", "16 bits", "claims", "huge", "no width", "colour", "bomb", "length"],
)
def test_a_file_is_refused_by_its_name(root, content, why):
    (root / "a" / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=why) as error:
        read_folder(root, 8)
    assert f"{root / 'a' / 'x.png'} cannot be read as an image: " in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "content",
    [
        encoded("1", "PNG"),
        encoded("LA", "PNG"),
        encoded("CMYK", "JPEG"),
        encoded("P", "PNG", transparency=bytes(9)),
        encoded("RGBA", "PNG", save_all=True, append_images=[Image.new("RGBA", (8, 8), (9, 9, 9, 9))]),
        encoded("RGB", "WEBP", save_all=True, append_images=[Image.new("RGB", (8, 8), (9, 9, 9))]),
        exif(b""),
        exif(b"II*\0\xff\xff\xff\xff"),
        exif(b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\xff\xff\xff\xff\0\0"),
        bomb(4000, 1),
    ],
    ids=["1 bit", "LA", "CMYK", "palette", "APNG", "WebP", "no EXIF", "broken EXIF", "no such turn", "16 million"],
)
def test_an_odd_picture_is_read(root, content):
    (root / "a" / "x.png").write_bytes(content)
    x, y, _ = read_folder(root, 8)
    assert x.shape[0] == len(y) == 7
    assert x.dtype == np.uint8


def test_pictures_near_the_limit_take_less_than_two_gigabytes(root):
    (root / "a" / "x.png").write_bytes(bomb(9400, 8, 6))
    assert read_folder(root, 8)[0].shape == (7, 3, 8, 8)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < 2e9


def device(path):
    if os.geteuid() != 0:
        pytest.skip("devices are made by root alone")
    os.mknod(path, 0o020600, os.makedev(1, 5))


def bound(path, monkeypatch):
    monkeypatch.chdir(path.parent)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("fifo", "not a regular file"),
        ("socket", "not a regular file"),
        ("device", "not a regular file"),
        ("folder", "is a folder inside a class"),
        ("link to a device", "is a link that leaves"),
        ("link out", "is a link that leaves"),
        ("link to nothing", "No such file"),
        ("circle", "Too many levels of symbolic links"),
        ("8 GB of nothing", "cannot identify image file"),
    ],
)
def test_what_is_no_file_is_refused_at_once(root, place, why, monkeypatch):
    path, outside = root / "a" / "x.png", root.parent / "secret.png"
    Image.new("L", (8, 8)).save(outside)
    make = {
        "fifo": lambda: os.mkfifo(path),
        "socket": lambda: bound(path, monkeypatch),
        "device": lambda: device(path),
        "folder": path.mkdir,
        "link to a device": lambda: path.symlink_to("/dev/zero"),
        "link out": lambda: path.symlink_to(outside),
        "link to nothing": lambda: path.symlink_to(root / "gone.png"),
        "circle": lambda: (path.symlink_to(root / "y.png"), (root / "y.png").symlink_to(path)),
        "8 GB of nothing": lambda: (path.touch(), os.truncate(path, 8 * 2**30)),
    }
    make[place]()
    with pytest.raises(UserError, match=why):
        read_folder(root, 8)


def test_a_class_folder_that_leads_out_or_round_in_a_circle(root):
    (root.parent / "private").mkdir()
    for target, why in ((root.parent / "private", "leaves"), ("/proc/self/fd", "leaves"), (root, "inside a class")):
        (root / "c").symlink_to(target)
        with pytest.raises(UserError, match=why):
            read_folder(root, 8)
        (root / "c").unlink()


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[2J", "<script>alert(1)<", "\u202egnp", "x" * 240, "-rf"])
def test_names_of_any_sort_are_names_and_errors_one_line(root, name):
    (root / "a").rename(root / name)
    (root / name / f"{name[:100]}.png").write_bytes(b"broken")
    with pytest.raises(UserError) as error:
        read_folder(root, 8)
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).isprintable()
    (root / name / f"{name[:100]}.png").unlink()
    assert name in read_folder(root, 8)[2]


def test_a_class_whose_name_is_no_text_is_refused_and_a_file_of_such_a_name_read(root):
    os.rename(root / "a" / "0.png", os.fsencode(root / "a") + b"/\xff.png")
    assert len(read_folder(root, 8)[0]) == 6
    os.rename(root / "a", os.fsencode(root) + b"/\xff")
    with pytest.raises(UserError, match="is not UTF-8: rename it") as error:
        read_folder(root, 8)
    str(error.value).encode()


@pytest.mark.parametrize("settings", [Cifar10, Cifar100])
@pytest.mark.parametrize("number", range(3))
def test_a_planted_pickle_is_not_opened(tmp_path, settings, number):
    canary = tmp_path / "canary"
    for folder, files in (
        ("cifar-10-batches-py", ["data_batch_1", "test_batch", "batches.meta"]),
        ("cifar-100-python", ["train", "test", "meta"]),
    ):
        (tmp_path / folder).mkdir()
        for file in (*files, "data.npz", "model.pt"):
            (tmp_path / folder / file).write_bytes(planted(random.Random(number), canary))
    with pytest.raises(UserError, match="incomplete or corrupt"):
        load(settings(root=tmp_path), "train")
    assert not canary.exists()


def test_a_pickle_beside_pictures_or_called_one_is_not_opened(root):
    canary = root.parent / "canary"
    (root / "a" / "labels.pkl").write_bytes(planted(random.Random(0), canary))
    assert len(load(Folder(root=root, test_fraction=0.4), "train")) == 3
    (root / "a" / "x.png").write_bytes(planted(random.Random(0), canary))
    with pytest.raises(UserError, match="cannot identify"):
        read_folder(root, 8)
    assert not canary.exists()


def test_the_planted_pickle_would_have_run(tmp_path):
    import pickle

    content = next(c for seed in range(20) if (c := planted(random.Random(seed), tmp_path / "canary"))[:1] == b"\x80")
    pickle.loads(content)
    assert (tmp_path / "canary").exists()
