"""How the starter weights were made: simulated streets first, then a free highway video beside them.

    python benchmarks/starter.py band HIGHWAY.mp4 CAMERA.json OUT    the video's band of road, as frames
    python benchmarks/starter.py join RUN MODEL OUT                  RUN's depth network and MODEL's pose network
    python benchmarks/starter.py release RUN                         into the package, in half precision and as ONNX

The commands between the two are in egodepth/starter/README.md.
"""

import argparse
import json
from pathlib import Path

from PIL import Image

from egodepth.data.calibrations.reading import read_calibration
from egodepth.data.footage.camera import camera_of_frames
from egodepth.data.footage.video import Cut, read_video
from egodepth.deployment.onnx_file import export_onnx
from egodepth.files import write_text
from egodepth.geometry.lenses import straight_camera, undistort
from egodepth.geometry.scale import Scale
from egodepth.models.folder import STARTER_FOLDER
from egodepth.models.released import ReleasedCamera, ReleasedModel, save_model
from egodepth.networks.model_config import read_config
from egodepth.recipes.restoring import restored_recipe
from egodepth.training.starting import load_trained_networks, run_options

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


def join(run: str, model: str, out: Path) -> None:
    """Write a model to start from: the depth network of one that learnt from depth alone, another's pose network."""
    networks = {"depth": load_trained_networks(run)["depth"], "pose": load_trained_networks(model)["pose"]}
    config = read_config(ReleasedModel.open(run).folder)
    scale, camera = Scale(config["metres_per_unit"], config["metres_from"]), ReleasedCamera(focal=config["focal"])
    recipe = restored_recipe("video", {})
    save_model(out, "video", recipe, networks, scale, config["provenance"], False, camera)


def release(run: Path) -> None:
    """Write a run's networks into the package as they can be trained on and used, and the depth network as ONNX."""
    networks = {part: network.half() for part, network in load_trained_networks(str(run)).items()}
    options, config = run_options(run), read_config(ReleasedModel.open(run).folder)
    scale = Scale(config["metres_per_unit"], config["metres_from"])
    recipe = restored_recipe("video", options)
    save_model(
        STARTER_FOLDER,
        "video",
        recipe,
        networks,
        scale,
        config["provenance"],
        False,
        ReleasedCamera(focal=config["focal"]),
    )
    released = ReleasedModel.open(STARTER_FOLDER)
    export_onnx(released.predictor(), STARTER_FOLDER / "model.onnx", scale=released.scale.as_metadata())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    band = commands.add_parser("band")
    for name in ("video", "camera", "out"):
        band.add_argument(name, type=Path)
    joined = commands.add_parser("join")
    for name in ("run", "model"):
        joined.add_argument(name)
    joined.add_argument("out", type=Path)
    commands.add_parser("release").add_argument("run", type=Path)
    given = parser.parse_args()
    if given.command == "band":
        write_band(given.video, given.camera, given.out)
    elif given.command == "join":
        join(given.run, given.model, given.out)
    else:
        release(given.run)


if __name__ == "__main__":
    main()
