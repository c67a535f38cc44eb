"""What egodepth knows about folders of videos: each is a sequence with its own camera and its own held-out part."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from egodepth.data.findings import Findings
from egodepth.data.footage.record import VIDEO
from egodepth.data.images import is_image, natural_key
from egodepth.data.record import DatasetKind, TrainingSets, Wanted, open_together, visible_entries
from egodepth.data.samples import NoUsableFrames


def clips(folder: Path) -> list[Path]:
    """The videos of a folder in natural order."""
    return sorted(filter(VIDEO.recognise, visible_entries(folder)), key=natural_key)


def _holds_clips(path: Path) -> bool:
    if not path.is_dir() or any(map(is_image, visible_entries(path))):
        return False
    return any(map(VIDEO.recognise, visible_entries(path)))


def _open(wanted: Wanted) -> TrainingSets:
    sets = open_together(wanted, clips(wanted.root), VIDEO.open_training)
    return replace(sets, left_out=(*_unread(wanted.root), *sets.left_out))


def _check(root: Path, findings: Findings) -> None:
    findings.notes += list(_unread(root))
    too_short: list[str] = []
    for video in clips(root):
        try:
            VIDEO.check(video, findings)
        except NoUsableFrames as error:
            too_short.append(str(error))
    (findings.notes if findings.counts else findings.faults).extend(too_short)


def _unread(root: Path) -> Iterator[str]:
    """Folders within, whose frames or videos are theirs."""
    for entry in visible_entries(root):
        if entry.is_dir():
            yield f"{entry}: is not looked into. Give it beside {root} if its footage is to be used too."


VIDEOS = DatasetKind(
    name="videos",
    title="a folder of videos",
    expected="a folder of videos",
    recognise=_holds_clips,
    check=_check,
    open_training=_open,
    lacks_camera=lambda path: any(map(VIDEO.lacks_camera, clips(path))),
)
