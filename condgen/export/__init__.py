"""From run folders to what others take up: folders of models for the Hugging Face hub, and files of samples."""

from condgen.export.events import EVENTS, Events
from condgen.export.folder import contents, export
from condgen.export.pack import SUFFIXES, Format, pack

__all__ = ["EVENTS", "SUFFIXES", "Events", "Format", "contents", "export", "pack"]
