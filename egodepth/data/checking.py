"""What a data folder is, how many samples it holds, and what is wrong with it, before anything is trained on it.

A fault is what keeps the data from being used, or would spoil training or figures without a word. What is only absent
(no laser scans, one camera) is a note.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from egodepth.data.cityscapes import triplets as cityscapes_triplets
from egodepth.data.cityscapes.layout import SPLITS, CityscapesCamera, CityscapesTree, FrameName, read_disparity_steps
from egodepth.data.cityscapes.sequences import possible_modes
from egodepth.data.configurations import DataKind
from egodepth.data.ddad import scenes as ddad
from egodepth.data.findings import DataReport, Findings
from egodepth.data.footage.camera import footage_camera
from egodepth.data.footage.unpacking import MIN_FRAMES
from egodepth.data.footage.video import read_video_frames, video_info
from egodepth.data.images import image_size, list_images, read_image
from egodepth.data.kitti.checking import check_drives, check_selection, check_stereo_2015
from egodepth.data.list_checking import check_lists
from egodepth.data.make3d import frames as make3d
from egodepth.data.packs.reading import PackOptions, frame_bytes, open_pack, read_manifest
from egodepth.data.probing import unreadable
from egodepth.data.recognise import recognise
from egodepth.errors import UserError

FILES_DECODED = 60
SNIPPET_BEFORE, SNIPPET_AFTER = 19, 10


def check_data(path: Path | str, split: str | None = None, every_file: bool = False) -> DataReport:
    """Look a data folder through. Never raises for what is wrong with the data: that is what the report is for.

    Args:
        split: the only split whose lists matter: the name of a folder in `splits`, or a path to a folder or a file of
            lists; none checks them all.
        every_file: decode every image and point cloud, instead of some spread over all of them.
    """
    path = Path(path)
    findings = Findings(path, decoded=10**9 if every_file else FILES_DECODED)
    kind = None
    with findings.catching():
        kind = recognise(path)
        CHECKS[kind](path, findings)
        check_lists(path, kind, split, findings)
        if not findings.counts and not findings.faults:
            findings.faults.append(f"{path}: holds nothing to train or to evaluate on. Unpack the data again.")
    return DataReport(path, kind, findings.counts, tuple(findings.faults), tuple(findings.notes))


# --- Cityscapes ------------------------------------------------------------------------------------------------------


def _check_cityscapes(root: Path, findings: Findings) -> None:
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


def _check_partners(root: Path, tree: CityscapesTree, split: str, findings: Findings) -> None:
    for kind in ("", "_sequence"):
        left, right = (tree.files(f"{side}Img8bit{kind}", split) for side in ("left", "right"))
        if left and right and (alone := left.keys() ^ right.keys()):
            findings.faults.append(
                f"{root}: {len(alone)} of {len(left.keys() | right.keys())} {split} frames are in only one of "
                f"leftImg8bit{kind} and rightImg8bit{kind} (the first: {min(alone)}). Unpack both archives again."
            )


def _check_snippets(root: Path, tree: CityscapesTree, split: str, findings: Findings) -> None:
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


def _check_triplets(root: Path, findings: Findings) -> None:
    names = cityscapes_triplets.list_triplets(root)

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


# --- DDAD and Make3D -------------------------------------------------------------------------------------------------


def _check_ddad(root: Path, findings: Findings) -> None:
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


def _check_make3d(root: Path, findings: Findings) -> None:
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


# --- packs and footage -----------------------------------------------------------------------------------------------


def _check_pack(root: Path, findings: Findings) -> None:
    manifest = read_manifest(root)
    options = PackOptions.of(manifest["options"])
    pack = open_pack(root, options)
    views = ", ".join(map(str, options.source_ids))
    findings.notes.append(f"packed from {manifest['source']} at {options.width}x{options.height}, views {views}")
    pixels = sum(file.stat().st_size for file in root.glob("pixels-*.bin"))
    findings.count("frames", pixels // frame_bytes(options))
    for dataset, use in ((pack.training, "train"), (pack.validation, "validate")):
        if dataset is not None:
            findings.count(f"samples to {use}", len(dataset))
            findings.read(range(len(dataset)), dataset.__getitem__)
    if pack.left_out:
        more = f" and {len(pack.left_out) - 1} more" if len(pack.left_out) > 1 else ""
        findings.notes.append(f"left out: {pack.left_out[0]}{more}")


def _check_folder(root: Path, findings: Findings) -> None:
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


def _check_video(path: Path, findings: Findings) -> None:
    info = video_info(path)
    _check_footage(path, findings, info.frames or sum(1 for _ in read_video_frames(path)))


def _check_footage(path: Path, findings: Findings, frames: int) -> None:
    findings.count("frames", frames)
    findings.count("samples of mode mono, at most", max(0, frames - 2))
    if frames < MIN_FRAMES:
        findings.faults.append(f"{path}: {frames} usable frames, training needs {MIN_FRAMES} at least. Give longer.")
    try:
        footage_camera(path)
    except UserError as error:
        findings.notes.append(str(error))


CHECKS: dict[DataKind, Callable[[Path, Findings], None]] = {
    "kitti-raw": check_drives,
    "simulated": check_drives,
    "kitti-2015": check_stereo_2015,
    "kitti-benchmark": check_selection,
    "cityscapes": _check_cityscapes,
    "cityscapes-triplets": _check_triplets,
    "ddad": _check_ddad,
    "make3d": _check_make3d,
    "packed": _check_pack,
    "frames": _check_folder,
    "video": _check_video,
}
