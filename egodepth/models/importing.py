"""Turning the authors' checkpoint files into a released model."""

import dataclasses
from pathlib import Path

from egodepth.data.kitti.raw import fixed_intrinsics
from egodepth.errors import UserError
from egodepth.geometry.scale import Scale
from egodepth.models.released import ReleasedCamera, save_model
from egodepth.networks.configurations import SIDES
from egodepth.networks.pretrained import (
    PUBLISHED_POSE_FILES,
    PUBLISHED_TEACHER_FILES,
    Imported,
    has_files,
    import_weights,
    manydepth_teacher_place,
    monodepth2_pose_place,
)
from egodepth.recipes import Recipe, recipe_named


def import_published(name: str, published: Path, out: Path) -> Imported:
    """Turn the authors' checkpoint files into a released model.

    Args:
        name: the recipe whose network the weights are for.
        published: a folder with `encoder.pth` and `depth.pth`, and the pose network's files if there are any; of
            SDFA-Net the one file, or its folder.

    Raises:
        UserError: a file is missing, foreign or of another architecture; the first tensor at fault is named.
    """
    recipe = recipe_named(name)
    built = recipe.build_networks()
    networks = {"depth": built.pop("depth")}
    place_of = recipe.network.published_place(networks["depth"], published)
    if place_of is None:
        raise UserError(f"{name}: its authors have published no weights. Train it (egodepth train {name}).")
    remedy = f"These files are not {name}'s; choose the recipe that they were trained with (egodepth list)."
    folder = published.parent if published.is_file() else published
    imported = import_weights(networks["depth"], place_of, folder, remedy)
    unused = imported.unused
    for part, network in built.items():
        files, place_of = COMPANIONS[part]
        if has_files(folder, files):
            networks[part] = network
            unused += import_weights(network, place_of, folder, remedy).unused
    if recipe.network.multi_frame and "pose" not in networks:
        raise UserError(f"{folder}: no {PUBLISHED_POSE_FILES[0]}. Matching needs the pose network; add its files.")
    sides = {key: imported.entries.get(key, getattr(recipe, key)) for key in ("height", "width")}
    for key, side in sides.items():
        if not isinstance(side, int | float) or not SIDES[0] <= side <= SIDES[1]:
            raise UserError(f"{folder}: says {key} {side!r}, expected {SIDES[0]} to {SIDES[1]}. Fetch the files again.")
    recipe = dataclasses.replace(recipe, **{key: int(side) for key, side in sides.items()})
    save_model(
        out,
        name,
        recipe,
        networks,
        _published_scale(recipe, imported),
        {"imported": published.name},
        folded=False,
        camera=ReleasedCamera(fixed_intrinsics(recipe.height, recipe.width) if recipe.network.multi_frame else None),
    )
    return Imported(imported.entries, unused)


COMPANIONS = {
    "pose": (PUBLISHED_POSE_FILES, monodepth2_pose_place),
    "teacher": (PUBLISHED_TEACHER_FILES, manydepth_teacher_place),
}
"""The files of the networks beside the depth network, and where their authors keep the tensors."""


def _published_scale(recipe: Recipe, imported: Imported) -> Scale | None:
    network = recipe.network
    if network.published_metres_per_unit is not None:
        return Scale(network.published_metres_per_unit, "stereo baseline", network.published_metres_of_width)
    return Scale(recipe.metres_per_unit, "stereo baseline") if imported.entries.get("use_stereo") else None
