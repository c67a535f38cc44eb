"""The 1,000 selected validation images of KITTI's depth prediction benchmark, with accumulated laser depth.

Sources: Uhrig et al., 3DV 2017; datasets specification, section 4.1.
"""

from pathlib import Path

import numpy as np

from egodepth.data.images import is_image, natural_key, read_depth_png, read_image
from egodepth.data.samples import EvaluationFrame, EvaluationFrames
from egodepth.errors import UserError
from egodepth.files import read_text
from egodepth.geometry.cameras import Camera

FOLDERS = ("", "val_selection_cropped", "depth_selection/val_selection_cropped")
REMEDY = "Unpack data_depth_selection.zip again"


class KittiSelectionFrames(EvaluationFrames):
    """Cropped images, 1216x352, with ground truth.

    Args:
        root: `val_selection_cropped`, or one of the two folders above it.

    Raises:
        UserError: the layout is another one, or an image has no ground truth.
    """

    def __init__(self, root: Path | str) -> None:
        folder = find_selection(Path(root))
        if folder is None:
            raise UserError(f"{root}: expected val_selection_cropped with image and groundtruth_depth. {REMEDY}.")
        self._folder = folder
        self._images = sorted((path for path in (folder / "image").iterdir() if is_image(path)), key=natural_key)
        if not self._images:
            raise UserError(f"{folder / 'image'}: holds no image. {REMEDY}.")
        for image in self._images:
            if not truth_file(image).is_file():
                raise UserError(f"{truth_file(image)}: no such ground truth. {REMEDY}.")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> EvaluationFrame:
        path = self._images[index]
        image, depth = read_image(path), read_depth_png(truth_file(path))
        if depth.shape != image.shape[:2]:
            raise UserError(f"{truth_file(path)}: differs in size from its image. {REMEDY}.")
        return EvaluationFrame(path.stem, image, depth, _camera(intrinsics_file(path), *image.shape[:2]))


def find_selection(root: Path) -> Path | None:
    """The folder that holds `image` and `groundtruth_depth`."""
    folders = (root / name for name in FOLDERS)
    return next(
        (folder for folder in folders if (folder / "image").is_dir() and (folder / "groundtruth_depth").is_dir()), None
    )


def truth_file(image: Path) -> Path:
    """`<drive>_image_<frame>_image_02.png` has its depth in `<drive>_groundtruth_depth_<frame>_image_02.png`."""
    return image.parents[1] / "groundtruth_depth" / f"{image.stem.replace('_image_', '_groundtruth_depth_', 1)}.png"


def intrinsics_file(image: Path) -> Path:
    return image.parents[1] / "intrinsics" / f"{image.stem}.txt"


def _camera(file: Path, height: int, width: int) -> Camera | None:
    """From nine numbers, the rows of the intrinsics; None where there is no file, because depth does not need it."""
    if not file.is_file():
        return None
    try:
        intrinsics = np.array(read_text(file).split(), dtype=np.float32).reshape(3, 3)
    except ValueError:
        raise UserError(f"{file}: expected nine numbers. {REMEDY}.") from None
    return Camera(intrinsics, height, width)
