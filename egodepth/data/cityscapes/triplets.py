"""Cityscapes in the preprocessed form of SfMLearner and ManyDepth: three frames side by side in one JPEG.

Source: datasets specification, section 1.4.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from egodepth.data.cityscapes.layout import FrameName, read_names
from egodepth.data.configurations import Source
from egodepth.data.frame_store import channels_first
from egodepth.data.images import image_size, read_image, read_thumbnail, resize_image
from egodepth.data.motion import THUMBNAIL_WIDTH
from egodepth.data.samples import Sample
from egodepth.data.splits import Stage, find_split_file, is_one_list, validates
from egodepth.data.standing import MovingParts
from egodepth.errors import UserError
from egodepth.files import read_text
from egodepth.geometry.cameras import Camera

CAMERA_SUFFIX = "_cam.txt"
THIRD_OF: dict[Source, int] = {-1: 0, 0: 1, 1: 2}


class CityscapesTriplets:
    """Training samples from preprocessed triplets (a `TrainingDataset`).

    Args:
        root: the folder of the cities, `<city>/<frame name>.jpg` and `<frame name>_cam.txt`.
        names: the targets, for example from `triplet_names`.
        source_ids: -1, 1 or both.
        height, width: training size in pixels.
        published: leave the principal point where it is when an image is mirrored, as the published code does.
        parts: leaves out triplets in which nothing moves, see `numbered_thirds`; none keeps all.

    Attributes:
        left_out: one message for each city with triplets that stand still; a target whose files are missing is refused.

    Raises:
        UserError: other sources are asked for, or a named file is missing.
    """

    def __init__(
        self,
        root: Path | str,
        names: Sequence[FrameName],
        source_ids: Sequence[Source],
        height: int,
        width: int,
        published: bool = False,
        parts: MovingParts | None = None,
    ) -> None:
        if not set(source_ids) <= {-1, 1}:
            asked = ", ".join(map(str, source_ids))
            raise UserError(f"{root}: triplets hold the views -1 and 1, not {asked}. Train with --mode mono.")
        self.source_ids = tuple(source_ids)
        self.left_out: list[str] = []
        self._root = Path(root)
        self._names = tuple(names)
        self._size = height, width
        self._published = published
        known = set(list_triplets(self._root))
        for name in self._names:
            if name not in known:
                raise UserError(f"{triplet_file(self._root, name)}: no such triplet. Copy it or take its line out.")
            if not camera_file(self._root, name).is_file():
                raise UserError(f"{camera_file(self._root, name)}: no such camera file. Preprocess {name.city} again.")
        if parts is not None:
            moving, self.left_out = parts.select_some(
                root, self._names, lambda name: (name.city, _number(name, 0)), "triplets"
            )
            self._names = tuple(moving)

    def __len__(self) -> int:
        return len(self._names)

    def sample_names(self) -> Iterator[str]:
        return map(str, self._names)

    def __getitem__(self, index: int) -> Sample:
        name = self._names[index]
        views = read_triplet(triplet_file(self._root, name))
        camera = read_camera(camera_file(self._root, name), *views[0].shape[:2])
        return Sample(
            name=str(name),
            target=channels_first(resize_image(views[THIRD_OF[0]], *self._size)),
            sources=torch.stack(
                [channels_first(resize_image(views[THIRD_OF[source]], *self._size)) for source in self.source_ids]
            ),
            intrinsics=torch.from_numpy(camera.normalised()),
            centred=self._published,
        )


def triplet_file(root: Path, name: FrameName) -> Path:
    return root / name.city / f"{name}.jpg"


def camera_file(root: Path, name: FrameName) -> Path:
    return root / name.city / f"{name}{CAMERA_SUFFIX}"


def list_triplets(root: Path) -> list[FrameName]:
    """All triplets of a tree, in order."""
    files = (file for file in root.glob("*/*.jpg") if not file.name.startswith("."))
    names = (FrameName.find(file.stem) for file in files if file.stem == str(FrameName.find(file.stem)))
    return sorted(name for name in names if name)


def triplet_list(root: Path, split: str | None, stage: Stage) -> Path | None:
    """The list of a stage's triplets, of a split or the root's own; None where there is none.

    Raises:
        UserError: the named split is missing.
    """
    names = [f"{stage}_files.txt", f"{stage}.txt"]
    own = (root / name for name in names)
    return find_split_file(root, split, names) or next((file for file in own if file.is_file()), None)


def numbered_thirds(root: Path, city: str) -> dict[int, tuple[Path, int]]:
    """The views of a city's triplets, each a file and its third, by numbers that follow each other in a triplet."""
    names = (name for name in list_triplets(root) if name.city == city)
    return {
        _number(name, each): (triplet_file(root, name), third) for name in names for each, third in THIRD_OF.items()
    }


def thumbnail_of_third(view: tuple[Path, int]) -> np.ndarray:
    """The thumbnail that motion is measured in, of one view of a triplet."""
    file, third = view
    return np.ascontiguousarray(np.split(read_thumbnail(file, 3 * THUMBNAIL_WIDTH), 3, axis=1)[third])


def _number(name: FrameName, source: int) -> int:
    return 3 * name.number + THIRD_OF[source]


def triplet_names(root: Path | str, split: str | None, stage: Stage) -> list[FrameName]:
    """The targets of a stage: `<stage>_files.txt` of a split, or the root's own `train.txt` and `val.txt`.

    Where there are no lists, the last 10 of each 100 triplets of a city validate. (The published validation list is a
    random tenth, so that nearly every frame in it has its neighbours in training.)

    Raises:
        UserError: the named split is missing, or the tree holds no triplets.
    """
    root = Path(root)
    if stage == "val" and is_one_list(split):
        return []
    file = triplet_list(root, split, stage)
    if file is not None:
        return read_names(file)
    cities: dict[str, list[FrameName]] = {}
    for name in list_triplets(root):
        cities.setdefault(name.city, []).append(name)
    if not cities:
        raise UserError(f"{root}: holds no triplets. Expected <city>/<city>_<recording>_<frame>.jpg and _cam.txt.")
    return [
        name
        for triplets in cities.values()
        for position, name in enumerate(triplets)
        if validates(position, len(triplets)) == (stage == "val")
    ]


def read_triplet(file: Path) -> list[np.ndarray]:
    """The three views of a triplet in order of time, each (H, W, 3) uint8.

    Raises:
        UserError: the image cannot be read, or its width is not that of three equal images.
    """
    image = read_image(file)
    if image.shape[1] % 3:
        raise UserError(
            f"{file}: is {image.shape[1]} pixels wide, which does not divide into three views. Preprocess it again."
        )
    return np.split(image, 3, axis=1)


def triplet_size(file: Path) -> tuple[int, int]:
    """Height and width of one view, from the file's header alone."""
    height, width = image_size(file)
    return height, width // 3


def read_camera(file: Path, height: int, width: int) -> Camera:
    """The camera of a view of this size: nine numbers separated by commas, the rows of the intrinsics in pixels.

    Raises:
        UserError: the file has another form, or its principal point lies outside a view of this size.
    """
    try:
        numbers = [float(piece) for piece in read_text(file).strip().rstrip(",").split(",")]
        intrinsics = np.array(numbers).reshape(3, 3)
    except (OSError, ValueError):
        raise UserError(f"{file}: expected nine numbers separated by commas. Preprocess the city again.") from None
    (fx, _, cx), (_, fy, cy), _ = intrinsics
    if not (fx > 0 and fy > 0 and 0 < cx < width and 0 < cy < height):
        raise UserError(
            f"{file}: focal length {fx:g}, {fy:g} and centre {cx:g}, {cy:g} do not belong to a view of "
            f"{width}x{height}. Preprocess the city again."
        )
    return Camera(intrinsics.astype(np.float32), height, width)
