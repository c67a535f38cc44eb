"""Looking through KITTI's data: raw drives, the stereo pairs of 2015 and the selection of its depth benchmark."""

from collections.abc import Mapping
from pathlib import Path

from egodepth.data.findings import PAIRS_COMPARED, Findings
from egodepth.data.images import image_size, list_images, read_depth_png
from egodepth.data.kitti.depth import KittiStereo2015Frames, read_velodyne
from egodepth.data.kitti.near_misses import near_misses
from egodepth.data.kitti.raw import Calibration, KittiTree
from egodepth.data.kitti.selection import KittiSelectionFrames
from egodepth.data.probing import evenly, unreadable
from egodepth.data.samples import EvaluationFrames
from egodepth.data.splits import Side
from egodepth.errors import UserError


def check_drives(root: Path, findings: Findings) -> None:
    tree = KittiTree(root)
    findings.notes += [f"{root}: {remark}" for remark in near_misses(root)]
    pairs: list[tuple[Path, Path]] = []
    mismatches: list[str] = []
    for date in sorted({drive.split("/")[0] for drive in tree.drives()}):
        paired = any(tree.frames(drive, "r") for drive in tree.drives() if drive.startswith(date))
        with findings.catching():
            _check_calibration(root / date / "calib_cam_to_cam.txt", paired)
    if unrectified := tree.unrectified_drives():
        message = (
            f"{root / unrectified[0]}: holds unrectified frames (_extract), which the calibration does not describe"
        )
        if tree.drives():
            findings.notes.append(f"{message}; such drives are left out unless a split list names them")
        else:
            findings.faults.append(f"{message}. Unpack the _sync archives.")
    for drive in tree.drives():
        left, right = tree.frames(drive, "l"), tree.frames(drive, "r")
        both = left.keys() & right.keys()
        _count_modes(findings, left, right)
        if not (left or right):
            findings.faults.append(f"{root / drive}: has neither image_02/data nor image_03/data. Unpack the drive.")
        elif not (left and right):
            findings.notes.append(f"{drive}: has {'image_02' if left else 'image_03'} alone, so no stereo")
        elif len(both) < max(len(left), len(right)):
            findings.faults.append(
                f"{root / drive}: image_02 has {len(left)} frames, image_03 {len(right)}, in common {len(both)}. "
                "The drive is unpacked in part: unpack it again."
            )
        for side, frames in (("l", left), ("r", right)):
            first = frames[min(frames)] if frames else None
            if first is not None and (root / drive).parent.joinpath("calib_cam_to_cam.txt").is_file():
                _hold_against(tree, drive, side, first, mismatches)
        for side, frames in (("image_02", left), ("image_03", right)):
            if gaps := _gaps(frames):
                findings.notes.append(f"{drive}: {side} lacks {gaps} frames between its first and its last")
        pairs += [(left[number], right[number]) for number in evenly(sorted(both), PAIRS_COMPARED)]
        findings.count("frames", len(left) + len(right))
        _check_scans(root / drive, findings)
    findings.several(mismatches)
    findings.look_at_images(
        file for drive in tree.drives() for side in ("l", "r") for file in _files(tree, drive, side)
    )
    findings.look_at_pairs(pairs, f"{root}: image_02 and image_03")


def _hold_against(tree: KittiTree, drive: str, side: Side, image: Path, mismatches: list[str]) -> None:
    """Compare a calibration with a frame of its drive; what cannot be read is reported with the other files."""
    try:
        image_size(image)
        tree.calibration(drive)
    except UserError:
        return
    mismatches += unreadable([image], lambda each: tree.check_camera(drive, side, each))


def _check_calibration(file: Path, paired: bool) -> None:
    calibration = Calibration.read(file)
    used = [calibration.projection(side) for side in (("l", "r") if paired else ("l",))]
    if not all(projection[0, 0] > 0 for projection in used):
        raise UserError(f"{file}: a focal length is not positive. Copy the date's calibration again.")
    if not paired:
        return
    left, right = used
    if left[0, 3] / left[0, 0] <= right[0, 3] / right[0, 0]:
        raise UserError(
            f"{file}: by P_rect_02 and P_rect_03 camera 3 does not stand to the right of camera 2, so the two are "
            "swapped. Copy the date's calibration again."
        )


def _count_modes(findings: Findings, left: Mapping[int, Path], right: Mapping[int, Path]) -> None:
    for own, other in ((left, right), (right, left)):
        moving = {number for number in own if number - 1 in own and number + 1 in own}
        findings.count("samples of mode mono", len(moving))
        findings.count("samples of mode stereo", len(own.keys() & other.keys()))
        findings.count("samples of mode mono+stereo", len(moving & other.keys()))


def _check_scans(drive: Path, findings: Findings) -> None:
    scans = sorted((drive / "velodyne_points" / "data").glob("*.bin"))
    broken = [scan for scan in scans if scan.stat().st_size == 0 or scan.stat().st_size % 16]
    findings.several(unreadable(broken, read_velodyne))
    findings.count("laser scans (protocols eigen, sdfa)", len(scans) - len(broken))
    if scans and not (drive.parent / "calib_velo_to_cam.txt").is_file():
        findings.faults.append(
            f"{drive.parent / 'calib_velo_to_cam.txt'}: no such file, but {drive.name} has laser scans. "
            "Copy the date's calibration."
        )
    maps = sorted((drive / "proj_depth" / "groundtruth").glob("image_0[23]/*.png"))
    findings.read(maps, read_depth_png)
    findings.count("depth maps (protocols eigen-benchmark, simulated)", len(maps))


def _files(tree: KittiTree, drive: str, side: Side) -> list[Path]:
    return list(tree.frames(drive, side).values())


def _gaps(frames: Mapping[int, Path]) -> int:
    return max(frames) - min(frames) + 1 - len(frames) if frames else 0


def check_stereo_2015(root: Path, findings: Findings) -> None:
    _check_frames(KittiStereo2015Frames(root), findings, "images (protocols kitti-2015, kitti-2015-full)")
    folder = root / "training" if (root / "training").is_dir() else root
    pairs = [(left, folder / "image_3" / left.name) for left in list_images(folder / "image_2")]
    findings.look_at_pairs([pair for pair in pairs if pair[1].is_file()], f"{folder}: image_2 and image_3")


def check_selection(root: Path, findings: Findings) -> None:
    _check_frames(KittiSelectionFrames(root), findings, "images (protocol kitti-benchmark)")


def _check_frames(frames: EvaluationFrames, findings: Findings, what: str) -> None:
    findings.read(range(len(frames)), lambda index: frames[index])
    findings.count(what, len(frames))
