"""Looking through DDAD: its scenes, their images, laser points and calibration."""

from pathlib import Path

from egodepth.data.ddad.scenes import FRONT, LIDAR, DdadScene, lidar_depth, listed_scenes
from egodepth.data.findings import Findings
from egodepth.data.images import read_image
from egodepth.errors import UserError


def check_ddad(root: Path, findings: Findings) -> None:
    for split, use in (("train", "samples of mode mono"), ("val", "val frames (protocols ddad, ddad-sc, ddad-80)")):
        files = listed_scenes(root, split)
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
            findings.count(use, len(whole) - 2 if split == "train" and len(whole) > 2 else len(whole))
        findings.several(faults)
        findings.read(samples, _look_at_sample)


def _whole_samples(scene: DdadScene) -> range:
    """The numbers of a scene's samples.

    Raises:
        UserError: one of them lacks a file or its calibration.
    """
    for number in range(len(scene)):
        for sensor in (FRONT, LIDAR):
            scene.datum(number, sensor)
        scene.intrinsics(number, FRONT)
    return range(len(scene))


def _look_at_sample(sample: tuple[DdadScene, int]) -> None:
    scene, number = sample
    image = scene.datum(number, FRONT).file
    height, width = read_image(image).shape[:2]
    if not lidar_depth(scene, number, FRONT, height, width).any():
        raise UserError(
            f"{image}: no laser point of its sample falls inside it, so poses or calibration are not its own. "
            "Unpack the scene again."
        )
