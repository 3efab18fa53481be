"""Files that appear whole or not at all."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pymc_gamma import locks, renames, workspace
from pymc_gamma.errors import DataFileError, FolderInUseError
from pymc_gamma.files import (
    LOCK_NAME,
    atomic_path,
    locked_folder,
    refuse_full_disk,
    refuse_overwrite,
    restore,
    user_path,
)
from pymc_gamma.locks import Lock
from pymc_gamma.workspace import Workspace, clean


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


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def killed(path, owned=None):
    """What a writer leaves that was killed when it had written everything."""
    workspace = Workspace.make(path, owned)
    workspace.new.mkdir()
    (workspace.new / "half").write_text("half")
    os.close(workspace.lock.descriptor)
    return workspace.folder


@pytest.fixture(params=["exchange", "rename"])
def _with_and_without_exchange(request, monkeypatch):
    if request.param == "rename":
        monkeypatch.setattr(renames, "_rename", lambda *_: False)


@pytest.mark.usefixtures("_with_and_without_exchange")
@pytest.mark.parametrize("name", ["result.txt", "x" * 255])
def test_the_next_writer_removes_what_a_killed_one_left(name, tmp_path):
    path, other = tmp_path / name, tmp_path / f"{name[:-1]}y"
    waste, kept = killed(path), killed(other)
    living = Workspace.make(path, None)
    with atomic_path(path) as temporary:
        assert not waste.exists()
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert names(tmp_path) == sorted([path.name, kept.name, living.folder.name])
    living.close()
    clean(other)
    assert names(tmp_path) == [path.name]


def test_two_writers_at_once_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "result.txt"
    with atomic_path(path, overwrite=True) as first, atomic_path(path, overwrite=True) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # it ends last
    assert names(tmp_path) == ["result.txt"]


@pytest.mark.usefixtures("_with_and_without_exchange")
def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    target, link = tmp_path / "disk" / "result.txt", tmp_path / "home" / "link.txt"
    store, store_link = tmp_path / "disk" / "a.zarr", tmp_path / "home" / "b.zarr"
    target.parent.mkdir()
    link.parent.mkdir()
    link.symlink_to(Path("..") / "disk" / "result.txt")  # it points to nothing yet
    store_link.symlink_to(store)
    for content in ("old", "new"):
        with atomic_path(link, overwrite=True) as temporary:
            temporary.write_text(content)
        with atomic_path(store_link, overwrite=True) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert link.is_symlink()
    assert store_link.is_symlink()
    assert target.read_text() == "new"
    assert names(store) == ["new"]
    assert names(target.parent) == ["a.zarr", "result.txt"]
    assert names(link.parent) == ["b.zarr", "link.txt"]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_with_and_without_exchange")
def test_permissions_are_those_of_the_replaced_file_or_of_the_umask(tmp_path):
    path, store = tmp_path / "result.txt", tmp_path / "store.zarr"
    before = os.umask(0o027)
    try:
        for content in ("old", "new"):
            with atomic_path(path, overwrite=True) as temporary:
                temporary.write_text(content)
            with atomic_path(store, overwrite=True) as temporary:
                temporary.mkdir()
                (temporary / "part").write_text(content)
                (temporary / content).write_text(content)
            if content == "old":
                assert [mode(path), mode(store), mode(store / "part")] == [0o640, 0o750, 0o640]
                path.chmod(0o604)
                store.chmod(0o705)
                (store / "part").chmod(0o600)
    finally:
        os.umask(before)
    assert [mode(path), mode(store), mode(store / "part"), mode(store / "new")] == [0o604, 0o705, 0o600, 0o640]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with atomic_path("~/new/result.txt") as temporary:
        temporary.write_text("mine")
    assert (tmp_path / "new" / "result.txt").read_text() == "mine"
    with pytest.raises(FileExistsError, match=r"~/new/result\.txt exists"):
        refuse_overwrite("~/new/result.txt")


def test_a_file_does_not_replace_a_folder_nor_a_folder_a_file(tmp_path):
    file, folder = tmp_path / "result.txt", tmp_path / "store.zarr"
    file.write_text("precious")
    folder.mkdir()
    (folder / "part").write_text("precious")

    def write(path, *, as_folder):
        with atomic_path(path, overwrite=True) as temporary:
            if as_folder:
                temporary.mkdir()
            else:
                temporary.write_text("new")

    with pytest.raises(OSError, match=r"is a folder, and a file was to be written.*store\.zarr"):
        write(folder, as_folder=False)
    with pytest.raises(OSError, match=r"is a file, and a folder was to be written.*result\.txt"):
        write(file, as_folder=True)
    assert file.read_text() == (folder / "part").read_text() == "precious"
    assert names(tmp_path) == ["result.txt", "store.zarr"]


OWNED = ("a.txt", "b.txt")


def write_owned(folder, content, *, overwrite=True):
    with atomic_path(folder, overwrite=overwrite, owned=OWNED) as temporary:
        temporary.mkdir()
        for name in OWNED:
            (temporary / name).write_text(content)


def beside(folder):
    """Files of the user in a folder of results."""
    (folder / "drafts" / "old").mkdir(parents=True)
    (folder / "drafts" / "old" / "thesis.tex").write_text("precious")
    (folder / "notes.txt").write_text("mine")
    (folder / "link").symlink_to("notes.txt")
    return (folder / "notes.txt").stat().st_ino


def check_owned(folder, content, inode):
    assert [(folder / name).read_text() for name in OWNED] == [content] * 2
    assert names(folder) == ["a.txt", "b.txt", "drafts", "link", "notes.txt"]
    assert (folder / "drafts" / "old" / "thesis.tex").read_text() == "precious"
    assert (folder / "notes.txt").stat().st_ino == inode
    assert (folder / "link").readlink() == Path("notes.txt")
    assert names(folder.parent) == [folder.name]


@pytest.mark.usefixtures("_with_and_without_exchange")
def test_files_of_the_user_stay(tmp_path):
    folder = tmp_path / "results"
    inode = beside(folder)
    folder.chmod(0o710)
    for content in ("old", "new"):
        write_owned(folder, content, overwrite=content == "new")
        check_owned(folder, content, inode)
    assert mode(folder) == 0o710
    with pytest.raises(FileExistsError, match="results exists"):
        write_owned(folder, "third", overwrite=False)
    check_owned(folder, "new", inode)


def save(path, content):
    """Save a file as editors do: write another and rename it."""
    temporary = path.with_name(f".{path.name}.swp")
    temporary.write_text(content)
    temporary.replace(path)


def plain_files(folder):
    """Results beside files of the user, that can be linked."""
    folder.mkdir()
    for name in ("notes.txt", "todo.txt"):
        (folder / name).write_text("v1")
    (folder / "link").symlink_to("todo.txt")
    folder.chmod(0o710)
    write_owned(folder, "old")


@pytest.mark.usefixtures("_with_and_without_exchange")
def test_what_the_user_saves_meanwhile_stays(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    plain_files(folder)
    exchange = workspace.exchange

    def late(one, other):
        save(folder / "late.txt", "late")
        save(folder / "notes.txt", "v2")
        (folder / "more").mkdir()
        (folder / "more" / "late.txt").write_text("late")
        save(folder / "a.txt", "not the user's")
        return exchange(one, other)

    monkeypatch.setattr(workspace, "exchange", late)
    write_owned(folder, "new")
    assert names(folder) == ["a.txt", "b.txt", "late.txt", "link", "more", "notes.txt", "todo.txt"]
    assert (folder / "link").readlink() == Path("todo.txt")
    assert mode(folder) == 0o710
    assert [(folder / name).read_text() for name in OWNED] == ["new"] * 2
    assert (folder / "late.txt").read_text() == (folder / "more" / "late.txt").read_text() == "late"
    assert (folder / "notes.txt").read_text() == "v2"
    assert (folder / "todo.txt").read_text() == "v1"
    assert names(tmp_path) == ["results"]


def test_what_the_user_does_after_a_kill_wins(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    plain_files(folder)
    (folder / "both.txt").write_text("v1")
    exchange = workspace.exchange

    class Killed(BaseException):
        pass

    def kill(one, other):
        save(folder / "both.txt", "v2")
        assert exchange(one, other)
        raise Killed

    with monkeypatch.context() as context:
        context.setattr(workspace, "exchange", kill)
        context.setattr(Workspace, "close", lambda self: os.close(self.lock.descriptor))
        with pytest.raises(Killed):
            write_owned(folder, "new")
    (left,) = workspace.left_behind(folder, OWNED)
    assert left.is_dir()
    (folder / "todo.txt").unlink()
    save(folder / "notes.txt", "v3")
    save(folder / "both.txt", "v3")
    restore(folder, OWNED)
    assert [(folder / name).read_text() for name in (*OWNED, "notes.txt", "both.txt")] == ["new", "new", "v3", "v3"]
    (other,) = folder.glob("both.txt.*")
    assert other.read_text() == "v2"
    assert not (folder / "todo.txt").exists()
    assert names(tmp_path) == ["results"]


def test_folders_of_the_user_are_never_out_of_sight(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    beside(folder)
    write_owned(folder, "old")
    before = folder.stat().st_ino
    rename = Path.rename
    seen = []

    def look(self, target):
        rename(self, target)
        seen.append((folder / "drafts" / "old" / "thesis.tex").read_text())

    monkeypatch.setattr(Path, "rename", look)
    write_owned(folder, "new")
    assert seen == ["precious"] * 5  # what was written is whole, two old names out, two new ones in
    assert folder.stat().st_ino == before
    check_owned(folder, "new", (folder / "notes.txt").stat().st_ino)


def test_files_that_cannot_be_linked_stay(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    inode = beside(folder)

    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    for content in ("old", "new"):
        write_owned(folder, content)
        check_owned(folder, content, inode)


def test_the_folder_in_which_a_process_works_stays_the_same(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    inode = beside(folder)
    write_owned(folder, "old")
    monkeypatch.chdir(folder / "drafts")
    before = folder.stat().st_ino
    write_owned("..", "new")
    assert folder.stat().st_ino == before
    check_owned(folder, "new", inode)


def test_a_folder_whose_parent_may_not_be_written(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    inode = beside(folder)
    monkeypatch.setattr(workspace.os, "access", lambda path, _: Path(path) != tmp_path)
    before = folder.stat().st_ino
    killed(folder, OWNED)
    for content in ("old", "new"):
        write_owned(folder, content)
        check_owned(folder, content, inode)
    assert folder.stat().st_ino == before


def test_a_change_that_stops_half_way_is_completed_by_the_next_run(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    inode = beside(folder)
    write_owned(folder, "old")
    monkeypatch.setattr(renames, "_rename", lambda *_: False)
    rename = Path.rename

    def fail(self, target):
        if self.name == "b.txt" and Path(target).parent == folder:
            raise PermissionError(errno.EACCES, "not now")
        return rename(self, target)

    with monkeypatch.context() as context:
        context.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match=r"stopped half way.*not now.*next run"):
            write_owned(folder, "new")
    assert not (folder / "b.txt").exists()
    restore(folder, OWNED)
    check_owned(folder, "new", inode)


def test_a_reader_completes_what_was_killed_between_two_renames(tmp_path, monkeypatch):
    path = tmp_path / "store.zarr"
    path.mkdir()
    (path / "old").write_text("old")
    folder = killed(path)
    (folder / "new").rename(folder / "whole")
    (folder / "old").mkdir()
    path.rename(folder / "old" / "aside")
    restore(path)
    assert names(path) == ["half"]  # everything that was to be written
    assert names(tmp_path) == ["store.zarr"]


HOLDER = """
import sys, time
from pymc_gamma.files import locked_folder
with locked_folder(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_the_second_run_into_a_folder_is_refused_until_the_first_ends_or_is_killed(tmp_path):
    folder = tmp_path / "results"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "locked\n"
        expected = rf"into {folder} \(process {first.pid} on .* since 20"
        with pytest.raises(FolderInUseError, match=expected), locked_folder(folder):
            pytest.fail("the block must not run")
        first.kill()
    assert names(folder) == [LOCK_NAME]
    with locked_folder(folder):
        pass
    assert names(folder) == []


def test_a_folder_made_for_the_lock_goes_with_it(tmp_path):
    with locked_folder(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert names(tmp_path) == []
    with locked_folder(tmp_path / "new"):
        (tmp_path / "new" / "result").write_text("whole")
    assert names(tmp_path / "new") == ["result"]


@pytest.mark.parametrize("step", ["stat", "unlink", "flock"])
def test_ctrl_c_while_a_lock_is_released(step, tmp_path, monkeypatch):
    """The same process gets the lock again, and writes into the folder."""
    folder = tmp_path / "results"

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    def interrupted():
        with monkeypatch.context() as context, locked_folder(folder):
            write_owned(folder, "first")
            if step == "flock":
                context.setattr(locks.fcntl, "flock", interrupt)
            else:
                context.setattr(Path, step, interrupt)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with locked_folder(folder):
        write_owned(folder, "second")
    assert names(folder) == list(OWNED)


def test_a_child_that_inherits_the_open_file_does_not_keep_the_lock(tmp_path):
    lock = Lock.take(tmp_path / "lock")
    os.link(lock.path, tmp_path / "same")  # the file stays when its name is removed
    kept = os.dup(lock.descriptor)  # what a forked child has: another descriptor of the same open file
    lock.release()
    try:
        again = Lock.take(tmp_path / "same")
        assert again is not None
        again.release()
    finally:
        os.close(kept)


@pytest.fixture
def _no_locks_of_the_system(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)


@pytest.mark.usefixtures("_no_locks_of_the_system")
def test_locks_where_the_file_system_has_none(tmp_path):
    path = tmp_path / "lock"
    lock = Lock.take(path)
    assert Lock.take(path) is None  # this process runs
    lock.release()
    assert not path.exists()
    with subprocess.Popen(["true"]) as ended:
        pass
    host = locks.socket.gethostname()
    path.write_text(f"process {ended.pid} on {host} since long ago")
    Lock.take(path).release()
    path.write_text("process 1 on another-machine since 2026-01-01 00:00:00")
    assert Lock.take(path) is None
    os.utime(path, (0, 0))  # for decades
    Lock.take(path).release()


@pytest.mark.parametrize("exchanges", [True, False])
def test_the_disk_has_everything_before_a_name_says_so(exchanges, tmp_path, monkeypatch):
    if not exchanges:
        monkeypatch.setattr(renames, "_rename", lambda *_: False)
    flushed, rename = [], Path.rename

    def fsync(descriptor):
        flushed.append(os.fstat(descriptor).st_ino)

    def check(self, target):
        if self.name == "new":
            inodes = [one.stat().st_ino for one in [self, *self.rglob("*")]]
            assert sorted(flushed) == sorted(inodes[1:])
            flushed.clear()
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", check)
    path = tmp_path / "result.txt"
    for content in ("old", "new"):
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text(content)
        assert flushed == [tmp_path.stat().st_ino]  # then the folder that has the name
        flushed.clear()
    store = tmp_path / "store.zarr"
    for _ in range(2):
        with atomic_path(store, overwrite=True) as temporary:
            (temporary / "array" / "c").mkdir(parents=True)
            (temporary / "array" / "c" / "0").write_text("0")
            (temporary / "zarr.json").write_text("{}")
        assert flushed[-1] == tmp_path.stat().st_ino
        flushed.clear()


@pytest.mark.parametrize("name", ["a\0b", "lone\ud800", "~nobody-of-this-name/x"])
def test_names_that_no_file_can_have(name):
    for call in (user_path, restore, refuse_overwrite):
        with pytest.raises(DataFileError, match="cannot be the name of a file"):
            call(name)
    with pytest.raises(DataFileError, match="cannot be the name of a file"), atomic_path(name):
        pytest.fail("the block must not run")


def test_no_room_is_said_before_the_work(tmp_path):
    with pytest.raises(OSError, match=r"1e\+15 MB are needed and .* MB are free.*new/result\.fits") as told:
        refuse_full_disk(tmp_path / "new" / "result.fits", 10**21)
    assert told.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


def test_a_place_that_may_not_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(NotADirectoryError, match=r"cannot be written.*file/result\.txt"),
        atomic_path(tmp_path / "file" / "result.txt"),
    ):
        pytest.fail("the block must not run")
