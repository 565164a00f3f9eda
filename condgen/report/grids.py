"""Pictures of samples: one row a class with its name, tiny images enlarged without blur."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from condgen.files import as_rgb
from condgen.report.page import Strip

__all__ = ["Images", "cut", "embedded", "enlarge", "labelled_grid", "side_by_side", "strip", "to_pictures"]

Images = Tensor | Sequence[Image.Image]

_GAP = 4  # pixels between images
_MARGIN = 14
_BLOCK_GAP = 24
_FONT_SIZE = 15
_LONGEST_NAME = 180  # pixels
_PAPER, _INK = (255, 255, 255), (34, 34, 34)
_LONGEST = 300  # characters of a name that are looked at


def labelled_grid(images: Images, labels: Sequence[int], names: Sequence[str], columns: int = 8) -> Image.Image:
    """Samples sorted into one row a class, which wraps after `columns` images.

    Args:
        images: uint8 of shape (N, C, H, W) with 1 or 3 channels, or pictures of one size.
        labels: the class of each image.
        names: of the classes, by label.
        columns: images a line.

    Returns:
        The picture, in RGB.
    """
    return side_by_side({"": (images, labels)}, names, columns, wrap=True)


def side_by_side(
    samples: Mapping[str, tuple[Images, Sequence[int]]],
    names: Mapping[int, str] | Sequence[str],
    columns: int = 6,
    *,
    wrap: bool = False,
) -> Image.Image:
    """Methods as blocks of columns, classes as rows: the i-th image of a class stands in the i-th column of each block.

    Args:
        samples: images and labels by method, in the form that `labelled_grid` takes. Where the methods drew the same
            seeds in the same order, equal places in the blocks show equal seeds.
        names: of the classes, by label.
        columns: images a line of each block.
        wrap: go on in further lines after `columns` images of a class, instead of leaving out the rest.

    Returns:
        The picture, in RGB.

    Raises:
        ValueError: no images, or as many labels as there are not images, or sizes that differ.
    """
    blocks = {method: _by_class(to_pictures(images), labels) for method, (images, labels) in samples.items()}
    everything = [picture for block in blocks.values() for row in block.values() for picture in row]
    if not everything or columns < 1:
        raise ValueError("a grid needs at least one image and one column")
    if len({picture.size for picture in everything}) > 1:
        raise ValueError("a grid takes images of one size")
    everything_enlarged = enlarge(everything[0])
    width, height = everything_enlarged.size
    font = ImageFont.load_default(_FONT_SIZE)
    classes = sorted({label for block in blocks.values() for label in block})
    titles = {label: _fitting(names[label], font, _LONGEST_NAME) for label in classes}
    left = _MARGIN + max(round(font.getlength(title)) for title in titles.values()) + 12
    columns = min(columns, max(len(row) for block in blocks.values() for row in block.values()))
    lines = {
        label: max(-(-len(block.get(label, ())) // columns) for block in blocks.values()) if wrap else 1
        for label in classes
    }
    block_width = columns * (width + _GAP) - _GAP
    top = _MARGIN + (_FONT_SIZE + 12 if any(blocks) else 0)
    canvas = Image.new(
        "RGB",
        (
            left + len(blocks) * (block_width + _BLOCK_GAP) - _BLOCK_GAP + _MARGIN,
            top + sum(lines.values()) * (height + _GAP) + (len(classes) - 1) * _GAP + _MARGIN,
        ),
        _PAPER,
    )
    draw = ImageDraw.Draw(canvas)
    for index, method in enumerate(blocks):
        x = left + index * (block_width + _BLOCK_GAP)
        title = _fitting(method, font, block_width)
        draw.text((x + block_width / 2, _MARGIN), title, fill=_INK, font=font, anchor="mt")
    y = top
    for label in classes:
        draw.text((_MARGIN, y + height / 2), titles[label], fill=_INK, font=font, anchor="lm")
        for index, block in enumerate(blocks.values()):
            for place, picture in enumerate(block.get(label, ())[: lines[label] * columns]):
                line, column = divmod(place, columns)
                x = left + index * (block_width + _BLOCK_GAP) + column * (width + _GAP)
                canvas.paste(enlarge(picture), (x, y + line * (height + _GAP)))
        y += lines[label] * (height + _GAP) + _GAP
    return canvas


def strip(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size in a line at their own size, one clear pixel apart, in RGBA."""
    width, height = pictures[0].size
    out = Image.new("RGBA", (len(pictures) * (width + 1) - 1, height), (0, 0, 0, 0))
    for index, picture in enumerate(pictures):
        out.paste(picture.convert("RGBA"), (index * (width + 1), 0))
    return out


def cut(line: Image.Image, n: int) -> list[Image.Image]:
    """The n pictures of one size that stand side by side in one.

    Raises:
        ValueError: its width is no multiple of n.
    """
    width, rest = divmod(line.width, n)
    if rest:
        raise ValueError(f"{line.width} pixels are not {n} pictures")
    return [line.crop((i * width, 0, (i + 1) * width, line.height)) for i in range(n)]


def embedded(pictures: Sequence[Image.Image], alt: str, about: int = 32) -> Strip:
    """Pictures of one size in a line for a page, which shows them enlarged, each to about so many pixels."""
    line, factor = strip(pictures), enlarge(pictures[0], about=about).width // pictures[0].width
    buffer = io.BytesIO()
    line.save(buffer, format="PNG", optimize=True)
    address = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Strip(address, alt, line.width * factor, line.height * factor)


def enlarge(picture: Image.Image, about: int = 48) -> Image.Image:
    """The picture times the whole number that brings its longer side nearest to `about` pixels, without blur."""
    factor = max(1, round(about / max(picture.size)))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def to_pictures(images: Images) -> list[Image.Image]:
    """Images as pictures in RGB.

    Raises:
        ValueError: a tensor that is not uint8 of shape (N, 1 or 3, H, W).
    """
    if not isinstance(images, Tensor):
        return [as_rgb(image) for image in images]
    if images.ndim != 4 or images.shape[1] not in (1, 3) or str(images.dtype) != "torch.uint8":
        raise ValueError(f"images are uint8 (N, 1 or 3, H, W), not {images.dtype} {tuple(images.shape)}")
    arrays = images.cpu().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array) for array in arrays]


def _by_class(pictures: Sequence[Image.Image], labels: Sequence[int]) -> dict[int, list[Image.Image]]:
    out: dict[int, list[Image.Image]] = {}
    for picture, label in zip(pictures, labels, strict=True):
        out.setdefault(int(label), []).append(picture)
    return out


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """The text on one line, cut with an ellipsis where it would be too wide."""
    text = " ".join(text.split())
    if len(text) <= _LONGEST and font.getlength(text) <= width:
        return text
    text = text[:_LONGEST]  # what a file calls a class may be of any length, and every cut is measured
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
