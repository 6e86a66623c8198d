"""Files and folders are wholly old or wholly new, and a locked folder has one writer."""

from __future__ import annotations

import sys

import pytest

from twofold.files import atomic_file, atomic_folder, is_junk, locked, part_of, replace_folder, write_atomic


def folder(path, text):
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_a_new_folder_takes_its_place_and_others_may_read_it(tmp_path):
    new = folder(tmp_path / "new", "new")
    new.chmod(0o700)
    replace_folder(new, tmp_path / "place")
    assert (tmp_path / "place" / "file").read_text() == "new"
    assert (tmp_path / "place").stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_an_old_folder_is_replaced_whole(tmp_path):
    place = folder(tmp_path / "place", "old")
    (place / "left over").write_text("old")
    replace_folder(folder(tmp_path / "new", "new"), place)
    assert [path.name for path in place.iterdir()] == ["file"]
    assert (place / "file").read_text() == "new"
    assert list(tmp_path.iterdir()) == [place]


def test_without_a_new_folder_the_old_one_stays(tmp_path):
    place = folder(tmp_path / "place", "old")
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "missing", place)
    assert (place / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_when_the_new_folder_cannot_move_in_the_old_one_comes_back(tmp_path):
    place = folder(tmp_path / "place", "old")
    inside = folder(place / "inside", "new")  # it moves aside with the old one, and is then not where it was
    with pytest.raises(FileNotFoundError):
        replace_folder(inside, place)
    assert (place / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_what_a_block_writes_takes_the_place_when_the_block_ends_and_not_before(tmp_path):
    place = tmp_path / "deep" / "place"
    with atomic_folder(place) as new:
        (new / "file").write_text("new")
        assert not place.exists()
    assert (place / "file").read_text() == "new"
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_a_block_that_fails_leaves_the_old_folder_and_nothing_beside_it(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    (place / "file").write_text("old")

    def fail() -> None:
        with atomic_folder(place) as new:
            (new / "file").write_text("new")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert (place / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_file_gets_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
        assert part_of(path).exists()
    assert path.read_bytes() == b"new"
    write_atomic(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_fails_half_way_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_file(path) as file:
            file.write(b"ne")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no lock on a folder")
def test_a_locked_folder_is_refused_to_others_until_the_block_ends(tmp_path):
    with locked(tmp_path), pytest.raises(BlockingIOError), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("name", [".DS_Store", "._a.png", "Thumbs.db", "DESKTOP.INI", "__MACOSX", "@eaDir", ".hidden"])
def test_what_systems_leave_behind_is_junk(name):
    assert is_junk(name)


@pytest.mark.parametrize("name", ["thumbs", "desktop", "a.png", "_", "MACOSX"])
def test_what_a_person_may_have_named_is_not_junk(name):
    assert not is_junk(name)
