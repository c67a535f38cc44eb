"""What egodepth knows about one kind of data set, in one record: how it is recognised, opened, checked and split.

Each data set's folder builds its own records, `kinds.KINDS` lists them all. What recognises, opens and checks data asks
the records and knows no data set by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from egodepth.data.configurations import FIELD_OF_VIEW, DataConfig, DataKind, Source
from egodepth.data.findings import Findings
from egodepth.data.frame_store import DEFAULT_CACHE_BYTES
from egodepth.data.joint import JointDataset
from egodepth.data.motion import SequenceMotion
from egodepth.data.samples import EvaluationFrames, LearningCamera, NoUsableFrames, PosedSequence, TrainingDataset
from egodepth.data.splits import Stage
from egodepth.errors import UserError

FramesReader = Callable[[Path, str | None, Sequence[int]], EvaluationFrames]
"""Opens frames with ground truth: takes the root, the split, and time offsets of frames to read as well."""


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What a training run asks of a data set.

    Attributes:
        root: the path that the user gave.
        intrinsics: `calibrated`, `fixed`, `fx,fy,cx,cy` in pixels, `fov=DEGREES`, a file of intrinsics, or one of
            `LEARNED_WAYS`.
        source_ids: time offsets and `stereo`.
        height, width: training size in pixels.
        cache_folder: where frames unpacked from a video are kept.
        cache_bytes: of memory in which decoded frames are kept.
    """

    root: Path
    config: DataConfig
    intrinsics: str
    source_ids: Sequence[Source]
    height: int
    width: int
    cache_folder: Path
    cache_bytes: int = DEFAULT_CACHE_BYTES

    @property
    def has_time(self) -> bool:
        """Whether frames of other times are among the sources."""
        return any(source != "stereo" for source in self.source_ids)

    def require_intrinsics(self, what: str, known: tuple[str, ...]) -> None:
        """Refuse intrinsics that are typed in for data that come with theirs.

        Args:
            what: the data in a message.
            known: values of `intrinsics` that the data serve.
        """
        if self.intrinsics not in known:
            given = f"--intrinsics {self.intrinsics}".replace(f"--intrinsics {FIELD_OF_VIEW}", "--fov ")
            raise UserError(f"{given}: the calibration of {what} comes with the data. Take {' or '.join(known)}.")

    def require_no_stride(self, reason: str) -> None:
        """Refuse a stride for data that have none, for the reason given."""
        if self.config.stride not in (None, 1):
            raise UserError(f"--data.stride {self.config.stride}: is for footage; {reason}. Leave it out.")


@dataclass(frozen=True)
class TrainingSets:
    """What a run trains and validates on.

    Attributes:
        validation: None where nothing is held out.
        left_out: one message for each frame, or group of frames, that cannot be used.
        motion: how each piece of footage moves; nothing for data whose neighbours are given.
        learning: the cameras that are learnt.
    """

    training: TrainingDataset
    validation: TrainingDataset | None
    left_out: tuple[str, ...]
    motion: tuple[SequenceMotion, ...] = ()
    learning: tuple[LearningCamera, ...] = ()

    @property
    def first(self) -> TrainingDataset:
        """What DATA itself gives to train on, without those that are joined with it."""
        return self.training.datasets[0] if isinstance(self.training, JointDataset) else self.training

    @classmethod
    def together(cls, parts: Sequence["TrainingSets"]) -> "TrainingSets":
        """Several data sets as one that trains on all of them and validates on what each holds out."""
        if len(parts) == 1:
            return parts[0]
        validation = [part.validation for part in parts if part.validation is not None]
        return cls(
            JointDataset([part.training for part in parts]),
            JointDataset(validation) if validation else None,
            sum((part.left_out for part in parts), ()),
            sum((part.motion for part in parts), ()),
            LearningCamera.joined(camera for part in parts for camera in part.learning),
        )

    @classmethod
    def of_stages(cls, frames: Callable[[Stage], TrainingDataset]) -> "TrainingSets":
        """Both sets of a data set whose `left_out` says what it leaves out.

        Nothing validates where no frame that is held out can be used: a drive so short that these are its last ones, an
        archive without the validation cities, a split of one list.
        """
        training = frames("train")
        try:
            validation = frames("val")
        except NoUsableFrames:
            validation = None
        has_validation = validation is not None and len(validation) > 0
        return cls(training, validation if has_validation else None, tuple(training.left_out))


def open_together(wanted: Wanted, roots: Sequence[Path], open_one: Callable[[Wanted], TrainingSets]) -> TrainingSets:
    """Open several data sets as one; of these, what has too few frames is left out by name.

    Raises:
        UserError: one cannot be read, or none has enough frames.
    """
    share = wanted.cache_bytes // len(roots)
    parts: list[TrainingSets] = []
    too_few: list[NoUsableFrames] = []
    for root in roots:
        try:
            parts.append(open_one(replace(wanted, root=root, cache_bytes=share)))
        except NoUsableFrames as error:
            too_few.append(error)
    if not parts:
        raise too_few[0]
    sets = TrainingSets.together(parts)
    return replace(sets, left_out=(*map(str, too_few), *sets.left_out))


# --- split lists -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SplitLists:
    """How the lists of a split are read against a data set.

    Attributes:
        patterns: of the file names of lists in the folder of a split.
        read: the frames that a list names; raises `UserError` for what is wrong with its form.
        holds: whether the data set has a frame.
        shown: a frame for a message.
        frames: what a frame is called.
        remedy: what to do about frames that are missing.
        own: lists that the data set has outside its splits.
    """

    patterns: tuple[str, ...]
    read: Callable[[Path], Sequence[Any]]
    holds: Callable[[Any], bool]
    shown: Callable[[Any], str] = str
    frames: str = "frames"
    remedy: str = "Copy them or take the lines out."
    own: tuple[Path, ...] = ()


# --- the record ------------------------------------------------------------------------------------------------------


def no_hint(path: Path) -> str | None:
    """The hint of a kind of data that has none."""
    return None


def has_camera(path: Path) -> bool:
    """Whether a kind of data that comes with its calibration lacks it: never."""
    return False


def no_sequences(root: Path) -> Mapping[str, Callable[[], PosedSequence]]:
    """The sequences of a kind of data that has no poses."""
    return {}


@dataclass(frozen=True)
class DatasetKind:
    """A kind of data set.

    Attributes:
        name: what the command line, packs and messages call it.
        title: what a report calls it.
        expected: its layout in a few words, for the message that lists all known layouts.
        recognise: whether a path that exists, file or folder, has this layout. Records are asked in the table's order.
        check: looks a data set through and says in the findings what it holds and what is wrong with it.
        open_training: the sets to train and to validate on; None for data that are evaluated on alone.
        evaluation_frames: readers of frames with ground truth, by the name under which protocols ask for them.
        lists: how its split lists are read; None for data that have none.
        hint: what a folder of no known layout is, if it is near this one and the user is one folder off: a predicate
            and what to do (`is one date of KITTI raw; give the folder above, X.`), else None.
        lacks_camera: whether nothing says what camera the data are of, so that it must be given or learnt.
        sequences: openers of its sequences with poses, by name.
    """

    name: DataKind
    title: str
    expected: str
    recognise: Callable[[Path], bool]
    check: Callable[[Path, Findings], None]
    open_training: Callable[[Wanted], TrainingSets] | None = None
    evaluation_frames: Mapping[str, FramesReader] = field(default_factory=dict)
    lists: Callable[[Path], SplitLists] | None = None
    hint: Callable[[Path], str | None] = no_hint
    lacks_camera: Callable[[Path], bool] = has_camera
    sequences: Callable[[Path], Mapping[str, Callable[[], PosedSequence]]] = no_sequences


def visible_entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden files; nothing for a file."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".")) if folder.is_dir() else []
