"""Looking through DDAD: its scenes, their images, laser points and calibration."""

from pathlib import Path

from egodepth.data.ddad.lists import find_list, find_lists, listed_scenes
from egodepth.data.ddad.scenes import DdadScene, lidar_depth
from egodepth.data.findings import Findings
from egodepth.data.images import read_image
from egodepth.errors import UserError


def check_ddad(root: Path, findings: Findings) -> None:
    lists = find_lists(root) or [find_list(root)]
    if len(lists) > 1:
        findings.notes.append(
            f"{len(lists)} lists of scenes ({', '.join(file.name for file in lists)}): "
            f"choose one with --data.split {lists[0].name}"
        )
    for listing in lists:
        with findings.catching():
            _check_list(listing, findings, f" of {listing.name}" if len(lists) > 1 else "")


def _check_list(listing: Path, findings: Findings, where: str) -> None:
    """Look through what a list names; `where` tells its counts from those of others."""
    both = set(listed_scenes(listing, "train")) & set(listed_scenes(listing, "val"))
    if both:
        findings.notes.append(f"{listing.name}: {len(both)} scenes are in train and in val, so val holds out less")
    for split, use in (("train", "samples of mode mono"), ("val", "val frames (protocols ddad, ddad-sc, ddad-80)")):
        files = listed_scenes(listing, split)
        missing = [file for file in files if not file.is_file()]
        if missing:
            findings.faults.append(
                f"{missing[0]}: no such scene; {len(missing)} of {len(files)} {split} scenes are missing. "
                "The archive is unpacked in part: unpack all of it."
            )
        samples: list[tuple[DdadScene, int]] = []
        faults: list[str] = []
        for file in files:
            if file in missing:
                continue
            try:
                scene = DdadScene(file)
                whole = _whole_samples(scene)
            except UserError as error:
                faults.append(str(error))
                continue
            samples += [(scene, number) for number in whole]
            findings.count(use + where, max(len(whole) - 2, 0) if split == "train" else len(whole))
        findings.several(faults)
        findings.read(samples, _look_at_sample)


def _whole_samples(scene: DdadScene) -> range:
    """The numbers of a scene's samples.

    Raises:
        UserError: one of them lacks a file or its calibration.
    """
    for number in range(len(scene)):
        front = scene.front(number)
        for sensor in (front, scene.lidar(number)):
            scene.datum(number, sensor)
        scene.intrinsics(number, front)
    return range(len(scene))


def _look_at_sample(sample: tuple[DdadScene, int]) -> None:
    scene, number = sample
    front = scene.front(number)
    image = scene.datum(number, front).file
    height, width = read_image(image).shape[:2]
    if not lidar_depth(scene, number, front, height, width).any():
        raise UserError(
            f"{image}: no laser point of its sample falls inside it, so poses or calibration are not its own. "
            "Unpack the scene again."
        )
