"""Files of poses as KITTI's odometry benchmark has them."""

from pathlib import Path

import numpy as np

from egodepth.errors import UserError
from egodepth.files import read_text


def read_poses(file: Path | str) -> np.ndarray:
    """Read camera-to-world poses (N, 4, 4) float64 from lines of 12 numbers, the rows of 3x4 matrices.

    Raises:
        UserError: the file is missing or empty, or a line has another form.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"{file}: no such pose file. Check the path.")
    poses = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows = np.array(line.split(), dtype=np.float64).reshape(3, 4)
        except ValueError:
            raise UserError(f"{file}, line {number}: expected 12 numbers, found `{line.strip()[:60]}`.") from None
        poses.append(np.vstack([rows, [0, 0, 0, 1]]))
    if not poses:
        raise UserError(f"{file}: is empty. Expected one pose of 12 numbers a line.")
    return np.stack(poses)
