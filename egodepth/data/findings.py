"""What a look through a data set comes across: collected as it is found, then a report for the terminal."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from egodepth.data.configurations import DataKind
from egodepth.data.images import read_image
from egodepth.data.probing import cameras_look_swapped, empty_files, evenly, unreadable
from egodepth.errors import UserError

PAIRS_COMPARED = 8
NOTES_SHOWN = 20

TRIAL_SIZE = 96, 320
"""Height and width at which frames are read to see which of them training would use."""


@dataclass(frozen=True)
class DataReport:
    """What was found.

    Attributes:
        path: what was looked at.
        kind: none where the layout is not known.
        title: of the kind.
        counts: how many of what, for example samples of each training mode.
        faults: one line each: what is wrong, where, and what to do.
        notes: one line each: what is absent, without harm to the rest.
    """

    path: Path
    kind: DataKind | None
    title: str
    counts: Mapping[str, int]
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 where the data can be used as it is, else 2."""
        return 2 if self.faults else 0

    def lines(self) -> list[str]:
        """The report for a terminal, without the faults."""
        counts = [f"  {count:>9,}  {what}" for what, count in self.counts.items()]
        verdict = f"{len(self.faults)} faults" if self.faults else "no fault found"
        return [f"{self.path}: {self.title}", *counts, *(f"  note: {note}" for note in self.notes), f"  {verdict}"]


@dataclass
class Findings:
    """Collects what a check comes across.

    Attributes:
        decoded: how many files of a kind are read whole.
    """

    path: Path
    decoded: int
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Take a user's error as a fault and go on after the block."""
        try:
            yield
        except UserError as error:
            self.faults.append(str(error))

    def report(self, kind: DataKind | None, title: str) -> DataReport:
        return DataReport(self.path, kind, title, self.counts, tuple(self.faults), tuple(self.notes))

    def count(self, what: str, number: int) -> None:
        if number:
            self.counts[what] = self.counts.get(what, 0) + number

    def note_once(self, notes: Iterable[str]) -> None:
        """Note what is not noted yet; of many, the first and how many more there are."""
        new = [note for note in notes if note not in self.notes]
        self.notes += new[:NOTES_SHOWN]
        if len(new) > NOTES_SHOWN:
            self.notes.append(f"{len(new) - NOTES_SHOWN} more frames, or parts, are left out")

    def reads_all(self, files: int) -> bool:
        """Whether as many files of a kind are all read."""
        return files <= self.decoded

    def several(self, messages: Sequence[str]) -> None:
        """The first of several alike, with their number."""
        if messages:
            more = f" ({len(messages) - 1} more like this.)" if len(messages) > 1 else ""
            self.faults.append(f"{messages[0]}{more}")

    def read(self, items: Iterable, reader: Callable) -> None:
        """Read items spread over all of them; those that cannot be read are one fault."""
        self.several(unreadable(evenly(list(items), self.decoded), reader))

    def look_at_images(self, files: Iterable[Path]) -> None:
        files = list(files)
        empty = empty_files(files)
        self.several([f"{file}: is empty (0 bytes). Unpack or copy it again." for file in empty])
        self.read(sorted(set(files) - set(empty)), read_image)

    def look_at_pairs(self, pairs: Sequence[tuple[Path, Path]], what: str) -> None:
        if cameras_look_swapped(evenly(pairs, PAIRS_COMPARED)):
            self.faults.append(
                f"{what}: the left and the right camera are swapped: things are shifted the wrong way between them. "
                "Exchange the two folders."
            )
