"""What an install takes on the disk: a requirement with all that it brings, as it lies in this environment.

    python -m benchmarks.installed 'egodepth[train]'

Sizes are those of the files that packages list, in millions of bytes: without pip, and without egodepth's own where
it is installed as editable. What serves NVIDIA GPUs alone has a line of its own: PyTorch's builds for processors do
without it.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Annotated

import tyro
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from egodepth.errors import UserError

CUDA = ("nvidia", "cuda", "triton")
"""How names of packages begin that serve NVIDIA GPUs alone."""

SHOWN = 12


@dataclass(frozen=True)
class Options:
    """Sizes of the packages that a requirement brings."""

    requirement: Annotated[Positional[str], tyro.conf.arg(metavar="REQUIREMENT")]


def main(options: Options) -> None:
    sizes = {name: megabytes(package) for name, package in brought_by(options.requirement)}
    for_gpus = sum(size for name, size in sizes.items() if name.startswith(CUDA))
    largest = sorted(((size, name) for name, size in sizes.items() if not name.startswith(CUDA)), reverse=True)
    table = Table("package", "MB")
    for size, name in largest[:SHOWN]:
        table.add_row(name, f"{size:.0f}")
    table.add_row(f"{len(largest[SHOWN:])} others", f"{sum(size for size, _ in largest[SHOWN:]):.0f}")
    table.add_row("for NVIDIA GPUs", f"{for_gpus:.0f}")
    table.add_row("all", f"{sum(sizes.values()):.0f}")
    Console().print(table)


def brought_by(requirement: str) -> Iterator[tuple[str, Distribution]]:
    """Names and packages of a requirement and of what it requires in turn, each once.

    Raises:
        UserError: one of them is not installed.
    """
    waiting, seen = [Requirement(requirement)], set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError as error:
            raise UserError(f"{name}: is not installed. Install {requirement} first.") from error
        if not any(name == other for other, _ in seen):
            yield name, package
        seen.add((name, extras))
        for needed in map(Requirement, package.requires or ()):
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras or {""}):
                waiting.append(needed)


def megabytes(package: Distribution) -> float:
    files = (package.locate_file(file) for file in package.files or ())
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except UserError as error:
        sys.exit(str(error))
