"""What a data folder is, how many samples it holds, and what is wrong with it, before anything is trained on it.

A fault is what keeps the data from being used, or would spoil training or figures without a word. What is only absent
(no laser scans, one camera) is a note.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from egodepth.data import cityscapes_triplets, ddad, make3d
from egodepth.data.cityscapes import possible_modes
from egodepth.data.cityscapes_layout import (
    SPLITS,
    CityscapesCamera,
    CityscapesTree,
    FrameName,
    read_disparity_steps,
    read_names,
)
from egodepth.data.footage import MIN_FRAMES, footage_camera, read_video_frames, video_info
from egodepth.data.images import image_size, list_images, read_depth_png, read_image
from egodepth.data.kitti import Calibration, KittiTree
from egodepth.data.kitti_depth import KittiStereo2015Frames, read_velodyne
from egodepth.data.kitti_selection import KittiSelectionFrames
from egodepth.data.probing import cameras_look_swapped, empty_files, evenly, unreadable
from egodepth.data.recognise import DataKind, recognise
from egodepth.data.samples import EvaluationFrames
from egodepth.data.splits import Side, read_split
from egodepth.errors import UserError

TITLES: dict[DataKind, str] = {
    "kitti-raw": "KITTI raw",
    "kitti-2015": "KITTI Stereo 2015",
    "kitti-benchmark": "KITTI's depth prediction benchmark, selected validation images",
    "cityscapes": "Cityscapes",
    "cityscapes-triplets": "Cityscapes as preprocessed triplets",
    "ddad": "DDAD",
    "make3d": "Make3D",
    "simulated": "simulated drives",
    "frames": "a folder of frames",
    "video": "a video",
}

FILES_DECODED = 60
PAIRS_COMPARED = 8
SNIPPET_BEFORE, SNIPPET_AFTER = 19, 10


@dataclass(frozen=True)
class DataReport:
    """What was found.

    Attributes:
        path: what was looked at.
        kind: none where the layout is not known.
        counts: how many of what, for example samples of each training mode.
        faults: one line each: what is wrong, where, and the mend.
        notes: one line each: what is absent, without harm to the rest.
    """

    path: Path
    kind: DataKind | None
    counts: Mapping[str, int]
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 where the data can be used as it is, else 2."""
        return 2 if self.faults else 0

    def lines(self) -> list[str]:
        """The report for a terminal, without the faults."""
        title = TITLES[self.kind] if self.kind else "not a known kind of data"
        counts = [f"  {count:>9,}  {what}" for what, count in self.counts.items()]
        verdict = f"{len(self.faults)} faults" if self.faults else "no fault found"
        return [f"{self.path}: {title}", *counts, *(f"  note: {note}" for note in self.notes), f"  {verdict}"]


@dataclass
class _Findings:
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

    def count(self, what: str, number: int) -> None:
        if number:
            self.counts[what] = self.counts.get(what, 0) + number

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


def check_data(path: Path | str, split: str | None = None, every_file: bool = False) -> DataReport:
    """Look a data folder through. Never raises for what is wrong with the data: that is what the report is for.

    Args:
        split: the only split of a KITTI tree whose lists matter; none checks them all.
        every_file: decode every image and point cloud, instead of some spread over all of them.
    """
    path = Path(path)
    findings = _Findings(path, decoded=10**9 if every_file else FILES_DECODED)
    kind = None
    with findings.catching():
        kind = recognise(path)
        if kind in ("kitti-raw", "simulated"):
            _check_drives(path, findings, split)
        else:
            CHECKS[kind](path, findings)
        if not findings.counts and not findings.faults:
            findings.faults.append(f"{path}: holds nothing to train or to evaluate on. Unpack the data again.")
    return DataReport(path, kind, findings.counts, tuple(findings.faults), tuple(findings.notes))


# --- KITTI -----------------------------------------------------------------------------------------------------------


def _check_drives(root: Path, findings: _Findings, split: str | None) -> None:
    tree = KittiTree(root)
    pairs: list[tuple[Path, Path]] = []
    for date in sorted({drive.split("/")[0] for drive in tree.drives()}):
        with findings.catching():
            _check_calibration(root / date / "calib_cam_to_cam.txt")
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
        for side, frames in (("image_02", left), ("image_03", right)):
            if gaps := _gaps(frames):
                findings.notes.append(f"{drive}: {side} lacks {gaps} frames between its first and its last")
        pairs += [(left[number], right[number]) for number in evenly(sorted(both), PAIRS_COMPARED)]
        findings.count("frames", len(left) + len(right))
        _check_scans(root / drive, findings)
    findings.look_at_images(
        file for drive in tree.drives() for side in ("l", "r") for file in _files(tree, drive, side)
    )
    findings.look_at_pairs(pairs, f"{root}: image_02 and image_03")
    _check_lists(tree, findings, split)


def _check_calibration(file: Path) -> None:
    calibration = Calibration.read(file)
    left, right = calibration.projections["l"], calibration.projections["r"]
    if not (left[0, 0] > 0 and right[0, 0] > 0):
        raise UserError(f"{file}: a focal length is not positive. Copy the date's calibration again.")
    if left[0, 3] / left[0, 0] <= right[0, 3] / right[0, 0]:
        raise UserError(
            f"{file}: by P_rect_02 and P_rect_03 camera 3 does not stand to the right of camera 2, so the two are "
            "swapped. Copy the date's calibration again."
        )


def _count_modes(findings: _Findings, left: Mapping[int, Path], right: Mapping[int, Path]) -> None:
    for own, other in ((left, right), (right, left)):
        moving = {number for number in own if number - 1 in own and number + 1 in own}
        findings.count("samples of mode mono", len(moving))
        findings.count("samples of mode stereo", len(own.keys() & other.keys()))
        findings.count("samples of mode mono+stereo", len(moving & other.keys()))


def _check_scans(drive: Path, findings: _Findings) -> None:
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


def _check_lists(tree: KittiTree, findings: _Findings, split: str | None) -> None:
    for file in sorted((tree.root / "splits").glob(f"{split or '*'}/*_files.txt")):
        with findings.catching():
            lines = read_split(file)
            missing = [line for line in lines if tree.find(line.folder, line.side, line.frame) is None]
            findings.count(f"frames listed in {file.relative_to(tree.root)}", len(lines))
            if missing:
                findings.faults.append(
                    f"{file}: {len(missing)} of its {len(lines)} frames are not in the tree (the first: "
                    f"{missing[0].origin.rsplit(', ', 1)[-1]}, `{missing[0]}`). Add the drives or take the lines out."
                )


def _files(tree: KittiTree, drive: str, side: Side) -> list[Path]:
    return list(tree.frames(drive, side).values())


def _gaps(frames: Mapping[int, Path]) -> int:
    return max(frames) - min(frames) + 1 - len(frames) if frames else 0


def _check_stereo_2015(root: Path, findings: _Findings) -> None:
    _check_frames(KittiStereo2015Frames(root), findings, "images (protocols kitti-2015, kitti-2015-full)")
    folder = root / "training" if (root / "training").is_dir() else root
    pairs = [(left, folder / "image_3" / left.name) for left in list_images(folder / "image_2")]
    findings.look_at_pairs([pair for pair in pairs if pair[1].is_file()], f"{folder}: image_2 and image_3")


def _check_selection(root: Path, findings: _Findings) -> None:
    _check_frames(KittiSelectionFrames(root), findings, "images (protocol kitti-benchmark)")


def _check_frames(frames: EvaluationFrames, findings: _Findings, what: str) -> None:
    findings.read(range(len(frames)), lambda index: frames[index])
    findings.count(what, len(frames))


# --- Cityscapes ------------------------------------------------------------------------------------------------------


def _check_cityscapes(root: Path, findings: _Findings) -> None:
    tree = CityscapesTree(root)
    for stage in ("train", "val"):
        for mode, count in possible_modes(tree, stage).items():
            findings.count(f"samples of mode {mode} to {stage}", count)
    for split in SPLITS:
        left, right = tree.images("left", split), tree.images("right", split)
        disparities = tree.disparities(split)
        _check_partners(root, tree, split, findings)
        _check_snippets(root, tree, split, findings)
        if left:
            without = unreadable(left, lambda name, split=split: tree.camera_file(split, name))
            findings.several(without)
            findings.several(unreadable(tree.camera_files(split).values(), CityscapesCamera.read))
        findings.look_at_images([*left.values(), *right.values()])
        findings.read(disparities.values(), read_disparity_steps)
        findings.count(f"{split} frames with disparity (protocol cityscapes)", len(left.keys() & disparities.keys()))
        lost = disparities.keys() - left.keys()
        if lost and not left:
            findings.notes.append(f"{split}: has disparities, but no left images")
        elif lost:
            findings.faults.append(
                f"{root / 'disparity' / split}: {len(lost)} maps have no left image (the first: {min(lost)}). "
                "Unpack leftImg8bit again."
            )
        pairs = [(left[name], right[name]) for name in left.keys() & right.keys()]
        findings.look_at_pairs(sorted(pairs), f"{root}: leftImg8bit and rightImg8bit, {split}")


def _check_partners(root: Path, tree: CityscapesTree, split: str, findings: _Findings) -> None:
    for kind in ("", "_sequence"):
        left, right = (tree.files(f"{side}Img8bit{kind}", split) for side in ("left", "right"))
        if left and right and (alone := left.keys() ^ right.keys()):
            findings.faults.append(
                f"{root}: {len(alone)} of {len(left.keys() | right.keys())} {split} frames are in only one of "
                f"leftImg8bit{kind} and rightImg8bit{kind} (the first: {min(alone)}). Unpack both archives again."
            )


def _check_snippets(root: Path, tree: CityscapesTree, split: str, findings: _Findings) -> None:
    """Around every labelled frame the sequences have 30."""
    frames = tree.files("leftImg8bit_sequence", split)
    if not frames:
        return
    labelled = tree.camera_files(split)
    whole = range(-SNIPPET_BEFORE, SNIPPET_AFTER + 1)
    found = {name: sum(name.moved(offset) in frames for offset in whole) for name in labelled}
    partial = [name for name, count in found.items() if count < len(whole)]
    if partial:
        findings.faults.append(
            f"{root / 'leftImg8bit_sequence' / split}: {len(partial)} of {len(labelled)} snippets are not whole (the "
            f"first: {partial[0]}, {found[partial[0]]} of {len(whole)} frames). "
            "Unpack leftImg8bit_sequence_trainvaltest.zip again."
        )


def _check_triplets(root: Path, findings: _Findings) -> None:
    names = cityscapes_triplets.list_triplets(root)
    known = set(names)

    def read_camera(name: FrameName) -> None:
        size = cityscapes_triplets.triplet_size(cityscapes_triplets.triplet_file(root, name))
        cityscapes_triplets.read_camera(cityscapes_triplets.camera_file(root, name), *size)

    without = [name for name in names if not cityscapes_triplets.camera_file(root, name).is_file()]
    findings.several(
        [f"{cityscapes_triplets.camera_file(root, name)}: no such file. Preprocess the city again." for name in without]
    )
    findings.read([name for name in names if name not in set(without)], read_camera)
    findings.read((cityscapes_triplets.triplet_file(root, name) for name in names), cityscapes_triplets.read_triplet)
    findings.count("samples of mode mono", len(names) - len(without))
    for file in (*sorted(root.glob("splits/*/*_files.txt")), *(root / f"{stage}.txt" for stage in ("train", "val"))):
        if file.is_file():
            with findings.catching():
                listed = read_names(file)
                missing = [name for name in listed if name not in known]
                if missing:
                    findings.faults.append(
                        f"{file}: {len(missing)} of its {len(listed)} triplets are not in the tree (the first: "
                        f"{missing[0]}). Copy them or take the lines out."
                    )


# --- DDAD and Make3D -------------------------------------------------------------------------------------------------


def _check_ddad(root: Path, findings: _Findings) -> None:
    for split, use in (("train", "samples of mode mono"), ("val", "val frames (protocols ddad, ddad-sc, ddad-80)")):
        files = ddad.listed_scenes(root, split)
        missing = [file for file in files if not file.is_file()]
        if missing:
            findings.faults.append(
                f"{missing[0]}: no such scene; {len(missing)} of {len(files)} {split} scenes are missing. "
                "The archive is unpacked in part: unpack all of it."
            )
        moments: list[tuple[ddad.DdadScene, int]] = []
        faults: list[str] = []
        for file in files:
            if file in missing:
                continue
            try:
                scene = ddad.DdadScene(file)
                whole = _whole_moments(scene)
            except UserError as error:
                faults.append(str(error))
                continue
            moments += [(scene, number) for number in whole]
            findings.count(use, len(whole) - 2 if split == "train" and len(whole) > 2 else len(whole))
        findings.several(faults)
        findings.read(moments, _look_at_moment)


def _whole_moments(scene: ddad.DdadScene) -> list[int]:
    """The samples of a scene, if all of them have their files and calibration."""
    for number in range(len(scene)):
        for sensor in (ddad.FRONT, ddad.LIDAR):
            scene.datum(number, sensor)
        scene.intrinsics(number, ddad.FRONT)
    return list(range(len(scene)))


def _look_at_moment(moment: tuple[ddad.DdadScene, int]) -> None:
    scene, number = moment
    image = scene.datum(number, ddad.FRONT).file
    height, width = read_image(image).shape[:2]
    if not ddad.lidar_depth(scene, number, ddad.FRONT, height, width).any():
        raise UserError(
            f"{image}: no laser point of its moment falls into it, so poses or calibration belong to something else. "
            "Unpack the scene again."
        )


def _check_make3d(root: Path, findings: _Findings) -> None:
    images, grids = make3d.list_images_and_grids(root)
    both = sorted(images.keys() & grids.keys())
    without = sorted(images.keys() - grids.keys())
    findings.several(
        [
            f"{images[name]}: has no {make3d.GRID_PREFIX}{name}.mat. Unpack Test134Depth.tar.gz again."
            for name in without
        ]
    )
    if len(images) != make3d.TEST_IMAGES:
        findings.faults.append(
            f"{root}: holds {len(images)} test images, expected {make3d.TEST_IMAGES}. Unpack Test134.tar.gz again."
        )
    findings.several(unreadable((grids[name] for name in both), make3d.read_grid))
    findings.look_at_images(images[name] for name in both)
    findings.count("images (protocol make3d)", len(both))


# --- footage ---------------------------------------------------------------------------------------------------------


def _check_folder(root: Path, findings: _Findings) -> None:
    images = list_images(root)
    findings.look_at_images(images)
    sizes: Counter[tuple[int, int]] = Counter()
    for image in images:
        try:
            sizes[image_size(image)] += 1
        except UserError:
            continue  # a fault already where it was decoded; training leaves it out by name
    common = sizes.most_common(1)[0][1] if sizes else 0
    if common < sizes.total():
        findings.notes.append(f"{sizes.total() - common} frames have another size than most and are left out")
    _check_footage(root, findings, common)


def _check_video(path: Path, findings: _Findings) -> None:
    info = video_info(path)
    _check_footage(path, findings, info.frames or sum(1 for _ in read_video_frames(path)))


def _check_footage(path: Path, findings: _Findings, frames: int) -> None:
    findings.count("frames", frames)
    findings.count("samples of mode mono, at most", max(0, frames - 2))
    if frames < MIN_FRAMES:
        findings.faults.append(f"{path}: {frames} usable frames, training needs {MIN_FRAMES} at least. Give longer.")
    try:
        footage_camera(path)
    except UserError as error:
        findings.notes.append(str(error))


CHECKS: dict[DataKind, Callable[[Path, _Findings], None]] = {
    "kitti-2015": _check_stereo_2015,
    "kitti-benchmark": _check_selection,
    "cityscapes": _check_cityscapes,
    "cityscapes-triplets": _check_triplets,
    "ddad": _check_ddad,
    "make3d": _check_make3d,
    "frames": _check_folder,
    "video": _check_video,
}
