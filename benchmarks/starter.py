"""How the starter weights were made: simulated streets, and a free highway video for the pose network.

    python benchmarks/starter.py band HIGHWAY.mp4 CAMERA.json OUT    the video's band of road, as frames
    python benchmarks/starter.py merge STREETS MORE                  MORE's drives into STREETS, under other dates
    python benchmarks/starter.py release RUN POSES                   into the package, in half precision and as ONNX
    python benchmarks/starter.py release-large RUN POSES             the larger one, in half precision alone

The commands between them are in egodepth/starter/README.md and egodepth/starter-large/README.md.
"""

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

from PIL import Image

from egodepth.data.calibrations.reading import read_calibration
from egodepth.data.footage.camera import camera_of_frames
from egodepth.data.footage.video import Cut, read_video
from egodepth.deployment.onnx_file import export_onnx
from egodepth.files import write_text
from egodepth.geometry.lenses import straight_camera, undistort
from egodepth.geometry.scale import Scale
from egodepth.models.folder import LARGE_STARTER_FOLDER, STARTER_FOLDER
from egodepth.models.released import ReleasedCamera, ReleasedModel, save_model
from egodepth.networks.model_config import read_config
from egodepth.recipes.restoring import restored_recipe
from egodepth.training.starting import load_trained_networks

BAND = slice(256, 640)
"""Rows of the highway's 720 that have the streets' form, 10 : 3, without bonnet and most of the sky."""

FRAME_SIZE = 192, 640


def write_band(video: Path, camera_file: Path, out: Path) -> None:
    """Write the undistorted middle of a video as frames with their camera."""
    out.mkdir(parents=True)
    count = 0
    for each in read_video(video):
        if isinstance(each, Cut):
            continue
        if not count:
            _, lens = camera_of_frames(camera_file, read_calibration(camera_file), *each.pixels.shape[:2], 0)
            rows = BAND.stop - BAND.start
            camera = straight_camera(lens).crop(BAND.start, 0, rows, each.pixels.shape[1]).resize(*FRAME_SIZE)
        picture = Image.fromarray(undistort(each.pixels, lens)[BAND])
        picture = picture.resize(FRAME_SIZE[::-1], Image.Resampling.LANCZOS)
        picture.save(out / f"{count:06d}.jpg", quality=92, subsampling=0)
        count += 1
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics.tolist()
    numbers = {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "width": FRAME_SIZE[1], "height": FRAME_SIZE[0]}
    write_text(out / "camera.json", json.dumps(numbers, indent=2) + "\n")


def merge(streets: Path, more: Path) -> None:
    """Move one simulation's drives into another's folder, ten years later, and list all frames but the test drives'."""
    for date in sorted(more.glob("20*")):
        for drive in sorted(date.iterdir()):
            place = streets / _later(date.name) / _later(drive.name)
            place.parent.mkdir(exist_ok=True)
            drive.rename(place)
    lists = Path("splits") / "simulated"
    tests = {line.split()[0] for line in (streets / lists / "test_files.txt").read_text().splitlines()}
    tests |= {_later(line.split()[0]) for line in (more / lists / "test_files.txt").read_text().splitlines()}
    shown: dict[bool, list[str]] = {True: [], False: []}
    for drive in sorted(streets.glob("20*/*_sync")):
        name = f"{drive.parent.name}/{drive.name}"
        frames = sorted(int(file.stem) for file in (drive / "image_02" / "data").glob("*.png"))
        shown[name in tests] += [f"{name} {frame} {side}" for frame in frames for side in "lr"]
    for stage, lines in (("train", shown[False]), ("val", shown[True][::2])):
        write_text(streets / "splits" / "all" / f"{stage}_files.txt", "\n".join(lines) + "\n")


def _later(name: str) -> str:
    return re.sub(r"^20\d\d|(?<=/)20\d\d", lambda year: str(int(year[0]) + 10), name)


def release(recipe: str, run: str, poses: str, folder: Path) -> None:
    """Write networks into the package as they can be trained on and used.

    Args:
        recipe: that trains on from them.
        run: whose depth network is released.
        poses: a run or model whose pose network goes with it; both mean the same unit.
    """
    networks = {"depth": load_trained_networks(run)["depth"], "pose": load_trained_networks(poses)["pose"]}
    halves = {part: network.half() for part, network in networks.items()}
    config = read_config(ReleasedModel.open(run).folder)
    scale, camera = Scale(config["metres_per_unit"], config["metres_from"]), ReleasedCamera(focal=config["focal"])
    # Metres belong to the size at which they were learnt.
    at_its_size = replace(restored_recipe(recipe, {}), height=config["height"], width=config["width"])
    save_model(folder, recipe, at_its_size, halves, scale, config["provenance"], False, camera)


def write_graph() -> None:
    """Write the starter's depth network as ONNX."""
    released = ReleasedModel.open(STARTER_FOLDER)
    export_onnx(released.predictor(), STARTER_FOLDER / "model.onnx", scale=released.scale.as_metadata())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    band = commands.add_parser("band")
    for name in ("video", "camera", "out"):
        band.add_argument(name, type=Path)
    merged = commands.add_parser("merge")
    for name in ("streets", "more"):
        merged.add_argument(name, type=Path)
    for command in ("release", "release-large"):
        released = commands.add_parser(command)
        for name in ("run", "poses"):
            released.add_argument(name)
    given = parser.parse_args()
    if given.command == "band":
        write_band(given.video, given.camera, given.out)
    elif given.command == "merge":
        merge(given.streets, given.more)
    elif given.command == "release":
        release("video", given.run, given.poses, STARTER_FOLDER)
        write_graph()
    else:
        release("video-large", given.run, given.poses, LARGE_STARTER_FOLDER)


if __name__ == "__main__":
    main()
