import gzip
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ramps import SHAPE, ramp

from lensequiv.data import read_image

SHARED = Path(__file__).parents[3] / "shared" / "data"


class TestFits:
    @pytest.fixture(autouse=True)
    def fits(self):
        self.fits = pytest.importorskip("astropy.io.fits")

    def write(self, path, *arrays, **header):
        """Write a primary HDU and image extensions; the header goes to the last."""
        hdus = [self.fits.PrimaryHDU(arrays[0])]
        hdus += [
            self.fits.ImageHDU(array, name=f"EXT{number}")
            for number, array in enumerate(arrays[1:], start=1)
        ]
        hdus[-1].header.update(header)
        self.fits.HDUList(hdus).writeto(path)
        return path

    @pytest.mark.parametrize(
        "dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
    )
    @pytest.mark.parametrize("byte_order", "<>")
    def test_types(self, tmp_path, dtype, byte_order, assert_is):
        array = ramp(dtype=np.dtype(dtype)).astype(byte_order + dtype)
        image = read_image(self.write(tmp_path / "a.fits", array))
        assert_is(image, ramp()[None])

    @pytest.mark.parametrize("end", [".fits", ".fit", ".fts", ".FITS"])
    @pytest.mark.parametrize("zipped", [False, True])
    def test_extensions(self, tmp_path, end, zipped, assert_is):
        path = self.write(tmp_path / "plain.fits", ramp())
        content = path.read_bytes()
        target = tmp_path / f"a{end}{'.gz' if zipped else ''}"
        target.write_bytes(gzip.compress(content) if zipped else content)
        assert_is(read_image(target), ramp()[None])

    def test_content_decides_about_gzip(self, tmp_path, assert_is):
        content = self.write(tmp_path / "plain.fits", ramp()).read_bytes()
        (tmp_path / "a.fits").write_bytes(gzip.compress(content))
        (tmp_path / "b.fits.gz").write_bytes(content)
        assert_is(read_image(tmp_path / "a.fits"), ramp()[None])
        assert_is(read_image(tmp_path / "b.fits.gz"), ramp()[None])

    def test_three_axes(self, tmp_path, assert_is):
        assert_is(
            read_image(self.write(tmp_path / "a.fits", ramp((1, 6, 5)))),
            ramp((1, 6, 5)),
        )
        assert_is(
            read_image(self.write(tmp_path / "b.fits", ramp((6, 5, 1)))),
            ramp((6, 5, 1)).transpose(2, 0, 1),
        )

    def test_only_image_hdu(self, tmp_path, assert_is):
        assert_is(
            read_image(self.write(tmp_path / "a.fits", None, ramp())), ramp()[None]
        )

    def test_skips_tables_and_other_ranks(self, tmp_path, refuse, assert_is):
        column = self.fits.Column("flux", "E", array=np.arange(3.0))
        path = tmp_path / "a.fits"
        self.fits.HDUList(
            [
                self.fits.PrimaryHDU(ramp((2, 1, 6, 5))),
                self.fits.BinTableHDU.from_columns([column], name="CAT"),
                self.fits.ImageHDU(np.arange(5.0), name="SPECTRUM"),
                self.fits.ImageHDU(ramp() * 3, name="SCI"),
            ]
        ).writeto(path)
        assert_is(read_image(path), 3 * ramp()[None])
        refuse(path, "holds no image in HDU 1", "1 CAT: not an image", hdu=1)
        refuse(path, "4-D array", "(2, 1, 6, 5)", hdu=0)

    def test_axes_of_frequency_and_polarisation(self, tmp_path, assert_is):
        path = self.write(tmp_path / "a.fits", ramp((1, 1, 6, 5)))
        assert_is(read_image(path), ramp()[None])
        path = self.write(tmp_path / "b.fits", ramp(), ramp((1, 2, 6, 5)))
        assert_is(read_image(path, hdu=1), ramp((2, 6, 5)))

    def test_named_and_numbered_hdu(self, tmp_path, assert_is):
        path = self.write(tmp_path / "a.fits", ramp(), ramp() * 2, ramp() * 3)
        for hdu, factor in ((0, 1), (1, 2), ("EXT2", 3), ("ext1", 2)):
            assert_is(read_image(path, hdu=hdu), factor * ramp()[None])

    @pytest.mark.parametrize("hdu", [7, "SCI"])
    def test_missing_hdu(self, tmp_path, hdu, refuse):
        path = self.write(tmp_path / "a.fits", None, ramp())
        refuse(path, f"has no HDU {hdu!r}", "1 EXT1: (6, 5)", hdu=hdu)

    def test_no_image_at_all(self, tmp_path, refuse):
        refuse(
            self.write(tmp_path / "a.fits", None),
            "no 2-D or 3-D image",
            "PRIMARY: no data",
        )

    def test_bscale_and_bzero(self, tmp_path, assert_is):
        path = self.write(tmp_path / "a.fits", ramp(dtype=np.int16))
        content = path.read_bytes()
        cards = b"BSCALE  =                  0.5".ljust(80)
        cards += b"BZERO   =                -10.0".ljust(80) + b"END".ljust(80)
        end = content.index(b"END".ljust(80))
        path.write_bytes(content[:end] + cards + content[end + 240 :])
        assert_is(read_image(path), ramp()[None] * 0.5 - 10)

    @pytest.mark.parametrize(
        ("compressed", "dtype"),
        [(False, kind) for kind in ("u1", "i1", "i2", "u2", "i4", "u4", "u8")]
        + [(True, kind) for kind in ("u1", "i2", "u2", "i4", "u4")],
    )
    @pytest.mark.parametrize("value", [0, 3, 29])
    def test_blank_pixels(self, tmp_path, dtype, value, compressed, refuse):
        """astropy overlooks BLANK = 0 and BLANK of unsigned types."""
        zero = {"i1": -128, "u2": 2**15, "u4": 2**31, "u8": 2**63}.get(dtype, 0)
        array = ramp(dtype=dtype)
        image = self.fits.CompImageHDU(array) if compressed else None
        hdus = [self.fits.PrimaryHDU(None if compressed else array)]
        self.fits.HDUList(hdus + [image] * compressed).writeto(tmp_path / "a.fits")
        content = (tmp_path / "a.fits").read_bytes()
        end = content.rindex(b"END".ljust(80))
        card = f"BLANK   = {value - zero:20d}".ljust(80).encode() + b"END".ljust(80)
        content = content[:end] + card + content[end + 160 :]
        (tmp_path / "a.fits").write_bytes(content)
        refuse(tmp_path / "a.fits", "1 NaN or infinite pixel ")

    def test_other_pixels_beside_blank_ones(self, tmp_path, assert_is):
        array = ramp(dtype=np.uint16)
        path = self.write(tmp_path / "a.fits", array, BLANK=3)
        assert_is(read_image(path), ramp()[None])

    @pytest.mark.parametrize("key", ["BSCALE", "BZERO", "BLANK"])
    @pytest.mark.parametrize("value", ["'2.0'", "T"])
    def test_scaling_that_is_no_number(self, tmp_path, key, value, refuse):
        path = self.write(tmp_path / "a.fits", ramp(dtype=np.int16))
        content = path.read_bytes()
        end = content.index(b"END".ljust(80))
        card = f"{key:8s}= {value:>20s}".ljust(80).encode() + b"END".ljust(80)
        path.write_bytes(content[:end] + card + content[end + 160 :])
        refuse(path, f"has {key} = ", "expected a number")

    def test_tile_compressed(self, tmp_path, refuse, assert_is):
        path = tmp_path / "a.fits"
        hdu = self.fits.CompImageHDU(ramp((40, 30), np.int32))
        self.fits.HDUList([self.fits.PrimaryHDU(), hdu]).writeto(path)
        assert_is(read_image(path), ramp((40, 30))[None])
        content = path.read_bytes()
        for axis in (b"ZNAXIS1 =", b"ZNAXIS2 ="):
            at = content.index(axis)
            value = axis + b"1000000000".rjust(21)
            content = content[:at] + value + content[at + len(value) :]
        path.write_bytes(content)
        refuse(path, "fewer than its header claims", "(1000000000, 1000000000)")

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
    def test_not_finite(self, tmp_path, value, refuse):
        array = ramp()
        array[2, 3] = value
        refuse(self.write(tmp_path / "a.fits", array), "1 NaN or infinite pixel ")

    def test_constant(self, tmp_path, refuse):
        refuse(self.write(tmp_path / "a.fits", np.ones(SHAPE)), "constant image")

    def test_too_many_channels(self, tmp_path, refuse):
        path = self.write(tmp_path / "a.fits", ramp((5, 6, 7)))
        refuse(path, "(5, 6, 7)", "too many channels")
        path = self.write(tmp_path / "b.fits", ramp((17, 50, 50)))
        refuse(path, "(17, 50, 50)", "too many channels", "stack")

    @pytest.mark.parametrize("channels", [5, 16])
    def test_many_channels(self, tmp_path, channels, assert_is):
        cube = ramp((channels, 40, 33))
        assert_is(read_image(self.write(tmp_path / "a.fits", cube)), cube)

    def test_missing_padding_is_harmless(self, tmp_path, assert_is):
        path = self.write(tmp_path / "a.fits", ramp())
        path.write_bytes(path.read_bytes()[: 2880 + 240])
        with pytest.warns(UserWarning, match="truncated"):
            assert_is(read_image(path), ramp()[None])

    @pytest.mark.filterwarnings("ignore:File may have been truncated")
    @pytest.mark.parametrize("zipped", [False, True])
    def test_truncated(self, tmp_path, zipped, refuse):
        path = self.write(tmp_path / "a.fits", ramp())
        content = path.read_bytes()[: 2880 + 239]
        path.write_bytes(gzip.compress(content) if zipped else content)
        refuse(path, "at most 239 bytes", "240 bytes", "truncated")

    @pytest.mark.slow
    def test_gzip_bomb(self, tmp_path, monkeypatch, refuse):
        monkeypatch.setattr("lensequiv.data.decompress._MAX_UNPACKED", 2**20)
        path = tmp_path / "a.fits.gz"
        path.write_bytes(gzip.compress(bytes(2**27)))
        tracemalloc.start()
        try:
            refuse(path, "more than 1048576 bytes once unzipped")
            assert tracemalloc.get_traced_memory()[1] < 2**23
        finally:
            tracemalloc.stop()

    def test_truncated_gzip(self, tmp_path, refuse):
        content = self.write(tmp_path / "a.fits", ramp()).read_bytes()
        path = tmp_path / "b.fits.gz"
        path.write_bytes(gzip.compress(content)[:-20])
        refuse(path, "cannot be decoded", "EOFError")

    @pytest.mark.filterwarnings("ignore:File may have been truncated")
    @pytest.mark.parametrize("zipped", [False, True])
    def test_false_claims_cost_no_memory(self, tmp_path, zipped, refuse):
        content = self.write(tmp_path / "plain.fits", ramp()).read_bytes()
        for axis, old in ((b"NAXIS1", b"5"), (b"NAXIS2", b"6")):
            card = axis.ljust(8) + b"=" + old.rjust(21)
            assert card in content
            content = content.replace(card, card[:-7] + b"1000000")
        path = tmp_path / "a.fits"
        path.write_bytes(gzip.compress(content) if zipped else content)
        tracemalloc.start()
        try:
            refuse(path, "fewer than its header claims", "(1000000, 1000000)")
            assert tracemalloc.get_traced_memory()[1] < 2**24
        finally:
            tracemalloc.stop()

    @pytest.mark.filterwarnings("ignore:Error validating header")
    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"", "content is empty"),
            (b"not an image", "content begins with b'not an im'"),
            (b"PK\x03\x04" + bytes(100), "content begins with b'PK"),
            (gzip.compress(b"hello", mtime=0), "content begins with b'hello'"),
            (b"\x1f\x8b" + bytes(50), "cannot be decoded"),
            (b"SIMPLE  =                    T", "cannot be decoded"),
            (b"SIMPLE" + bytes(4000), "cannot be decoded"),
        ],
    )
    def test_garbage(self, tmp_path, content, found, refuse):
        path = tmp_path / "a.fits"
        path.write_bytes(content)
        refuse(path, found, "FITS" if "decoded" in found else "SIMPLE")

    def test_without_astropy(self, tmp_path, monkeypatch):
        path = self.write(tmp_path / "a.fits", ramp())
        monkeypatch.setitem(sys.modules, "astropy.io", None)
        with pytest.raises(ImportError, match=r"pip install 'lensequiv\[fits\]'"):
            read_image(path)

    @pytest.mark.parametrize(
        ("name", "shape", "limits"),
        [
            ("slacs_J0946+1006", (1, 281, 281), (-0.03, 5.4)),
            ("cosmos_web_ring_F444W", (1, 209, 209), (-0.05, 6.9)),
        ],
    )
    def test_telescope_images(self, name, shape, limits, assert_is):
        if not SHARED.is_dir():
            pytest.skip(f"the telescope images are not at {SHARED}")
        path = SHARED / name / "data.fits"
        image = read_image(path)
        assert_is(image, self.fits.getdata(path).astype(np.float32)[None])
        assert image.shape == shape
        np.testing.assert_allclose(
            (image.min(), image.max()), limits, rtol=0.01, atol=0.006
        )
