"""Which cameras a training learns, and what its released model says of them."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_only

from egodepth.calibration.turning import Pair, focal_of_turns, with_focal
from egodepth.data.configurations import LEARNED, Source
from egodepth.data.opening import lacks_camera
from egodepth.data.record import TrainingSets
from egodepth.data.samples import LearningCamera, Sample
from egodepth.errors import UserError
from egodepth.geometry.cameras import field_of_view_degrees
from egodepth.methods.method import Method
from egodepth.models.folder import STARTER
from egodepth.models.released import LearnedCamera, ReleasedCamera, ReleasedModel
from egodepth.networks.disparity import DisparityNetwork
from egodepth.recipes import Recipe

log = logging.getLogger("egodepth")

MOST_PAIRS = 96
"""Pictures of all cameras together that are looked at for how they turn."""


def with_cameras(recipe: Recipe, data: Path) -> Recipe:
    """The recipe, with cameras that are learnt where nothing says what cameras DATA are of."""
    if recipe.intrinsics != "calibrated" or not recipe.learns_camera or recipe.data.also:
        return recipe
    unknown = [root for root in (data, *recipe.data.beside) if lacks_camera(root, recipe.data)]
    if not unknown:
        return recipe
    rank_zero_only(log.warning)(
        "%s: the camera is not known, so its intrinsics are found from how the picture turns, and learnt. Give "
        "--fov DEGREES or --intrinsics fx,fy,cx,cy if you know it; egodepth calibrate measures it.",
        ", ".join(map(str, unknown)),
    )
    return replace(recipe, intrinsics=LEARNED, learned_camera=replace(recipe.learned_camera, insist=False))


def check_learning(sets: TrainingSets, recipe: Recipe, data: Path) -> None:
    """Raises UserError: there is no camera left to learn."""
    if not sets.learning:
        raise UserError(
            f"--intrinsics {recipe.intrinsics}: the camera of {data} is known from a file beside it, so there is none "
            "to learn. Leave --intrinsics out, or move the file away."
        )


def started_cameras(sets: TrainingSets, recipe: Recipe, move: bool) -> tuple[LearningCamera, ...]:
    """The cameras that are to be learnt, each from where the turns in its footage put it.

    Args:
        move: let training move the principal points of those whose focal length the footage tells.

    Raises:
        UserError: the footage does not tell a focal length, and the recipe insists.
    """
    network = ReleasedModel.open(STARTER).depth_network().eval()
    # Read once for all cameras: only a sample says whose it is.
    samples = [sets.training[place] for place in _spread(len(sets.training))]
    return tuple(_started(camera, samples, network, recipe, move) for camera in sets.learning)


def _started(
    camera: LearningCamera, samples: Sequence[Sample], network: DisparityNetwork, recipe: Recipe, move: bool
) -> LearningCamera:
    found = focal_of_turns(_pairs(camera.name, samples, recipe.views), network, camera.start)
    whose = ", ".join(camera.footage)
    if found is not None and found.spread <= recipe.learned_camera.largest_uncertainty:
        wider, narrower = (field_of_view_degrees(found.focal * math.exp(sign * found.spread)) for sign in (-1, 1))
        rank_zero_only(log.info)(
            "%s: by how the picture turns, the camera is %.0f degrees wide (%.0f to %.0f).",
            *(whose, found.degrees, narrower, wider),
        )
        return replace(camera, start=with_focal(camera.start, found.focal), moves=move)
    said = (
        f"{whose}: the camera hardly turns, or where it turns too little is seen, so that the footage does not tell "
        "its focal length. Give --fov or --intrinsics, or footage with bends."
    )
    if recipe.learned_camera.insist:
        raise UserError(f"--intrinsics {recipe.intrinsics}: {said}")
    degrees = field_of_view_degrees(float(camera.start[0, 0]))
    rank_zero_only(log.warning)("%s It is taken to be %.0f degrees wide.", said, degrees)
    return replace(camera, moves=False)


def _spread(count: int) -> Sequence[int]:
    return np.linspace(0, count - 1, min(MOST_PAIRS, count)).round().astype(int).tolist()


def _pairs(camera: str, samples: Sequence[Sample], views: Sequence[Source]) -> Iterator[Pair]:
    """Those of the pictures that a camera took, and the ones after them."""
    after = views.index(max(view for view in views if view != "stereo"))
    for sample in samples:
        if sample.learned_camera == camera:
            first, second = (picture[None].float() / 255 for picture in (sample.target, sample.sources[after]))
            yield first, second, None if sample.mask is None else sample.mask[None]


def released_camera(sets: TrainingSets, method: Method, recipe: Recipe, focal: float | None) -> ReleasedCamera:
    """What a released model says of the cameras that it was trained with.

    Args:
        focal: of the camera that depth belongs to, where none is learnt.
    """
    first = sets.first[0]
    if method.cameras is None:
        return (
            ReleasedCamera(first.intrinsics, "given", focal)
            if recipe.network.multi_frame
            else ReleasedCamera(focal=focal)
        )
    learnt = dict(zip(method.cameras.names, method.cameras().detach().cpu(), strict=True))
    whose = {camera.name: camera.footage for camera in sets.learning}
    learned = tuple(LearnedCamera(name, whose[name], intrinsics) for name, intrinsics in learnt.items())
    origin = "given" if first.learned_camera is None else LEARNED
    intrinsics = learnt.get(first.learned_camera, first.intrinsics)
    return ReleasedCamera(intrinsics, origin, float(intrinsics[0, 0]), learned)


def said_of_cameras(camera: ReleasedCamera, given_focal: float) -> str:
    """How the intrinsics were obtained, and what the cameras see from left to right.

    Args:
        given_focal: in widths of the picture, where none is learnt.
    """
    if not camera.learned:
        return f"given, {field_of_view_degrees(given_focal):.0f} degrees wide"
    several = len(camera.learned) > 1
    said = []
    for each in camera.learned:
        whose = f" ({', '.join(each.footage)})" if several else ""
        said.append(f"learnt, {field_of_view_degrees(float(each.intrinsics[0, 0])):.0f} degrees wide{whose}")
    return "; ".join(said)
