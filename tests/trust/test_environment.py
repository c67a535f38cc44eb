"""Environment variables are a user's input: what cannot be meant is one line, before work begins."""

from pathlib import Path

import pytest

from egodepth.cache import cache_folder
from egodepth.cluster.jobs import ResumableJob
from egodepth.data.packs.remote import stand_in
from egodepth.environment import number_said, whole_number_said
from egodepth.errors import UserError
from egodepth.processors import available_processors, working_threads
from tests.command_line import only_line, run

NO_NUMBERS = ["twenty", "1e400", "nan", "-1", "20,5 GB", "0x10", "\x1b[31m7"]


@pytest.mark.parametrize("said", NO_NUMBERS)
@pytest.mark.parametrize("variable", ["EGODEPTH_PACK_GB", "OMP_NUM_THREADS", "SLURM_RESTART_COUNT"])
def test_a_variable_that_is_no_number_is_refused_by_its_name(variable, said, monkeypatch, tmp_path):
    monkeypatch.setenv(variable, said)
    monkeypatch.setenv("EGODEPTH_CACHE", str(tmp_path))
    used = {
        "EGODEPTH_PACK_GB": lambda: stand_in(Path("s3://packs/drive")),
        "OMP_NUM_THREADS": working_threads,
        "SLURM_RESTART_COUNT": lambda: ResumableJob(("train",), None)._words_of_turn(),
    }[variable]
    with pytest.raises(UserError, match=rf"^{variable}=.*: expected a .*Correct the variable, or unset it\.$"):
        used()


@pytest.mark.parametrize(("said", "expected"), [("3", 3), ("4,2", 4), (" 2 ", 2), ("", None)])
def test_threads_are_taken_as_openmp_takes_them(said, expected, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert working_threads() == (expected or available_processors())


def test_numbers_have_limits_and_a_usual_value(monkeypatch):
    assert (number_said("NOBODY_SETS_THIS", 2.5), whole_number_said("NOBODY_SETS_THIS", 3)) == (2.5, 3)
    monkeypatch.setenv("SOMEBODY_DOES", "2.5")
    assert number_said("SOMEBODY_DOES", 1, least=2, largest=3) == 2.5
    with pytest.raises(UserError, match="from 3 to 4"):
        number_said("SOMEBODY_DOES", 1, least=3, largest=4)
    with pytest.raises(UserError, match="expected a whole number"):
        whole_number_said("SOMEBODY_DOES", 1)


def test_a_command_refuses_them_before_it_begins(monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert run("list") == 2
    assert only_line(capsys.readouterr().err).startswith("egodepth: OMP_NUM_THREADS=many: expected a number from 1 to")


def test_a_cache_that_somebody_named_and_that_cannot_be_written_to_is_said_once(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EGODEPTH_CACHE", str(tmp_path / "file" / "cache"))
    assert [cache_folder("graphs"), cache_folder("openvino")] == [None, None]
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"EGODEPTH_CACHE={tmp_path}/file/cache: cannot be written (Not a directory)")
    monkeypatch.setenv("EGODEPTH_CACHE", "none")
    assert cache_folder("graphs") is None
    assert len(caplog.records) == 1
