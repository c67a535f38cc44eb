"""Which frames of drives teach nothing of motion: the camera stands still, or the next frame is another scene."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from egodepth.checked_json import Flag, MapOf, read_checked
from egodepth.data.images import read_thumbnail
from egodepth.data.kitti.raw import KittiTree
from egodepth.data.motion import STANDING, THUMBNAIL_WIDTH, is_flat, motion_between
from egodepth.data.splits import SplitLine
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.progress import tracked

log = logging.getLogger("egodepth")

MOVES = MapOf(Flag(), key=lambda key: key.isascii() and key.isdecimal() and len(key) < 19, keys="numbers of frames")


class MovingParts:
    """How the drives of a tree move, drive by drive; looked at once and remembered in a cache folder.

    Args:
        cache_folder: where what was found is kept for a run that is resumed.
    """

    def __init__(self, root: Path, cache_folder: Path) -> None:
        self._tree = KittiTree(root)
        self._folder = cache_folder
        self._moves: dict[str, dict[int, bool]] = {}

    def select(self, lines: Sequence[SplitLine]) -> tuple[list[SplitLine], list[str]]:
        """The lines whose frame moves from the frame before to the one after, and a message for each drive."""
        moving = [line for line in lines if self._moves_at(line)]
        left = Counter(line.folder for line in lines if not self._moves_at(line))
        said = "frames around which the camera stands still, or the scene changes, are left out"
        return moving, [f"{folder}: {count} {said}" for folder, count in left.items()]

    def _moves_at(self, line: SplitLine) -> bool:
        if line.folder not in self._moves:
            self._moves[line.folder] = self._of_drive(line.folder)
        moves = self._moves[line.folder]
        # What was not compared, at the ends of a drive or beside a broken frame, is not for this to judge.
        return moves.get(line.frame, True) and moves.get(line.frame + 1, True)

    def _of_drive(self, folder: str) -> dict[int, bool]:
        """For each frame number whether the picture moved since the frame before."""
        frames = self._tree.frames(folder, "l") or self._tree.frames(folder, "r")
        file = self._folder / f"motion-{Path(folder).name}-{len(frames)}.json"
        if file.is_file():
            try:
                known = read_checked(file, MOVES, "The drive is looked at anew.")
                return {int(number): moves for number, moves in known.items()}
            except UserError as error:
                log.warning("%s", error)
        found = _compared(frames, Path(folder).name)
        write_text(file, json.dumps(found))
        return found


def _compared(frames: Mapping[int, Path], name: str) -> dict[int, bool]:
    found: dict[int, bool] = {}
    before = None
    for number in tracked(sorted(frames), f"Motion in {name}"):
        try:
            seen = read_thumbnail(frames[number], THUMBNAIL_WIDTH)
        except UserError:
            before = None  # the loader reports it
            continue
        if before is not None and before[0] == number - 1 and not (is_flat(seen) or is_flat(before[1])):
            motion = motion_between(before[1], seen)
            found[number] = not motion.is_cut and motion.shift >= STANDING
        before = number, seen
    return found
