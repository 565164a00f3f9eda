"""Pictures that others made, decoded within bounds.

A file that is called a picture may be a pipe, a device, a program for a printer that Pillow would start another program
for, or a few bytes that claim to be billions of pixels.
"""

import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from condgen.foreign import open_file

__all__ = ["FORMATS", "as_rgb", "read_picture"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
"""What is looked for in a file, whatever its name: Pillow knows many more, some of which only its oldest code reads."""


def read_picture(path: Path, *, upright: bool = False) -> Image.Image:
    """The first frame of a picture, decoded.

    Args:
        path: of the file.
        upright: apply the orientation that a camera noted, if that can be read.

    Raises:
        OSError: whatever it is that keeps it from being read.
    """
    try:
        with open_file(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow tells of metadata that nobody reads here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as opened:
                opened.load()
                return _turned(opened) if upright else opened
    except OSError as error:
        if isinstance(error, UnidentifiedImageError):
            raise OSError(f"cannot identify image file, which should be {', '.join(FORMATS)}") from error
        raise
    except Exception as error:  # decoders raise whatever they stumble over
        raise OSError(str(error) or type(error).__name__) from error


def as_rgb(picture: Image.Image) -> Image.Image:
    """A picture in red, green and blue, without its transparency."""
    if picture.mode == "P":
        picture = picture.convert("RGBA")  # Pillow warns when a palette loses its transparency on the way to RGB
    return picture.convert("RGB")


def _turned(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # the note is broken, the picture is not
        return picture
