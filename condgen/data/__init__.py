"""Labelled sets: what they are, how a recipe names them, where they come from."""

from condgen.data.folder import list_images as list_images
from condgen.data.labelled import (
    LabelledSet as LabelledSet,
    Split as Split,
    class_index as class_index,
    list_some as list_some,
    stratified_order as stratified_order,
    to_uint8 as to_uint8,
)
from condgen.data.sets import (
    AnyData as AnyData,
    Digits as Digits,
    Folder as Folder,
    ImportedData as ImportedData,
    Moons as Moons,
    Splits as Splits,
    Torchvision as Torchvision,
    load as load,
    parse_data as parse_data,
)

load_data = load  # condgen.load_data
