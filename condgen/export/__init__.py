"""From run folders to what others take up: folders of models for the Hugging Face hub, files of samples, events."""

from condgen.export.events import EVENTS as EVENTS, write_events as write_events
from condgen.export.folder import contents as contents, export as export
from condgen.export.pack import pack as pack
