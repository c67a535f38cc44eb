"""A folder of depth maps that another program wrote for the frames of a training set.

A map is matched to its frame by the frame's name (`data.map_names`) and read as inverse depth: 0 is infinitely far, NaN
is unknown.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from egodepth.checked_json import Number, Object, Optional, Text, read_checked
from egodepth.costs import COST, Cost
from egodepth.data.configurations import MapUnits, MapValues, TeacherMapsConfig
from egodepth.data.images import read_depth_png, read_png16
from egodepth.data.map_files import UNKNOWN_STEP, read_values
from egodepth.data.map_names import listed_maps
from egodepth.errors import UserError

EXACT = "exact"
"""In place of a folder: the exact depth that simulated drives come with."""

DESCRIPTION = "depth_maps.json"
"""In a folder of maps: what its files hold. `egodepth teach` writes it."""

SIMULATION = "simulation.json"


@dataclass(frozen=True)
class DepthMaps:
    """A folder of depth maps.

    Attributes:
        folder: for messages.
        files: by the key of the frame that they belong to, see `data.map_names`.
        values: what the files hold.
        units: up to what the values are known.
        scale: of 16-bit PNG that `egodepth teach` wrote: inverse depth of one step. None for those of other programs,
            in which every value counts.
        zero_is_far: a depth of 0 is the sky, not an unknown.
        certain: somebody said what the values are.
        licence: of the model that wrote them, where it is known.
        cost: of that model, as `egodepth teach` measured it.
    """

    folder: Path
    files: dict[str, Path]
    values: MapValues
    units: MapUnits
    scale: float | None = None
    zero_is_far: bool = False
    certain: bool = False
    licence: str | None = None
    cost: Cost | None = None

    def read(self, file: Path) -> np.ndarray:
        """A map as inverse depth (H, W) float32: 0 infinitely far, NaN unknown, in the units of the file.

        Raises:
            UserError: it cannot be read, or holds no map.
        """
        if file.suffix.lower() == ".png":
            return self._read_png(file)
        values = read_values(file)
        if self.values == "depth":
            return _reciprocal(values)
        # Programs mark what they do not know by values below 0; but a shift may move all of a map there.
        known = np.isfinite(values) if self.units == "scale-and-shift" else np.isfinite(values) & (values >= 0)
        return np.where(known, values, np.float32(np.nan))

    def _read_png(self, file: Path) -> np.ndarray:
        if self.values == "depth":
            depth = read_depth_png(file)
            return np.where(depth == 0, np.float32(0), _reciprocal(depth)) if self.zero_is_far else _reciprocal(depth)
        steps = read_png16(file)
        if self.scale is None:
            return steps
        return np.where(steps == UNKNOWN_STEP, np.float32(np.nan), steps * np.float32(self.scale))


def _reciprocal(depth: np.ndarray) -> np.ndarray:
    """Infinitely far is a depth like any other; 0, negative ones and NaN are none."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(depth > 0, 1 / depth, np.nan).astype(np.float32)


# --- opening ---------------------------------------------------------------------------------------------------------


def open_maps(source: str, root: Path, config: TeacherMapsConfig) -> DepthMaps:
    """The maps of a folder, or the exact depth of the simulated drives at `root`.

    Args:
        source: a folder, or `exact`.
        root: DATA.
        config: what the files hold, where the folder does not say, or says wrong.

    Raises:
        UserError: there is no such folder, it holds no maps, or two maps belong to one frame.
    """
    if source == EXACT:
        if not (root / SIMULATION).is_file():
            raise UserError(f"--teacher-depth {EXACT}: {root} is no simulated street. Give a folder of depth maps.")
        return _exact(root)
    folder = Path(source)
    if not folder.is_dir():
        raise UserError(f"--teacher-depth {source}: no such folder. Give one that holds a depth map for each frame.")
    if (folder / SIMULATION).is_file():
        return _exact(folder)
    said = read_description(folder)
    values = config.values or said.get("values") or "depth"
    units = config.units or said.get("units") or "scale"
    scale = float(said.get("scale", 1.0)) if said else None
    certain, licence = config.values is not None, said.get("licence")
    cost = Cost.from_json(said["cost"]) if "cost" in said else None
    return DepthMaps(folder, listed_maps(folder), values, units, scale, certain=certain, licence=licence, cost=cost)


def _exact(street: Path) -> DepthMaps:
    return DepthMaps(street, listed_maps(street, "proj_depth"), "depth", "metres", zero_is_far=True)


SAID = Object(
    {
        "values": Optional(Text(get_args(MapValues))),
        "units": Optional(Text(get_args(MapUnits))),
        "scale": Number(1e-12, 1e12),
        "licence": Optional(Text()),
        "cost": COST,
    },
    required=(),
)


def read_description(folder: Path) -> dict[str, Any]:
    """What a folder of maps says of itself; nothing where it says nothing.

    Raises:
        UserError: it says what nobody understands.
    """
    file = folder / DESCRIPTION
    if not file.is_file():
        return {}
    return read_checked(file, SAID, "Write the maps again.")
