"""From run folders to what others take up: folders of models for the Hugging Face hub, files of samples, events."""

from condgen.export.events import EVENTS, write_events
from condgen.export.folder import contents, export
from condgen.export.pack import pack

__all__ = ["EVENTS", "contents", "export", "pack", "write_events"]
