"""Labelled sets: what they are, how a recipe names them, where they come from."""

from condgen.data.labelled import LabelledSet, Split, class_index, stratified_order, to_uint8
from condgen.data.loading import load
from condgen.data.settings import AnyData, Cifar10, Cifar100, DataSettings, Digits, Folder, Moons, parse_data

__all__ = [
    "AnyData",
    "Cifar10",
    "Cifar100",
    "DataSettings",
    "Digits",
    "Folder",
    "LabelledSet",
    "Moons",
    "Split",
    "class_index",
    "load",
    "parse_data",
    "stratified_order",
    "to_uint8",
]
