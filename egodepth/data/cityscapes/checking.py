"""Looking through Cityscapes: the unpacked archives, and preprocessed triplets."""

from pathlib import Path

from egodepth.data.cityscapes.layout import SPLITS, CityscapesCamera, CityscapesTree, FrameName, read_disparity_steps
from egodepth.data.cityscapes.sequences import possible_modes
from egodepth.data.cityscapes.triplets import (
    camera_file,
    list_triplets,
    read_camera,
    read_triplet,
    triplet_file,
    triplet_size,
)
from egodepth.data.findings import Findings
from egodepth.data.probing import unreadable

# Around each labelled frame.
SNIPPET_BEFORE, SNIPPET_AFTER = 19, 10


def check_cityscapes(root: Path, findings: Findings) -> None:
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
            f"{root / 'leftImg8bit_sequence' / split}: {len(partial)} of {len(labelled)} snippets are incomplete (the "
            f"first: {partial[0]}, {found[partial[0]]} of {len(whole)} frames). "
            "Unpack leftImg8bit_sequence_trainvaltest.zip again."
        )


def check_triplets(root: Path, findings: Findings) -> None:
    names = list_triplets(root)

    def look_at_camera(name: FrameName) -> None:
        read_camera(camera_file(root, name), *triplet_size(triplet_file(root, name)))

    without = [name for name in names if not camera_file(root, name).is_file()]
    findings.several([f"{camera_file(root, name)}: no such file. Preprocess the city again." for name in without])
    findings.read([name for name in names if name not in set(without)], look_at_camera)
    findings.read((triplet_file(root, name) for name in names), read_triplet)
    findings.count("samples of mode mono", len(names) - len(without))
