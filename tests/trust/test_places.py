"""Places that cannot be written to, and places that two processes write to at once."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from egodepth.errors import UserError
from egodepth.files import replacing, write_text
from egodepth.locks import LOCK_FILE, only_writer

ROOT = Path(__file__).parents[2]

NOBODY = 65534
"""An account that owns nothing: for root, modes of folders bind nobody."""


def below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "out"


PLACES = {
    "below a file": below_a_file,
    "below a file, deeper": lambda folder: below_a_file(folder) / "deeper",
    "a loop of links": lambda folder: (folder / "loop").symlink_to("loop") or folder / "loop" / "out",
    "a name too long": lambda folder: folder / ("x" * 300),
}
if sys.platform == "linux":
    PLACES["/proc"] = lambda _: Path("/proc/egodepth")
    PLACES["/proc, deeper"] = lambda _: Path("/proc/egodepth/out")


def write_folder(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.mkdir()


def write_alone(path: Path) -> None:
    with only_writer(path):
        pass


WRITES = {"a file": lambda path: write_text(path, "x"), "a folder": write_folder, "as the only writer": write_alone}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("writes", WRITES)
def test_a_place_that_takes_nothing_is_one_line_with_its_name(place, writes, tmp_path):
    path = PLACES[place](tmp_path)
    with pytest.raises(
        UserError, match=rf"^{re.escape(str(path))}: cannot be written \(.+\)\. Choose another place\.$"
    ):
        WRITES[writes](path)


AS_NOBODY = """
import fcntl, os, sys  # the interpreter may lie where that account does not see it
from tests.trust.test_places import WRITES, Path, UserError
os.setgid({nobody}); os.setuid({nobody})
for write in WRITES.values():
    try:
        write(Path(sys.argv[1]))
    except UserError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become another account")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_of_another_account_is_one_line(mode):
    with TemporaryDirectory() as folder:  # pytest's own lie in one that other accounts do not see into
        Path(folder).chmod(0o755)
        (Path(folder) / "theirs").mkdir(mode)
        out, code = Path(folder) / "theirs" / "out", AS_NOBODY.format(nobody=NOBODY)
        done = subprocess.run([sys.executable, "-c", code, out], capture_output=True, text=True, cwd=ROOT, check=False)
    expected = f"{out}: cannot be written (Permission denied). Choose another place."
    assert done.stdout.splitlines() == [expected] * len(WRITES), done.stderr


def test_a_device_and_a_pipe_are_not_replaced_by_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(os.devnull)
    for name in ("pipe", "link"):
        with pytest.raises(UserError, match=rf"{name}: is a device or a pipe"):
            write_text(tmp_path / name, "x")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_a_file_system_without_fsync_is_written_to(number, tmp_path, monkeypatch):
    def without(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", without)
    write_text(tmp_path / "x", "whole")
    assert (tmp_path / "x").read_text() == "whole"


def test_what_is_read_meanwhile_is_not_said_to_be_the_output(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out" / "x"):
        (tmp_path / "in" / "gone.png").read_bytes()


WRITES_AGAIN_AND_AGAIN = """
import sys
from pathlib import Path
from egodepth.files import replacing
for number in range(150):
    with replacing(Path(sys.argv[1]) / "model") as folder:
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).write_text(f"{sys.argv[2]} {number}")
"""


def test_two_that_write_one_folder_both_end_and_the_last_ones_stays_whole(tmp_path):
    commands = [[sys.executable, "-c", WRITES_AGAIN_AND_AGAIN, tmp_path, name] for name in ("one", "two")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    first, second = ((tmp_path / "model" / name).read_text() for name in ("a", "b"))
    assert first == second


HOLDS = """
import os, sys, time
from pathlib import Path
from egodepth.locks import only_writer
with only_writer(Path(sys.argv[1])):
    child = os.fork()  # as a loading process, which outlives the one that is killed
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs locks of POSIX")
def test_a_second_writer_is_refused_by_the_firsts_number_and_a_killed_one_keeps_nobody_out(tmp_path):
    folder = tmp_path / "a" / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDS, folder], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        try:
            with pytest.raises(UserError, match=rf"run: process {process.pid} writes there\. Wait .* another --out\."):
                only_writer(folder).__enter__()
            process.kill()
            process.wait()
            with only_writer(folder):
                assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
        finally:
            os.kill(child, 9)
    assert list(folder.iterdir()) == []


def test_the_only_writer_leaves_what_it_found_where_nothing_was_written(tmp_path):
    with only_writer(tmp_path / "a" / "run"):
        assert (tmp_path / "a" / "run" / LOCK_FILE).is_file()
    assert list(tmp_path.iterdir()) == []
    with only_writer(tmp_path / "run"):
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / LOCK_FILE).write_text("another's")
    assert (tmp_path / "run" / LOCK_FILE).read_text() == "another's"
