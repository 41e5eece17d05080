"""Image readers, the class-folder data set and a few bundled sample images."""

from lensequiv.data.errors import ImageError
from lensequiv.data.folder import ClassFolder
from lensequiv.data.readers import as_images, find_images, read_image
from lensequiv.data.samples import sample_paths

__all__ = [
    "ClassFolder",
    "ImageError",
    "as_images",
    "find_images",
    "read_image",
    "sample_paths",
]
