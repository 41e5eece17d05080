"""Image readers, data sets in folders and HDF5 files, and a few sample images."""

from lensequiv.data.arrays import as_images
from lensequiv.data.errors import ImageError
from lensequiv.data.folder import ClassFolder
from lensequiv.data.hdf5_images import HDF5Images
from lensequiv.data.opening import open_dataset
from lensequiv.data.readers import find_images, read_image, read_image_and_mass
from lensequiv.data.samples import sample_paths

__all__ = [
    "ClassFolder",
    "HDF5Images",
    "ImageError",
    "as_images",
    "find_images",
    "open_dataset",
    "read_image",
    "read_image_and_mass",
    "sample_paths",
]
