"""Files that appear whole or not at all."""

import pytest

from pymc_gamma.files import atomic_path, refuse_overwrite


def test_a_file_appears_at_the_end(tmp_path):
    path = tmp_path / "new" / "result.fits.gz"
    with atomic_path(path) as temporary:
        assert temporary.name.endswith("result.fits.gz")
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def fail():
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_overwriting_is_asked_for(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(FileExistsError, match=r"result\.txt exists"), atomic_path(path):
        pytest.fail("the block must not run")
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "result.txt"

    def race():
        with atomic_path(path) as temporary:
            temporary.write_text("mine")
            path.write_text("theirs")

    with pytest.raises(FileExistsError):
        race()
    assert path.read_text() == "theirs"


def test_folders_are_replaced_whole(tmp_path):
    path = tmp_path / "store.zarr"
    for content in ("first", "second"):
        with atomic_path(path, overwrite=True) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [entry.name for entry in path.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [path]


def test_the_hint_is_the_callers(tmp_path):
    with pytest.raises(FileExistsError, match="--force"):
        refuse_overwrite(tmp_path, hint="--force")
