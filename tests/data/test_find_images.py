import re

import pytest
from ramps import ramp, save

from lensequiv.data import ImageError, find_images


class TestFindImages:
    def test_natural_order_and_extensions(self, tmp_path):
        names = [
            "1.npy",
            "2.npy",
            "10.fits",
            "a2/b.FIT",
            "a2/c/1.fits.gz",
            "a2/d.FITS.bz2",
            "a3/1.npz",
            "a3/2.H5",
            "a3/3.hdf5",
            "a3/4.png",
            "a3/5.JPG",
            "a3/6.tiff",
            "a10/b.npy",
        ]
        ignored = [".3.npy", ".git/4.npy", "notes.txt", "a2/5.gif", "6.npy.gz", "npy"]
        for name in reversed(names + ignored):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        with pytest.warns(UserWarning, match=r"1 \.gif, 1 \.gz, 1 without extension;"):
            found = find_images(str(tmp_path))
        assert found == [tmp_path / name for name in names]

    @pytest.mark.filterwarnings("error")
    def test_what_lies_beside_images(self, tmp_path):
        names = [
            "README",
            "LICENSE.md",
            "manifest.json",
            "SHA256SUMS",
            "a.csv",
            "1.npy",
        ]
        for name in names:
            (tmp_path / name).touch()
        assert find_images(tmp_path) == [tmp_path / "1.npy"]

    @pytest.mark.parametrize(
        "end", [".fits.fz", ".FITS.FZ", ".fz", ".fits.bz2", ".fit.xz", ".fts.GZ"]
    )
    def test_compressed(self, tmp_path, end):
        (tmp_path / f"a{end}").touch()
        assert find_images(tmp_path) == [tmp_path / f"a{end}"]

    def test_hidden_folder_named_outright(self, tmp_path):
        (tmp_path / ".cache").mkdir()
        (tmp_path / ".cache" / "1.npy").touch()
        assert find_images(tmp_path / ".cache") == [tmp_path / ".cache" / "1.npy"]

    def test_links_are_followed_once(self, tmp_path):
        root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
        root.mkdir()
        elsewhere.mkdir()
        (elsewhere / "1.npy").touch()
        (elsewhere / "loop").symlink_to(root)
        (root / "link").symlink_to(elsewhere)
        (root / "link2").symlink_to(elsewhere)
        assert find_images(root) == [root / "link" / "1.npy"]

    def test_nothing_found(self, tmp_path):
        (tmp_path / "notes.txt").touch()
        with pytest.raises(ImageError) as caught:
            find_images(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path} holds no image; expected")

    def test_missing_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="absent"):
            find_images(tmp_path / "absent")

    def test_file_instead_of_folder(self, tmp_path):
        with pytest.raises(NotADirectoryError, match=re.escape("a.npy")):
            find_images(save(tmp_path / "a.npy", ramp()))
