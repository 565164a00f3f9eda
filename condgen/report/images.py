"""Images in a report, and grids of images in PNGs; tiny images are enlarged without blur."""

import base64
import io
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from condgen.files import as_rgb
from condgen.report.page import Picture

_GAP, _MARGIN, _FONT_SIZE = 4, 14, 15  # pixels
_LONGEST = 24  # characters of a name
_SIDE = 48  # pixels of an enlarged image, about
_INK = (34, 34, 34)


def embedded(pictures: Sequence[Image.Image], alt: str, about: int = 32, labels: Sequence[str] = ()) -> Picture:
    """Images of one size in a line, one pixel apart, each enlarged on the page to about so many pixels."""
    width, height = pictures[0].size
    line = Image.new("RGBA", (len(pictures) * (width + 1) - 1, height), (0, 0, 0, 0))
    for place, picture in enumerate(pictures):
        line.paste(picture.convert("RGBA"), (place * (width + 1), 0))
    factor = max(1, round(about / max(width, height)))
    buffer = io.BytesIO()
    line.save(buffer, format="PNG", optimize=True)
    address = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(address, alt, line.width * factor, line.height * factor, tuple(labels))


def sample_grid(
    blocks: Mapping[str, tuple[Tensor | Sequence[Image.Image], Sequence[int]]],
    names: Mapping[int, str] | Sequence[str],
    columns: int = 8,
    lines: int | None = None,
) -> Image.Image:
    """Classes as rows, which wrap, and methods as blocks of so many columns; `lines` of a class, at most.

    Blocks are images of one size with their labels, by method.

    Raises:
        ValueError: no image, or as many labels as there are not images, or sizes that differ.
    """
    of_class: dict[int, dict[str, list[Image.Image]]] = {}
    for method, (images, labels) in blocks.items():
        for image, label in zip(images, labels, strict=True):
            picture = as_rgb(to_pil_image(image) if isinstance(image, Tensor) else image)
            of_class.setdefault(int(label), {}).setdefault(method, []).append(picture)
    found = [pictures for by_method in of_class.values() for pictures in by_method.values()]
    sizes = {picture.size for pictures in found for picture in pictures}
    if len(sizes) != 1:
        raise ValueError("a grid takes one image or more, of one size")
    columns = min(columns, max(map(len, found)))
    (size,) = sizes
    width, height = (side * max(1, round(_SIDE / max(size))) for side in size)
    rows: list[tuple[str, dict[str, list[Image.Image]]]] = []  # of each its title, and the pictures of each block
    for label, by_method in sorted(of_class.items()):
        for first in range(0, max(map(len, by_method.values())), columns)[:lines]:
            parts = {method: pictures[first : first + columns] for method, pictures in by_method.items()}
            rows.append(("" if first else _short(names[label]), parts))
    font = ImageFont.load_default(_FONT_SIZE)
    left = 2 * _MARGIN + max(round(font.getlength(title)) for title, _ in rows)
    top = _MARGIN + (_FONT_SIZE + _MARGIN if any(blocks) else 0)
    block = columns * (width + _GAP) + 2 * _MARGIN
    canvas = Image.new("RGB", (left + len(blocks) * block, top + len(rows) * (height + _GAP) + _MARGIN), "white")
    draw = ImageDraw.Draw(canvas)
    for x, method in zip(range(left, canvas.width, block), blocks, strict=True):
        draw.text((x, _MARGIN), _short(method), fill=_INK, font=font)
        for place, (_, parts) in enumerate(rows):
            for column, picture in enumerate(parts.get(method, ())):
                at = (x + column * (width + _GAP), top + place * (height + _GAP))
                canvas.paste(picture.resize((width, height), Image.Resampling.NEAREST), at)
    for place, (title, _) in enumerate(rows):
        y = top + place * (height + _GAP) + height / 2
        draw.text((_MARGIN, y), title, fill=_INK, font=font, anchor="lm")
    return canvas


def _short(text: str) -> str:
    text = " ".join(text[: 10 * _LONGEST].split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
