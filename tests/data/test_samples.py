from pathlib import Path

import pytest
from ramps import ramp, save

from lensequiv.data import sample_paths
from lensequiv.data import samples as samples_module


class TestSamples:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(samples_module, "_folder", lambda: tmp_path / "samples")
        (tmp_path / "samples").mkdir()
        return tmp_path / "samples"

    def test_filter(self, folder):
        names = ["modelF-no-0", "modelF-vort-0", "modelJ-sphere-2", "modelJ-sphere-10"]
        paths = [save(folder / f"{name}.npy", ramp()) for name in names]
        assert sample_paths() == paths
        assert sample_paths("modelF") == paths[:2]
        assert sample_paths("modelJ") == paths[2:]
        with pytest.raises(ValueError, match="'modelK'; expected one of modelF, model"):
            sample_paths("modelK")

    def test_empty_or_missing_folder(self, folder):
        with pytest.raises(FileNotFoundError, match="holds no sample image"):
            sample_paths()
        folder.rmdir()
        with pytest.raises(FileNotFoundError, match="reinstall lensequiv"):
            sample_paths("modelF")

    def test_folder_lies_in_the_package(self):
        package = Path(samples_module.__file__).parent
        assert samples_module._folder() == package / "samples"
