"""Labelled sets: what they are, how a recipe names them, where they come from."""

from condgen.data.labelled import LabelledSet, class_index, stratified_order, to_uint8
from condgen.data.sets import AnyData, Digits, Folder, ImportedData, Moons, Splits, Torchvision, load, parse_data

__all__ = [
    "AnyData",
    "Digits",
    "Folder",
    "ImportedData",
    "LabelledSet",
    "Moons",
    "Splits",
    "Torchvision",
    "class_index",
    "load",
    "parse_data",
    "stratified_order",
    "to_uint8",
]
