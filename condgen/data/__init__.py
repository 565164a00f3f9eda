"""Labelled sets: what they are, how a recipe names them, where they come from."""

from condgen.data.folder import list_images
from condgen.data.labelled import LabelledSet, Split, class_index, list_some, stratified_order, to_uint8
from condgen.data.sets import AnyData, Digits, Folder, ImportedData, Moons, Splits, Torchvision, load, parse_data

__all__ = [
    "AnyData",
    "Digits",
    "Folder",
    "ImportedData",
    "LabelledSet",
    "Moons",
    "Split",
    "Splits",
    "Torchvision",
    "class_index",
    "list_images",
    "list_some",
    "load",
    "parse_data",
    "stratified_order",
    "to_uint8",
]
