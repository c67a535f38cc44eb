"""Which cameras a training learns, and what its released model says of them.

A focal length that nobody gave is found before training: by COLMAP, where it is installed and can be trusted, else from
how the picture turns. The second is quick and drawn to the views that the starter knows.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_only

from egodepth.calibration.footage import FootageCalibration, calibrate_footage, has_mapping
from egodepth.calibration.turning import Pair, focal_of_turns, with_focal
from egodepth.calibration.writing import write_footage_calibration
from egodepth.data.calibrations.reading import read_calibration
from egodepth.data.configurations import LEARNED, Source
from egodepth.data.footage.camera import footage_size
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

MOST_MAPPED = 3
"""Videos and folders of a camera that COLMAP maps, until one of them is to be trusted."""

LARGEST_BEND = 0.02
"""By which share of its distance from the middle a lens may move the picture's sides before it is said."""

LEAST_WIDTH = 640
"""Columns that the native frames must have: with 320 COLMAP found too few points, and was off by a third."""


def with_cameras(recipe: Recipe, data: Path) -> Recipe:
    """The recipe, with cameras that are learnt where nothing says what cameras DATA are of."""
    if recipe.intrinsics != "calibrated" or not recipe.learns_camera or recipe.data.also:
        return recipe
    unknown = [root for root in (data, *recipe.data.beside) if lacks_camera(root, recipe.data)]
    if not unknown:
        return recipe
    rank_zero_only(log.warning)(
        "%s: the camera is not known, so its focal length is found from the footage. Give --fov DEGREES or "
        "--intrinsics fx,fy,cx,cy if you know it; egodepth calibrate measures it.%s",
        ", ".join(map(str, unknown)),
        "" if has_mapping() else " With pip install 'egodepth[calibrate]' it is found more exactly.",
    )
    return replace(recipe, intrinsics=LEARNED, learned_camera=replace(recipe.learned_camera, insist=False))


def check_learning(sets: TrainingSets, recipe: Recipe, data: Path) -> None:
    """Raises UserError: there is no camera left to learn."""
    if not sets.learning:
        raise UserError(
            f"--intrinsics {recipe.intrinsics}: the camera of {data} is known from a file beside it, so there is none "
            "to learn. Leave --intrinsics out, or move the file away."
        )


def started_cameras(sets: TrainingSets, recipe: Recipe, move: bool, folder: Path) -> tuple[LearningCamera, ...]:
    """The cameras that are to be learnt, each from where its footage puts it.

    Args:
        move: let training move the principal points of those whose focal length the footage tells.
        folder: for what COLMAP finds, NAME.json for each camera. What is there is taken: processes that train together
            would each find another.

    Raises:
        UserError: the footage does not tell a focal length, and the recipe insists.
    """
    # COLMAP's threads never find quite the same twice, so that nodes, which start together, go without it.
    mapped = [_mapped(camera, move, folder) if recipe.training.nodes == 1 else None for camera in sets.learning]
    if None not in mapped:
        return tuple(mapped)
    network = ReleasedModel.open(STARTER).depth_network().eval()
    # Read once for all cameras: only a sample says whose it is.
    samples = [sets.training[place] for place in _spread(len(sets.training))]
    return tuple(
        done or _turning(camera, samples, network, recipe, move)
        for done, camera in zip(mapped, sets.learning, strict=True)
    )


def _with_focal(camera: LearningCamera, focal: float, move: bool) -> LearningCamera:
    return replace(camera, start=with_focal(camera.start, focal), moves=move)


def _mapped(camera: LearningCamera, move: bool, folder: Path) -> LearningCamera | None:
    """A camera with the focal length that COLMAP finds; None where that is not to be trusted."""
    file = folder / f"{camera.name}.json"
    if file.is_file():
        known = read_calibration(file)
        return _with_focal(camera, known.fx / known.width, move)
    if not has_mapping():
        return None
    for path in camera.paths[:MOST_MAPPED]:
        found = _trusted(path) if footage_size(path)[1] >= LEAST_WIDTH else None
        if found is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_footage_calibration(file, path, found)
        focal = found.calibration.fx / found.calibration.width
        _say_found(camera, "by the structure of what it sees", focal, found.deviation)
        _say_bend(found, focal, file)
        return _with_focal(camera, focal, move)
    return None


def _trusted(path: Path) -> FootageCalibration | None:
    rank_zero_only(log.info)("%s: looking for its camera, which takes a minute or two.", path.name)
    try:
        found = calibrate_footage(path)
    except UserError:
        return None
    return None if found.doubts else found


def _say_found(camera: LearningCamera, how: str, focal: float, spread: float) -> None:
    degrees, narrow, wide = (field_of_view_degrees(focal * math.exp(sign * spread)) for sign in (0, 1, -1))
    message = "%s: %s, the camera is %.0f degrees wide (%.0f to %.0f)."
    rank_zero_only(log.info)(message, ", ".join(camera.footage), how, degrees, narrow, wide)


def _say_bend(found: FootageCalibration, focal: float, file: Path) -> None:
    k1 = found.calibration.coefficients[0]
    if abs(k1) * (0.5 / focal) ** 2 > LARGEST_BEND:
        rank_zero_only(log.warning)(
            "Its lens bends straight lines (k1 %.2f), which training does not see. A new run with --intrinsics %s "
            "straightens the frames first.",
            *(k1, file),
        )


def _turning(
    camera: LearningCamera, samples: Sequence[Sample], network: DisparityNetwork, recipe: Recipe, move: bool
) -> LearningCamera:
    found = focal_of_turns(_pairs(camera.name, samples, recipe.views), network, camera.start)
    if found is not None and found.spread <= recipe.learned_camera.largest_uncertainty:
        _say_found(camera, "by how the picture turns", found.focal, found.spread)
        return _with_focal(camera, found.focal, move)
    said = (
        f"{', '.join(camera.footage)}: the camera hardly turns, or where it turns too little is seen, so that the "
        "footage does not tell its focal length. Give --fov or --intrinsics, or footage with bends."
    )
    if recipe.learned_camera.insist:
        raise UserError(f"--intrinsics {recipe.intrinsics}: {said}")
    degrees = field_of_view_degrees(float(camera.start[0, 0]))
    rank_zero_only(log.warning)("%s It is taken to be %.0f degrees wide.", said, degrees)
    return replace(camera, moves=False, assumed=True)


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
    learned = tuple(
        LearnedCamera(name, whose[name], intrinsics, assumed)
        for (name, intrinsics), assumed in zip(learnt.items(), method.cameras.assumed.tolist(), strict=True)
    )
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
        how = "not told by the footage, taken to be" if each.assumed else "learnt,"
        said.append(f"{how} {field_of_view_degrees(float(each.intrinsics[0, 0])):.0f} degrees wide{whose}")
    return "; ".join(said)
