"""Which one-line mistakes the tests notice: a mutation test of methods, losses, recipes, schedules and augmentations.

    python benchmarks/mutations.py [--only NAME ...] [--without PATH ...] [--json FILE] [--timeout-s SECONDS]

Each entry of `mutations.toml` is made in a copy of the tracked files, the tests that it lists run against it, and the
file is put back. A mutation is killed if a test fails, and survives if all pass. Before, the same tests run on the
untouched copy: one that fails anyway would kill everything. `--without tests/golden` leaves test files out, to see what
they bring.

Importing PyTorch, Lightning and timm takes five seconds, so every run is forked from a process that has imported them,
but nothing of the package.
"""

import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".toml")

Verdict = Literal["killed", "survived", "timed out", "broken"]
"""`broken`: pytest could not run the tests, so they say nothing about the mutation."""

VERDICTS: dict[int, Verdict] = {0: "survived", 1: "killed"}
"""By pytest's exit status; any other means that tests could not be collected."""

TIMED_OUT = -1


@dataclass(frozen=True)
class Mutation:
    """One mistake.

    Attributes:
        name: what goes wrong.
        file: path in the repository.
        old, new: the text that is replaced, which occurs exactly once in the file, and what replaces it.
        tests: files or node ids for pytest, the quickest first.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The file's text with the mistake.

        Raises:
            ValueError: the old text does not occur exactly once.
        """
        count = text.count(self.old)
        if count != 1:
            raise ValueError(f"{self.name}: {self.old!r} occurs {count} times in {self.file}. Give what is there once.")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Outcome:
    """What the tests said to a mutation.

    Attributes:
        killed_by: the first test that failed.
    """

    name: str
    verdict: Verdict
    seconds: float
    killed_by: str | None = None


def read_mutations() -> list[Mutation]:
    """The list, with the names of golden steps (`@scheme[case]`) written out as pytest's node ids."""
    data = tomllib.loads(LIST.read_text())

    def node(test: str) -> str:
        if not test.startswith("@"):
            return test
        scheme, bracket, case = test[1:].partition("[")
        return data["steps"][scheme] + bracket + case

    return [Mutation(**entry | {"tests": tuple(map(node, entry["tests"]))}) for entry in data["mutation"]]


# --- one run ---------------------------------------------------------------------------------------------------


def copy_tracked(folder: Path) -> None:
    """Copy the tracked files as they stand in the working tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def import_what_is_slow() -> None:
    """Import what every test needs and no mutation changes."""
    for name in ("hypothesis", "lightning.pytorch", "pytest", "timm", "torch", "torchvision.transforms.v2"):
        importlib.import_module(name)
    assert "egodepth" not in sys.modules


def run_tests(folder: Path, tests: Sequence[str], timeout_s: float, log: Path) -> int:
    """Pytest's exit status in a child process, or `TIMED_OUT`."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _be_pytest(folder, tests, log)
    end = time.monotonic() + timeout_s
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return TIMED_OUT
        time.sleep(0.05)


def _be_pytest(folder: Path, tests: Sequence[str], log: Path) -> None:
    """Run pytest in the copy and leave the process; its output goes to a file."""
    status = 99
    try:
        os.setpgid(0, 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        sys.path[0] = os.environ["PYTHONPATH"] = str(folder)
        found = importlib.util.find_spec("egodepth")
        if not Path(found.origin).is_relative_to(folder):
            raise RuntimeError(f"the tests would import {found.origin}, which has no mutations")
        import pytest

        status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
    except BaseException as error:
        print(repr(error))
    finally:
        sys.stdout.flush()
        os._exit(status)


def first_failure(log: Path) -> str | None:
    """The node id of the test that failed."""
    failed = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("FAILED ")]
    return failed[0].removeprefix("FAILED ").split(" - ")[0] if failed else None


@contextmanager
def mutated(folder: Path, mutation: Mutation) -> Iterator[None]:
    """Let the copy have a mutation for a while."""
    path = folder / mutation.file
    text = path.read_text()
    path.write_text(mutation.applied(text))
    try:
        yield
    finally:
        path.write_text(text)


def try_mutation(folder: Path, mutation: Mutation, tests: Sequence[str], timeout_s: float, log: Path) -> Outcome:
    """What the tests say to one mutation; without any test it survives."""
    start = time.monotonic()
    with mutated(folder, mutation):
        status = run_tests(folder, tests, timeout_s, log) if tests else 0
    verdict = "timed out" if status == TIMED_OUT else VERDICTS.get(status, "broken")
    killed_by = first_failure(log) if verdict == "killed" else None
    return Outcome(mutation.name, verdict, round(time.monotonic() - start, 1), killed_by)


# --- the command -----------------------------------------------------------------------------------------------


def main(
    only: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
    timeout_s: float = 240.0,
    check_first: bool = True,
) -> None:
    """Try the mutations of mutations.toml; exits with 1 unless the tests kill all of them.

    Args:
        only: names of the mutations to try; by default all.
        without: test files or folders to leave out.
        json_file: where to write what became of each mutation.
        timeout_s: how long the tests of one mutation may take.
        check_first: run all tests on the untouched files before.
    """
    mutations = read_mutations()
    unknown = set(only) - {mutation.name for mutation in mutations}
    if unknown:
        sys.exit(f"--only {' '.join(sorted(unknown))}: mutations.toml has no such mutation.")
    chosen = [mutation for mutation in mutations if not only or mutation.name in only]
    tests = {mutation.name: [test for test in mutation.tests if not test.startswith(without)] for mutation in chosen}

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder, log = Path(scratch).resolve() / "copy", Path(scratch) / "log"
        copy_tracked(folder)
        for mutation in chosen:
            mutation.applied((folder / mutation.file).read_text())
        if check_first:
            every = list(dict.fromkeys(test for listed in tests.values() for test in listed))
            status = run_tests(folder, every, 10 * timeout_s, log) if every else 0
            if status != 0:
                sys.exit(f"{log.read_text()}\nThe tests do not pass without any mutation: pytest's status is {status}.")
            print(
                f"without mutation: {len(every)} test files or cases pass, {time.monotonic() - start:.0f} s", flush=True
            )
        outcomes = []
        for mutation in chosen:
            outcomes.append(try_mutation(folder, mutation, tests[mutation.name], timeout_s, log))
            outcome = outcomes[-1]
            print(f"{outcome.verdict:9} {outcome.seconds:5.1f} s  {outcome.name}", flush=True)
            if outcome.verdict == "broken":
                print(log.read_text())
    minutes = (time.monotonic() - start) / 60
    report(outcomes, minutes)
    if json_file is not None:
        write_outcomes(json_file, outcomes, without, minutes)
    sys.exit(any(outcome.verdict != "killed" for outcome in outcomes))


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many mutations got each verdict, those alone that occurred."""
    verdicts = [outcome.verdict for outcome in outcomes]
    return {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(sorted(verdicts))}


def report(outcomes: Sequence[Outcome], minutes: float) -> None:
    """Print what was not killed, and the counts."""
    for outcome in outcomes:
        if outcome.verdict != "killed":
            print(f"{outcome.verdict}: {outcome.name}")
    listed = ", ".join(f"{count} {verdict}" for verdict, count in counts(outcomes).items())
    print(f"{len(outcomes)} mutations in {minutes:.1f} minutes: {listed}")


def write_outcomes(path: Path, outcomes: Sequence[Outcome], without: Sequence[str], minutes: float) -> None:
    """Write the outcomes as JSON, with the tests that were left out."""
    data = {
        "without": list(without),
        "minutes": round(minutes, 1),
        "counts": counts(outcomes),
        "mutations": [asdict(outcome) for outcome in outcomes],
    }
    path.write_text(json.dumps(data, indent=2) + "\n")


if __name__ == "__main__":
    # Before PyTorch is imported, which reads the first, and the first module of the package, which would be written.
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    import_what_is_slow()
    tyro.cli(main)
