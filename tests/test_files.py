import os

import pytest

from lensequiv.files import check_output


def test_a_file_that_can_be_written(tmp_path):
    for path in (tmp_path / "new.PNG", tmp_path / "old.png"):
        (tmp_path / "old.png").write_text("as it was")
        assert check_output(str(path), suffixes=[".png"]) == path
    assert [p.name for p in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_text() == "as it was"
    assert check_output(tmp_path / "a/b/c.png", parents=True).name == "c.png"
    assert not (tmp_path / "a").exists()


def test_a_name_without_a_folder_is_in_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(check_output("x.png")) == "x.png"


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("no/x.png", {}, FileNotFoundError, "folder .*no does not exist, so x.png"),
        ("old/x.png", {}, NotADirectoryError, "old is a file; expected a folder"),
        ("old/a/x.png", {"parents": True}, NotADirectoryError, "old is a file"),
        (".", {}, IsADirectoryError, "is a folder; expected the name of a file"),
        ("old", {"overwrite": False}, FileExistsError, "old exists: choose a new"),
        ("x.txt", {"suffixes": [".png", ".pdf"]}, ValueError, "in '.txt'; .*.png, .pd"),
        ("x", {"suffixes": [".png"]}, ValueError, "x has no ending; expected .*.png"),
        ("pipe", {}, ValueError, "pipe is no ordinary file"),
    ],
)
def test_refusals(tmp_path, name, options, error, message):
    (tmp_path / "old").write_text("")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(error, match=message):
        check_output(tmp_path / name, **options)


def test_a_folder_that_cannot_be_written_to():
    # No file can be made in /proc, by whomever.
    with pytest.raises(OSError, match="no file can be written to /proc"):
        check_output("/proc/x.png")
    with pytest.raises(OSError, match="no file can be written to /proc"):
        check_output("/proc/new/run", parents=True)
