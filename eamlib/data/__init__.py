"""Image sets: by name, from a folder of your own, ImageNet's, drawn ones for segmentation; and augmentation."""

from eamlib.data.sets import (
    AUGMENTATIONS,
    DATASETS,
    IN_MEMORY,
    INPUT_SIZES,
    STEM_STRIDES,
    ImageSet,
    folder,
    load,
    photographs,
    sample,
)

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "INPUT_SIZES",
    "IN_MEMORY",
    "STEM_STRIDES",
    "ImageSet",
    "folder",
    "load",
    "photographs",
    "sample",
]
