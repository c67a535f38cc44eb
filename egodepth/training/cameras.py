"""Which cameras a training learns, and what its released model says of them."""

import logging
from dataclasses import replace
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from egodepth.data.configurations import LEARNED
from egodepth.data.opening import lacks_camera
from egodepth.data.record import TrainingSets
from egodepth.errors import UserError
from egodepth.geometry.cameras import field_of_view_degrees
from egodepth.methods.method import Method
from egodepth.models.released import LearnedCamera, ReleasedCamera
from egodepth.recipes import Recipe

log = logging.getLogger("egodepth")


def with_cameras(recipe: Recipe, data: Path) -> Recipe:
    """The recipe, with cameras that are learnt where nothing says what cameras DATA are of."""
    if recipe.intrinsics != "calibrated" or not recipe.learns_camera or recipe.data.also:
        return recipe
    unknown = [root for root in (data, *recipe.data.beside) if lacks_camera(root, recipe.data)]
    if not unknown:
        return recipe
    rank_zero_only(log.warning)(
        "%s: the camera is not known, so its intrinsics are learnt, from a view of 60 degrees on. Give --fov DEGREES "
        "or --intrinsics fx,fy,cx,cy if you know it; egodepth calibrate measures it.",
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
