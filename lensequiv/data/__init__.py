"""Image readers, data sets in folders and HDF5 files, and a few sample images."""

from lensequiv.data.arrays import as_images
from lensequiv.data.errors import ImageError
from lensequiv.data.finding import find_images
from lensequiv.data.fits_world import celestial_header
from lensequiv.data.folder import ClassFolder
from lensequiv.data.hdf5_images import HDF5Images
from lensequiv.data.labelled import LabelledImages
from lensequiv.data.opening import open_dataset
from lensequiv.data.readers import (
    open_stack,
    read_image,
    read_image_and_mass,
    read_stored,
)
from lensequiv.data.samples import sample_paths
from lensequiv.data.stacks import ImageStack
from lensequiv.data.stored import StoredImage

__all__ = [
    "ClassFolder",
    "HDF5Images",
    "ImageError",
    "ImageStack",
    "LabelledImages",
    "StoredImage",
    "as_images",
    "celestial_header",
    "find_images",
    "open_dataset",
    "open_stack",
    "read_image",
    "read_image_and_mass",
    "read_stored",
    "sample_paths",
]
