"""Cut-outs in Parquet files: a column of images beside a column of names."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lensequiv.data.checks import channel_axis, check_compressed_size, check_dtype
from lensequiv.data.errors import ImageError
from lensequiv.data.npy import check_length, read_header, read_pixels
from lensequiv.data.stored import as_float32

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_COLUMNS = (
    "a column of images (nested lists of numbers, tensors of fixed shape, or the bytes"
    " of .npy files)"
)


@dataclass(frozen=True)
class Cutouts:
    """Some rows of a Parquet file; images are decoded one by one.

    Attributes:
        names: What each image is called.
        where: The file, for messages.
        images: The column, as stored.
    """

    names: Sequence[str]
    where: str
    images: pyarrow.ChunkedArray

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.names)

    def read(self, i: int) -> np.ndarray:
        """Decode an image.

        Args:
            i: Its row.

        Returns:
            As `lensequiv.data.read_image`: (C, H, W) float32.

        Raises:
            ImageError: It is missing or not usable; the message names file and image.
        """
        where = f"{self.where}[{self.names[i]}]"
        return as_float32(_stored(self.images[i], where), where)


def count_cutouts(path: str | os.PathLike[str], image: str, name: str) -> int:
    """Count the rows of a Parquet file, and check that it has what is needed.

    Args:
        path: The file.
        image: The column of images.
        name: The column of names.

    Returns:
        The number of rows.

    Raises:
        ImageError: This is no Parquet file, or one without these columns.
        ImportError: pyarrow is not installed.
        OSError: The file cannot be opened.
    """
    with _open(path) as file:
        schema = file.schema_arrow
        for column, what in ((image, _COLUMNS), (name, "a column of names")):
            if column not in schema.names:
                raise ImageError.because(
                    path,
                    f"has no column {column!r} (columns: {', '.join(schema.names)})",
                    what,
                )
        for column, fits, what in (
            (image, _is_image, _COLUMNS),
            (name, _is_name, "numbers or text"),
        ):
            kind = schema.field(column).type
            if not fits(kind):
                found = f"has a column {column!r} of type {kind}"
                raise ImageError.because(path, found, what)
        rows: int = file.metadata.num_rows
        return rows


def read_cutouts(
    path: str | os.PathLike[str], start: int, stop: int, image: str, name: str
) -> Cutouts:
    """Read some rows of a Parquet file into memory.

    Only row groups that hold some of these rows are read, and of them these columns.

    Args:
        path: The file.
        start: First row.
        stop: The row after the last.
        image: The column of images: lists of lists of numbers (H, W), or one level
            more (C, H, W) or (H, W, C); tensors of fixed shape, Arrow's or Ray's; or
            the bytes of an `.npy` file.
        name: The column of names, of any type that can be written as text.

    Returns:
        The rows.

    Raises:
        ImageError: As `count_cutouts`.
        ImportError: As `count_cutouts`.
        OSError: The file cannot be opened or read.
    """
    import pyarrow

    count_cutouts(path, image, name)
    parts, first = [], 0
    with _open(path) as file:
        for group in range(file.num_row_groups):
            after = first + file.metadata.row_group(group).num_rows
            if first < stop and start < after:
                try:
                    rows = file.read_row_group(group, columns=[image, name])
                except (OSError, pyarrow.ArrowException) as error:
                    raise ImageError.because(
                        path, f"is damaged ({error})", "a readable Parquet file"
                    ) from error
                begin, end = max(start - first, 0), min(stop, after) - first
                parts.append(rows.slice(begin, end - begin))
            first = after
    table = pyarrow.concat_tables(parts)
    names = table[name].cast(pyarrow.string()).fill_null("null").to_pylist()
    return Cutouts(names, str(path), table[image])


def _open(path: str | os.PathLike[str]) -> pyarrow.parquet.ParquetFile:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "reading Parquet needs pyarrow: pip install 'lensequiv[parquet]'"
        ) from error
    try:
        return pyarrow.parquet.ParquetFile(Path(path))
    except pyarrow.ArrowInvalid as error:
        raise ImageError.because(
            path, f"cannot be read as Parquet ({error})", "a Parquet file"
        ) from error


def _is_image(kind: pyarrow.DataType) -> bool:
    """Whether a column of this type can hold images."""
    from pyarrow import types

    if _shape(kind) is not None:
        return True
    return _is_list(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def _is_name(kind: pyarrow.DataType) -> bool:
    """Whether a column of this type can be written as text."""
    import pyarrow

    try:
        pyarrow.array([], kind).cast(pyarrow.string())
    except (pyarrow.ArrowInvalid, NotImplementedError):
        return False
    return True


def _shape(kind: pyarrow.DataType) -> tuple[int, ...] | None:
    """The shape of a tensor type, in the order of its values in memory."""
    import pyarrow

    if not isinstance(kind, pyarrow.BaseExtensionType):
        return None
    if not _is_list(kind.storage_type) or not hasattr(kind, "shape"):
        return None
    in_order = getattr(kind, "permutation", None) in (None, [*range(len(kind.shape))])
    return tuple(kind.shape) if in_order else None


def _is_list(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
    )


def _stored(value: Any, where: str) -> np.ndarray:
    """One value of the image column as an array, as stored."""
    if not value.is_valid:
        raise ImageError.because(where, "holds no image (null)", _COLUMNS)
    shape = _shape(value.type)
    if shape is not None:
        value = value.value
    if not _is_list(value.type):
        return _npy(value.as_py(), where)
    values, sizes = value.values, [len(value.values)]
    while _is_list(values.type):
        lengths = np.diff(_offsets(values))
        if values.null_count or len(set(lengths.tolist())) != 1:
            raise ImageError.because(
                where, "holds no rows, or rows of several lengths", _COLUMNS
            )
        sizes.append(int(lengths[0]))
        values = values.flatten()
    array = values.to_numpy(zero_copy_only=False)
    check_dtype(array.dtype, where)
    pixels: np.ndarray = array.reshape(shape or sizes)
    return pixels


def _offsets(values: Any) -> np.ndarray:
    """Where each list of an array of lists begins, and where the last one ends."""
    from pyarrow import types

    if types.is_fixed_size_list(values.type):
        return np.arange(len(values) + 1) * int(values.type.list_size)
    offsets: np.ndarray = values.offsets.to_numpy()
    return offsets


def _npy(content: bytes, where: str) -> np.ndarray:
    """An array from the bytes of an `.npy` file; object arrays are refused."""
    stream = io.BytesIO(content)
    header = read_header(stream, where)
    check_dtype(header[2], where)
    channel_axis(header[0], where)
    check_compressed_size(header[0], where)
    check_length(header, len(content) - stream.tell(), where)
    return read_pixels(stream, header, where)
