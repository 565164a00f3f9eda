"""Labelled sets: what they are, how a recipe names them, where they come from."""

from condgen.data.labelled import LabelledSet, Split, class_index, stratified_order, to_uint8
from condgen.data.sets import AnyData, DataSettings, Digits, Folder, ImportedData, Moons, Torchvision, load, parse_data

__all__ = [
    "AnyData",
    "DataSettings",
    "Digits",
    "Folder",
    "ImportedData",
    "LabelledSet",
    "Moons",
    "Split",
    "Torchvision",
    "class_index",
    "load",
    "parse_data",
    "stratified_order",
    "to_uint8",
]
