"""FITS files compressed as a whole."""

import bz2
import gzip
import io
import lzma
import tracemalloc

import numpy as np
import pytest

from lensequiv.data import read_image

fits = pytest.importorskip("astropy.io.fits")
RAMP = np.arange(30.0).reshape(6, 5)
PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def content():
    stream = io.BytesIO()
    fits.PrimaryHDU(RAMP).writeto(stream)
    return stream.getvalue()


@pytest.mark.parametrize("end", PACK)
@pytest.mark.parametrize("name", ["a.fits", "a.FIT"])
def test_read(tmp_path, end, name, assert_is):
    path = tmp_path / f"{name}{end.upper() if name.isupper() else end}"
    path.write_bytes(PACK[end](content()))
    assert_is(read_image(path), RAMP[None])
    path.rename(tmp_path / name)  # the content decides, not the name
    assert_is(read_image(tmp_path / name), RAMP[None])


@pytest.mark.parametrize("end", PACK)
def test_several_streams(tmp_path, end, assert_is):
    """As parallel compressors write them."""
    whole = content()
    path = tmp_path / f"a.fits{end}"
    path.write_bytes(PACK[end](whole[:3000]) + PACK[end](whole[3000:]))
    assert_is(read_image(path), RAMP[None])


@pytest.mark.parametrize("end", PACK)
def test_truncated(tmp_path, end, refuse):
    path = tmp_path / f"a.fits{end}"
    path.write_bytes(PACK[end](content())[:-20])
    refuse(path, "cannot be decoded", "EOFError")


@pytest.mark.parametrize("end", [".bz2", ".xz"])
def test_damaged(tmp_path, end, refuse):
    packed = bytearray(PACK[end](content()))
    packed[60] ^= 255
    (tmp_path / f"a.fits{end}").write_bytes(packed)
    refuse(tmp_path / f"a.fits{end}", "cannot be decoded")


@pytest.mark.parametrize("end", PACK)
def test_bomb(tmp_path, end, monkeypatch, refuse):
    monkeypatch.setattr("lensequiv.data.decompress._MAX_UNPACKED", 2**20)
    path = tmp_path / f"a.fits{end}"
    path.write_bytes(PACK[end](bytes(2**25)))
    tracemalloc.start()
    try:
        refuse(path, "more than 1048576 bytes once unzipped")
        assert tracemalloc.get_traced_memory()[1] < 2**24  # xz keeps 8 MiB
    finally:
        tracemalloc.stop()


def test_memory_that_xz_claims(tmp_path, refuse):
    """A dictionary of 256 MiB would be set aside before anything is decoded."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2**28}]
    path = tmp_path / "a.fits.xz"
    path.write_bytes(lzma.compress(content(), filters=filters))
    refuse(path, "cannot be decoded", "LZMAError")


@pytest.mark.parametrize(
    ("magic", "method"), [(b"\x1f\x9d", "compress"), (b"\x28\xb5\x2f\xfd", "zstd")]
)
def test_other_methods(tmp_path, magic, method, refuse):
    path = tmp_path / "a.fits"
    path.write_bytes(magic + bytes(100))
    refuse(path, f"is compressed by {method}", "gzip, bzip2, xz or fpack")
