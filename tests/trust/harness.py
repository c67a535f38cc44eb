"""Reading changed inputs: what came of each, and whether that is what docs/reliability.md promises."""

import random
import shutil
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from egodepth.errors import UNPRINTABLE, UserError
from tests.trust.inputs import KINDS, Kind, digest
from tests.trust.mutations import mutated

Outcome = Literal["right", "one line", "another valid input", "undetected", "traceback", "bad line", "slow"]
FAULTS: tuple[Outcome, ...] = ("undetected", "traceback", "bad line", "slow")
"""Outcomes that nothing promised allows: damage of a guarded file served, an error that is no line, no answer."""

SLOW_SECONDS = 20
LONGEST_LINE = 1300


@dataclass
class Tally:
    """What came of the mutations of one kind.

    Attributes:
        faults: mutation by its number, and what was wrong.
        seconds: the longest that one took.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    seconds: float = 0.0


def tried(name: str, count: int, seed: int, folder: Path) -> Tally:
    """Change the input of a kind `count` times and read it.

    Args:
        folder: of its own, new.
    """
    kind, tally = KINDS[name], Tally()
    pristine = folder / "whole"
    pristine.mkdir(parents=True)
    file = kind.make(pristine).relative_to(pristine)
    content = (pristine / file).read_bytes()
    expected = digest(_quietly(kind, pristine))
    for number in range(count):
        draw = random.Random(f"{name} {seed} {number}")
        changed = mutated(content, draw)
        work = folder / "changed"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(pristine, work)
        (work / file).write_bytes(changed)
        began = time.perf_counter()
        outcome, said = _read(kind, work, expected, changed == content)
        seconds = time.perf_counter() - began
        tally.seconds = max(tally.seconds, seconds)
        if seconds > SLOW_SECONDS:
            outcome, said = "slow", f"{seconds:.0f} s"
        tally.outcomes[outcome] += 1
        if outcome in FAULTS:
            tally.faults.append((number, said))
    shutil.rmtree(folder)
    return tally


def _read(kind: Kind, folder: Path, expected: str, unchanged: bool) -> tuple[Outcome, str]:
    try:
        found = digest(_quietly(kind, folder))
    except UserError as error:
        line = str(error)
        if UNPRINTABLE.search(line) or len(line) > LONGEST_LINE or not line.endswith((".", "`", '"')):
            return "bad line", line[:300]
        return "one line", line
    except Exception:
        return "traceback", "".join(traceback.format_exception(*sys.exc_info())[-3:])
    if found == expected:
        return "right", ""
    if kind.guarded or unchanged:
        return "undetected", "other content was served"
    return "another valid input", ""


def _quietly(kind: Kind, folder: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind.read(folder)
