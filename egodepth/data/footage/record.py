"""What egodepth knows about footage: folders of frames and video files."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from egodepth.data.findings import TRIAL_SIZE, Findings
from egodepth.data.footage.camera import (
    CameraUnknown,
    camera_and_lens,
    footage_camera,
    footage_lens,
    footage_size,
    learned_camera,
)
from egodepth.data.footage.containers import VIDEO_SUFFIXES, is_video
from egodepth.data.footage.dataset import Footage
from egodepth.data.footage.masking import footage_mask
from egodepth.data.footage.unpacking import MIN_FRAMES, survey, unpack
from egodepth.data.images import bit_depth, disagreement_in_time, image_size, is_image, list_images
from egodepth.data.record import DatasetKind, TrainingSets, Wanted, visible_entries
from egodepth.data.samples import NoUsableFrames
from egodepth.data.splits import Stage
from egodepth.errors import UserError
from egodepth.geometry.lenses import field_said

log = logging.getLogger("egodepth")

MOST_SAMPLES = "samples of mode mono, at most"


def _holds_images(path: Path) -> bool:
    return any(is_image(entry) for entry in visible_entries(path))


def _hint_of_frames(path: Path) -> str | None:
    for entry in visible_entries(path):
        if entry.is_dir() and any(is_image(inner) for inner in entry.iterdir()):
            return f"holds no frames itself, but {entry} does."
    return None


def _hint_of_video(path: Path) -> str | None:
    if not path.is_file():
        return None
    return f"is no video that can be read, nor does it have the name of one ({', '.join(sorted(VIDEO_SUFFIXES))})."


def _open(wanted: Wanted) -> TrainingSets:
    if wanted.intrinsics == "fixed":
        raise UserError("--intrinsics fixed is KITTI's camera. Give your own: --intrinsics fx,fy,cx,cy in pixels.")
    intrinsics = None if wanted.intrinsics == "calibrated" else wanted.intrinsics
    camera, lens = camera_and_lens(wanted.root, intrinsics)
    learned = learned_camera(wanted.root, intrinsics)
    if lens is not None:
        log.info("%s: frames are undistorted, %s.", wanted.root, field_said(lens))
    size, stride, bits = (wanted.height, wanted.width), wanted.config.stride, wanted.config.bits
    if wanted.root.is_dir():
        for remark in _remarks(list_images(wanted.root), bits):
            log.warning(remark)

    unpacked = unpack(wanted.root, wanted.cache_folder, *size, bits, lens)
    mask = footage_mask(wanted.config.mask, unpacked.frames, footage_size(wanted.root), size)

    def frames(stage: Stage) -> Footage:
        return Footage(
            wanted.root,
            wanted.source_ids,
            *size,
            camera,
            wanted.cache_folder,
            stage,
            stride,
            wanted.cache_bytes,
            bits,
            lens,
            mask,
            learned,
            wanted.config.offsets,
        )

    sets = TrainingSets.of_stages(frames)
    return replace(sets, motion=(sets.training.motion,), learning=sets.training.learning)


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
    _check_camera(root, findings)
    if findings.reads_all(len(images)):
        _check_frames(root, findings)
        return
    sizes: Counter[tuple[int, int]] = Counter()
    for image in images:
        try:
            sizes[image_size(image)] += 1
        except UserError:
            continue  # a fault already where it was decoded; training leaves it out by name
    common = sizes.most_common(1)[0][1] if sizes else 0
    if common < sizes.total():
        findings.notes.append(f"{sizes.total() - common} frames differ in size from most and are left out")
    if common < MIN_FRAMES:
        raise NoUsableFrames(
            f"{root}: {common} usable frames, training needs at least {MIN_FRAMES}. Give longer footage."
        )
    findings.count("frames", common)
    findings.count(MOST_SAMPLES, common - 2)


def _check_video(path: Path, findings: Findings) -> None:
    _check_frames(path, findings)
    _check_camera(path, findings)


def _check_frames(path: Path, findings: Findings) -> None:
    """Choose frames as training does: all of them are decoded."""
    found = survey(path, *TRIAL_SIZE)
    findings.note_once(found.reports)
    if max(found.runs) < MIN_FRAMES:
        raise NoUsableFrames(
            f"{path}: no {MIN_FRAMES} usable frames follow each other without a cut, which training needs. Give longer "
            "footage."
        )
    findings.count("frames", found.decoded)
    findings.count(MOST_SAMPLES, sum(max(0, frames - 2) for frames in found.runs))


def _check_camera(path: Path, findings: Findings) -> None:
    try:
        lens = footage_lens(path)
        if lens is not None:
            findings.notes.append(f"frames are undistorted for training, {field_said(lens)}")
    except CameraUnknown as error:
        findings.notes.append(f"{error} Training from video learns it otherwise.")
    except UserError as error:
        if str(error) not in findings.faults:
            findings.faults.append(str(error))


def _lacks_camera(path: Path) -> bool:
    try:
        footage_camera(path)
    except CameraUnknown:
        return True
    except UserError:
        return False  # what is wrong is said where the camera is needed
    return False


FRAMES = DatasetKind(
    name="frames",
    title="a folder of frames",
    expected="a folder of frames",
    recognise=_holds_images,
    check=_check_folder,
    open_training=_open,
    hint=_hint_of_frames,
    lacks_camera=_lacks_camera,
)

VIDEO = DatasetKind(
    name="video",
    title="a video",
    expected="a video file",
    recognise=is_video,
    check=_check_video,
    open_training=_open,
    hint=_hint_of_video,
    lacks_camera=_lacks_camera,
)
