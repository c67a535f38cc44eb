"""What egodepth knows about footage: folders of frames and video files."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from egodepth.data.findings import Findings
from egodepth.data.footage.camera import CameraUnknown, camera_of_field_of_view, footage_camera, footage_size
from egodepth.data.footage.dataset import Footage
from egodepth.data.footage.masking import footage_mask
from egodepth.data.footage.unpacking import MIN_FRAMES, unpack
from egodepth.data.footage.video import VIDEO_SUFFIXES, read_video_frames, video_info
from egodepth.data.images import bit_depth, disagreement_in_time, image_size, is_image, list_images
from egodepth.data.record import DatasetKind, TrainingSets, Wanted, visible_entries
from egodepth.data.splits import Stage
from egodepth.errors import UserError

log = logging.getLogger("egodepth")

SHORT = 10
"""So few frames are tried whole when they are checked."""
TRIAL_SIZE = (96, 320)


def _holds_images(path: Path) -> bool:
    return any(is_image(entry) for entry in visible_entries(path))


def _hint_of_frames(path: Path) -> str | None:
    for entry in visible_entries(path):
        if entry.is_dir() and any(is_image(inner) for inner in entry.iterdir()):
            return f"holds no frames itself, but {entry} does."
    return None


def _is_video(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES


def _hint_of_video(path: Path) -> str | None:
    return f"does not have the name of a video ({', '.join(sorted(VIDEO_SUFFIXES))})." if path.is_file() else None


def _open(wanted: Wanted) -> TrainingSets:
    if wanted.intrinsics == "fixed":
        raise UserError("--intrinsics fixed is KITTI's camera. Give your own: --intrinsics fx,fy,cx,cy in pixels.")
    camera = footage_camera(wanted.root, None if wanted.intrinsics == "calibrated" else wanted.intrinsics)
    size, stride, bits = (wanted.height, wanted.width), wanted.config.stride, wanted.config.bits
    if wanted.root.is_dir():
        for remark in _remarks(list_images(wanted.root), bits):
            log.warning(remark)

    unpacked = unpack(wanted.root, wanted.cache_folder, *size, bits)
    mask = footage_mask(wanted.config.mask, unpacked.frames, footage_size(wanted.root), size)

    def frames(stage: Stage) -> Footage:
        places = wanted.root, wanted.source_ids, *size, camera, wanted.cache_folder
        return Footage(*places, stage, stride, bits=bits, mask=mask)

    return TrainingSets.of_stages(frames)


def _remarks(images: Sequence[Path], bits: int | None = None) -> list[str]:
    """How a folder's images are read, where that could be wrong."""
    found = bits or bit_depth(images)
    deep = [] if found is None else [_said_bits(images[0].parent, found, bits is not None)]
    return [*filter(None, [disagreement_in_time(images)]), *deep]


def _said_bits(folder: Path, bits: int, given: bool) -> str:
    if given:
        return f"{folder}: images of more than 8 bits are read as {bits} bits, as given"
    return f"{folder}: by their largest values the images have {bits} bits, and are read so; --data.bits sets it"


def _check_folder(root: Path, findings: Findings) -> None:
    images = list_images(root)
    findings.look_at_images(images)
    findings.notes += _remarks(images)
    sizes: Counter[tuple[int, int]] = Counter()
    for image in images:
        try:
            sizes[image_size(image)] += 1
        except UserError:
            continue  # a fault already where it was decoded; training leaves it out by name
    common = sizes.most_common(1)[0][1] if sizes else 0
    if common < sizes.total():
        findings.notes.append(f"{sizes.total() - common} frames differ in size from most and are left out")
    _check_footage(root, findings, common)


def _check_video(path: Path, findings: Findings) -> None:
    info = video_info(path)
    _check_footage(path, findings, info.frames or sum(1 for _ in read_video_frames(path)))


def _check_footage(path: Path, findings: Findings, frames: int) -> None:
    findings.count("frames", frames)
    findings.count("samples of mode mono, at most", max(0, frames - 2))
    if frames < MIN_FRAMES:
        findings.faults.append(
            f"{path}: {frames} usable frames, training needs at least {MIN_FRAMES}. Give longer footage."
        )
    elif frames <= SHORT:
        _try_short(path, findings)
    try:
        footage_camera(path)
    except CameraUnknown as error:
        findings.notes.append(str(error))
    except UserError as error:
        findings.faults.append(str(error))


def _try_short(path: Path, findings: Findings) -> None:
    """Unpack a few frames as training does: a single one that stands still is one too few."""
    camera = camera_of_field_of_view(60, *TRIAL_SIZE)
    with findings.catching(), TemporaryDirectory() as cache:
        Footage(path, (-1, 1), *TRIAL_SIZE, camera, cache)


FRAMES = DatasetKind(
    name="frames",
    title="a folder of frames",
    expected="a folder of frames",
    recognise=_holds_images,
    check=_check_folder,
    open_training=_open,
    hint=_hint_of_frames,
)

VIDEO = DatasetKind(
    name="video",
    title="a video",
    expected="a video file",
    recognise=_is_video,
    check=_check_video,
    open_training=_open,
    hint=_hint_of_video,
)
