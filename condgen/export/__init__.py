"""From run folders to what others take up: folders of models for the Hugging Face hub, and files of samples."""

from condgen.export.folder import export, exported, named, uploaded

__all__ = ["export", "exported", "named", "uploaded"]
