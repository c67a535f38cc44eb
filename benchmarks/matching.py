"""What ManyDepth makes of its second frame, and of the exact motion to it, where things stand and where they move.

    python -m benchmarks.matching RUN --data DRIVE [--protocol simulated] [--larger 192 640]

RUN is a training of ManyDepth with its checkpoint, DRIVE has dense ground truth and poses (a simulated drive). Compared
are: the single-frame network that was trained beside; the network without another frame; with one, by the motion that
the pose network finds and by the exact one; and matching alone, the depth of least cost where all depths have a cost.
Matching alone is also shown for larger pictures, where the same motion is more pixels.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from tyro.conf import Positional

from benchmarks.region_masks import poses_of, region_masks, relative_error
from egodepth.data.images import resize_image
from egodepth.data.opening import open_evaluation_frames
from egodepth.data.samples import EvaluationFrame
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import FrameResult, ImageRow
from egodepth.evaluation.protocols import protocol_named
from egodepth.geometry.cameras import Camera
from egodepth.geometry.depth import sigmoid_to_depth
from egodepth.inference.frames import place_in_drive
from egodepth.models.released import ReleasedModel
from egodepth.networks.manydepth import Lookups, ManyDepth
from egodepth.networks.pose import motion_to
from egodepth.training.starting import load_trained_networks


@dataclass(frozen=True)
class Matching:
    """Errors by region, with one frame, with two, and of matching alone.

    Attributes:
        larger: height and width, multiples of 32.
    """

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    data: Path
    protocol: str = "simulated"
    larger: tuple[int, int] = (192, 640)


def main(options: Matching) -> None:
    model = ReleasedModel.open(str(options.run))
    networks = {part: network.eval() for part, network in load_trained_networks(str(options.run)).items()}
    protocol = protocol_named(options.protocol)
    frames = open_evaluation_frames(options.data, protocol.frames, time_offsets=(-1,))
    errors: dict[str, dict[str, list[np.ndarray]]] = {}
    for index, frame in enumerate(frames):
        if -1 not in frame.neighbours:
            continue
        for name, depth in depths(frame, networks, model.config, options):
            mask = protocol.mask(frame.depth) & np.isfinite(depth)
            ratio = float(np.median(frame.depth[mask]) / np.median(depth[mask]))
            result = FrameResult(index, frame, ratio * depth, mask, ImageRow(frame.name, {}, ratio))
            error = relative_error(result)
            for region, where in region_masks("traffic", result, frames, options.data).items():
                errors.setdefault(name, {}).setdefault(region, []).append(error[where])
    table = Table("median relative error", *next(iter(errors.values())))
    for name, regions in errors.items():
        table.add_row(name, *(f"{np.median(np.concatenate(parts)):.3f}" for parts in regions.values()))
    Console(width=120).print(table)


@torch.no_grad()
def depths(
    frame: EvaluationFrame, networks: Mapping[str, nn.Module], config: Mapping[str, Any], options: Matching
) -> Iterator[tuple[str, np.ndarray]]:
    """Depth (H, W) of a frame by each way, up to scale; NaN where matching knows none."""
    network: ManyDepth = networks["depth"]
    for size, is_own in (((config["height"], config["width"]), True), (options.larger, False)):
        picture, before = _pictures(frame, size)
        intrinsics = torch.from_numpy(frame.camera.normalised()).float()
        unit_m = config["metres_per_unit"] * float(intrinsics[0, 0]) / config["focal"]
        motions = {
            "the pose network's motion": motion_to(networks["pose"], picture, {-1: before}, -1),
            "the exact motion": exact_motion(frame.name, options.data, unit_m),
        }
        if is_own:
            yield "one frame, single-frame network", _enlarged(networks["teacher"].predict_depth(picture), frame)
            yield "one frame", _enlarged(network.predict_depth(picture), frame)
        pixels = Camera.from_normalised(intrinsics, *size).intrinsics[None]
        for name, motion in motions.items():
            lookups = Lookups(before[:, None], motion[:, None], torch.ones(1, 1, dtype=torch.bool), pixels)
            disparities, features = network.with_features(picture, lookups)
            if is_own:
                depth = sigmoid_to_depth(disparities[0], network.min_depth, network.max_depth)
                yield f"two frames, {name}", _enlarged(depth, frame)
            sure = torch.where(features.confidence, features.lowest_cost_depth, torch.nan)
            yield f"matching alone, {size[0]}x{size[1]}, {name}", _enlarged(sure, frame)


def exact_motion(name: str, data: Path, unit_m: float) -> Tensor:
    """From a frame of a drive to the one before it, (1, 4, 4), in units of `unit_m` metres."""
    drive, number = place_in_drive(name)
    poses = poses_of(data, drive)
    motion = np.linalg.inv(poses[number - 1]) @ poses[number]
    motion[:3, 3] /= unit_m
    return torch.from_numpy(motion)[None].float()


def _pictures(frame: EvaluationFrame, size: tuple[int, int]) -> list[Tensor]:
    """The frame and the one before it, (1, 3, *size) in [0, 1]."""
    return [
        torch.tensor(resize_image(each, *size)).permute(2, 0, 1)[None].float() / 255
        for each in (frame.image, frame.neighbours[-1])
    ]


def _enlarged(depth: Tensor, frame: EvaluationFrame) -> np.ndarray:
    """Inverse depth is what is interpolated; a pixel beside an unknown one is unknown."""
    return (1 / F.interpolate(1 / depth, frame.depth.shape, mode="bilinear"))[0, 0].numpy()


if __name__ == "__main__":
    try:
        main(tyro.cli(Matching))
    except UserError as error:
        sys.exit(str(error))
