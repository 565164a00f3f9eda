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


def _pictures(images: Tensor | Sequence[Image.Image]) -> list[Image.Image]:
    """Images, uint8 (N, 1 or 3, H, W) or Pillow's, in RGB."""
    return [as_rgb(to_pil_image(image) if isinstance(image, Tensor) else image) for image in images]


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
    rows: dict[int, dict[str, list[Image.Image]]] = {}
    for method, (images, labels) in blocks.items():
        for picture, label in zip(_pictures(images), labels, strict=True):
            rows.setdefault(int(label), {}).setdefault(method, []).append(picture)
    sizes = {picture.size for row in rows.values() for block in row.values() for picture in block}
    if len(sizes) != 1:
        raise ValueError("a grid takes one image or more, of one size")
    columns = min(columns, max(len(block) for row in rows.values() for block in row.values()))
    (size,) = sizes
    width, height = (side * max(1, round(_SIDE / max(size))) for side in size)
    font = ImageFont.load_default(_FONT_SIZE)
    titles = {label: _short(names[label]) for label in sorted(rows)}
    longest = {label: max(map(len, rows[label].values())) for label in titles}
    most = {label: min(-(-count // columns), lines or count) for label, count in longest.items()}
    left = 2 * _MARGIN + max(round(font.getlength(title)) for title in titles.values())
    block_width = columns * (width + _GAP) + 2 * _MARGIN
    top = _MARGIN + (_FONT_SIZE + _MARGIN if any(blocks) else 0)
    bottom = top + sum(most.values()) * (height + _GAP) + len(most) * _GAP + _MARGIN
    canvas = Image.new("RGB", (left + len(blocks) * block_width, bottom), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    for index, method in enumerate(blocks):
        draw.text((left + index * block_width, _MARGIN), _short(method), fill=_INK, font=font)
    y = top
    for label, title in titles.items():
        draw.text((_MARGIN, y + height / 2), title, fill=_INK, font=font, anchor="lm")
        for index, method in enumerate(blocks):
            for place, picture in enumerate(rows[label].get(method, [])[: most[label] * columns]):
                line, column = divmod(place, columns)
                at = (left + index * block_width + column * (width + _GAP), y + line * (height + _GAP))
                canvas.paste(picture.resize((width, height), Image.Resampling.NEAREST), at)
        y += most[label] * (height + _GAP) + _GAP
    return canvas


def _short(text: str) -> str:
    text = " ".join(text[: 10 * _LONGEST].split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
