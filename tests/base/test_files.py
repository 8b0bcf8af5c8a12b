import pytest

from base.files import write_folder, write_text


def fails(partial):
    (partial / "half").write_text("…")
    raise OSError(28, "No space left on device")


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    file = tmp_path / "run.json"
    write_text(file, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "\ud800")
    assert file.read_text() == "old"
    write_text(file, "néw")
    assert file.read_text("utf-8") == "néw"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_could_not_be_filled_leaves_the_old_one_and_nothing_else(tmp_path):
    folder = tmp_path / "cell"
    write_folder(folder, lambda partial: (partial / "a").write_text("1"))
    with pytest.raises(OSError, match="No space"):
        write_folder(folder, fails)
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]
    assert (folder / "a").read_text() == "1"


def test_a_new_folder_takes_the_place_of_the_old_one_whole(tmp_path):
    folder = tmp_path / "cell"
    write_folder(folder, lambda partial: (partial / "a").write_text("1"))
    write_folder(folder, lambda partial: (partial / "b").write_text("2"))
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["cell"]
