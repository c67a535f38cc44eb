"""An interpreter that sees what a plain `pip install egodepth` brings, made of what is installed here.

The wheel is built and unpacked, and of the installed distributions those are linked beside it that the wheel requires
without any extra. The interpreter is told of nothing else.
"""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


class Installation:
    """A folder that stands for the site-packages of an installation.

    Args:
        extras: of egodepth that are installed, too.
    """

    def __init__(self, folder: Path, extras: Sequence[str] = ()) -> None:
        self.site = folder / "site"
        self.site.mkdir(parents=True)
        wheel = build_wheel(folder / "dist")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)
        [metadata] = self.site.glob("*.dist-info/METADATA")
        required = re.findall(r"^Requires-Dist: (.+)$", metadata.read_text(encoding="utf-8"), re.M)
        self.distributions = sorted(closure(required, frozenset(extras)))
        for name in self.distributions:
            self._link(name)

    def _link(self, name: str) -> None:
        installed = distribution(name)
        for part in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            link = self.site / part
            if not link.exists():
                link.symlink_to(installed.locate_file(part))

    def python(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess:
        """Run the interpreter, with no other site-packages and no cache that earlier calls filled."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment |= {"PYTHONPATH": str(self.site), "EGODEPTH_CACHE": str(cwd / "cache")}
        command = [sys.executable, "-S", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)

    def egodepth(self, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess:
        """Run the command line."""
        return self.python("-m", "egodepth", *arguments, cwd=cwd)


def build_wheel(folder: Path) -> Path:
    """The wheel of this source tree."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = folder.glob("*.whl")
    return wheel


def closure(requirements: Sequence[str], extras: frozenset[str]) -> set[str]:
    """The names of all distributions that requirements bring in here, each with what it requires itself."""
    found: set[str] = set()
    waiting = list(_wanted(requirements, extras))
    while waiting:
        requirement = waiting.pop()
        if requirement.name == "egodepth" or requirement.name in found:
            continue
        found.add(requirement.name)
        try:
            inner = distribution(requirement.name).requires or ()
        except PackageNotFoundError as error:
            raise AssertionError(f"{requirement.name} is required and not installed") from error
        waiting += _wanted(inner, frozenset(requirement.extras))
    return found


def _wanted(requirements: Sequence[str], extras: frozenset[str]) -> Iterator[Requirement]:
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": each}) for each in ("", *extras)):
            yield requirement
