import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from lensequiv.data import read_image

RAMP = np.arange(30).reshape(6, 5)
COLOURS = np.arange(90, dtype=np.uint8).reshape(6, 5, 3)


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("end", "dtype", "factor"),
    [
        ("png", "u1", 8),
        ("png", "u2", 2000),
        ("tif", "u1", 8),
        ("tiff", "u2", 2000),
        ("TIF", "i4", -70000),
        ("tif", "f4", -1.5),
    ],
)
def test_grey(tmp_path, end, dtype, factor, assert_is):
    array = (RAMP * factor).astype(dtype)
    assert_is(read_image(save(tmp_path / f"a.{end}", array)), array[None])


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_tiff(tmp_path, compression, assert_is):
    array = RAMP.astype("f4")
    path = save(tmp_path / "a.tif", array, compression=compression)
    assert_is(read_image(path), array[None])


@pytest.mark.parametrize("end", ["jpg", "JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg(tmp_path, end, channels):
    ramp = np.add.outer(np.arange(64), 2 * np.arange(48)).astype("u1")
    array = ramp if channels == 1 else np.stack([ramp] * 3, -1)
    image = read_image(save(tmp_path / f"a.{end}", array, quality=95))
    assert image.shape == (channels, 64, 48) and image.dtype == np.float32
    np.testing.assert_allclose(image, np.stack([ramp] * channels), atol=4)


@pytest.mark.parametrize("end", ["png", "tif"])
def test_rgb(tmp_path, end, assert_is):
    image = read_image(save(tmp_path / f"a.{end}", COLOURS))
    assert_is(image, COLOURS.transpose(2, 0, 1))


@pytest.mark.parametrize("end", ["png", "tif"])
def test_alpha(tmp_path, end, assert_is, refuse):
    alpha = np.full((6, 5, 1), 255, np.uint8)
    opaque = np.concatenate([COLOURS, alpha], 2)
    image = read_image(save(tmp_path / f"a.{end}", opaque))
    assert_is(image, COLOURS.transpose(2, 0, 1))
    grey = np.concatenate([COLOURS[..., :1], alpha], 2)
    assert_is(read_image(save(tmp_path / f"g.{end}", grey)), COLOURS[None, ..., 0])
    opaque[2, :3, 3] = 0
    refuse(save(tmp_path / f"b.{end}", opaque), "3 transparent pixels")


@pytest.mark.parametrize("mode", ["1", "P"])
def test_modes(tmp_path, mode, refuse):
    path = tmp_path / "a.png"
    Image.fromarray(RAMP.astype("u1")).convert(mode).save(path)
    refuse(path, f"mode '{mode}'", "grey")


def test_cmyk(tmp_path, refuse):
    Image.fromarray(COLOURS).convert("CMYK").save(tmp_path / "a.jpg")
    refuse(tmp_path / "a.jpg", "mode 'CMYK'")


def test_transparent_colour(tmp_path, refuse):
    path = save(tmp_path / "a.png", RAMP.astype("u1"), transparency=3)
    refuse(path, "a transparent colour")


def test_white_is_zero(tmp_path, refuse):
    path = save(tmp_path / "a.tif", RAMP.astype("u1"), tiffinfo={262: 0})
    refuse(path, "0 is white")


@pytest.mark.parametrize("end", ["png", "tif"])
def test_several(tmp_path, end, refuse):
    frames = [Image.fromarray((RAMP + i).astype("u1")) for i in range(3)]
    path = tmp_path / f"a.{end}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    refuse(path, "several pages or frames")


def chunk(kind, content):
    body = kind + content
    size, check = struct.pack(">I", len(content)), struct.pack(">I", zlib.crc32(body))
    return size + body + check


def png(width, height, depth, colour, rows):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + content


def test_16_bit_colours(tmp_path, refuse):
    path = tmp_path / "a.png"
    path.write_bytes(png(5, 6, 16, 2, (b"\0" + bytes(range(30))) * 6))
    refuse(path, "16 bits, of which Pillow keeps 8")


def test_unsigned_32(tmp_path, assert_is):
    """Pillow has no such type, so the header is put together here."""
    array = (RAMP * 100_000_000 + 7).astype("<u4")
    tags = {256: 5, 257: 6, 258: 32, 259: 1, 262: 1, 273: 200, 277: 1, 278: 6, 279: 120}
    entries = b"".join(struct.pack("<HHII", k, 4, 1, v) for k, v in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(head.ljust(200, b"\0") + array.tobytes())
    assert array.max() > 2**31
    assert_is(read_image(tmp_path / "a.tif"), array[None].astype("f4"))


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("side", [9000, 10_000, 60_000])
def test_bomb(tmp_path, side, refuse):
    path = tmp_path / "a.png"
    path.write_bytes(png(side, side, 8, 0, bytes(1000)))
    tracemalloc.start()
    try:
        refuse(path, "bomb" if side > 20_000 else f"claims {side**2} compressed pixels")
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("end", ["png", "jpg", "tif"])
def test_damaged(tmp_path, end, refuse):
    array = np.random.default_rng(0).integers(0, 255, (60, 50)).astype("u1")
    path = save(tmp_path / f"a.{end}", array)
    content = path.read_bytes()
    for cut in (0, 4, 100, len(content) * 3 // 4):
        path.write_bytes(content[:cut])
        refuse(path, "cannot be decoded")
    path.write_bytes(b"0.1 0.2 0.3\n")
    refuse(path, "cannot be decoded", "complete")


def test_other_kind_than_the_name_says(tmp_path, refuse):
    path = save(tmp_path / "a.png", RAMP.astype("u1"))
    refuse(path.rename(tmp_path / "a.jpg"), "cannot be decoded", "JPEG")


def test_constant(tmp_path, refuse):
    refuse(save(tmp_path / "a.png", np.full((6, 5), 9, "u1")), "is 9 ")


def test_hdu(tmp_path, refuse):
    path = save(tmp_path / "a.png", RAMP.astype("u1"))
    refuse(path, "has one image alone", "FITS, NPZ or HDF5", hdu=0)


def tiff(path, array, **tags):
    """A TIFF with tags that Pillow does not write; text is put after the pixels."""
    height, width = array.shape
    bits = array.dtype.itemsize * 8
    known = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 400, 277: 1}
    known |= {278: height, 279: array.nbytes} | {int(k[1:]): v for k, v in tags.items()}
    end, entries = 400 + array.nbytes, b""
    text = b""
    for tag, value in sorted(known.items()):
        if isinstance(value, str):
            text = value.encode() + b"\0"
            text = text.ljust(5, b"\0")
            entries += struct.pack("<HHII", tag, 2, len(text), end)
        else:
            entries += struct.pack("<HHII", tag, 4, 1, value)
    head = b"II*\0" + struct.pack("<IH", 8, len(known)) + entries + bytes(4)
    path.write_bytes(head.ljust(400, b"\0") + array.tobytes() + text)
    return path


@pytest.mark.parametrize("dtype", ["i1", "<i2", "<i4"])
def test_signed(tmp_path, dtype, assert_is):
    array = (RAMP - 15).astype(dtype)
    image = read_image(tiff(tmp_path / "a.tif", array, t339=2))
    assert_is(image, array[None].astype("f4"))


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
@pytest.mark.parametrize("tags", [{}, {"t339": 1}])
def test_unsigned(tmp_path, dtype, tags, assert_is):
    array = (RAMP + np.iinfo(dtype).max - 29).astype(dtype)
    image = read_image(tiff(tmp_path / "a.tif", array, **tags))
    assert_is(image, array[None].astype("f4"))
    assert image.max() == np.iinfo(dtype).max


@pytest.mark.parametrize(
    ("dtype", "kind", "missing", "count"),
    [
        ("u1", 1, "7", 1),
        ("i1", 2, "-3", 1),
        ("<f4", 3, "-9999", 2),
        ("<i2", 2, "3.0", 1),
    ],
)
def test_no_data(tmp_path, dtype, kind, missing, count, refuse):
    array = (RAMP - 10 * (kind == 2)).astype(dtype)
    if kind == 3:
        array[0, :2] = -9999
    path = tiff(tmp_path / "a.tif", array, t339=kind, t42113=missing)
    refuse(path, f"{count} NaN or infinite pixel")


@pytest.mark.parametrize("missing", ["-1", "300", "nan", "0.5"])
def test_no_data_that_no_pixel_has(tmp_path, missing, assert_is):
    path = tiff(tmp_path / "a.tif", RAMP.astype("u1"), t42113=missing)
    assert_is(read_image(path), RAMP[None].astype("f4"))


def test_no_data_that_is_no_number(tmp_path, refuse):
    path = tiff(tmp_path / "a.tif", RAMP.astype("u1"), t42113="none")
    refuse(path, "GDAL_NODATA = 'none'", "a number")
