"""The camera that a photograph says it was taken with."""

import math
from pathlib import Path

from PIL import Image

from egodepth.data.images import BROKEN_FILE_ERRORS
from egodepth.geometry.cameras import Camera, pinhole

DETAILS, FOCAL_35_MM = 0x8769, 0xA405
FILM_DIAGONAL_MM = math.hypot(36, 24)
PLAUSIBLE_MM = (8, 800)


def camera_from_exif(path: Path, height: int, width: int) -> Camera | None:
    """The camera of a picture from its equivalent focal length on 35 mm film; None where the file does not say it.

    The equivalent is by the diagonal (CIPA DCG-001), whatever the form of the sensor. The centre is taken to be the
    picture's.

    Args:
        height, width: of the upright picture. One that was cut after it was taken keeps a focal length that is wrong.
    """
    try:
        with Image.open(path) as image:
            focal_mm = float(image.getexif().get_ifd(DETAILS).get(FOCAL_35_MM) or 0)
    except (*BROKEN_FILE_ERRORS, TypeError):
        return None
    if not PLAUSIBLE_MM[0] <= focal_mm <= PLAUSIBLE_MM[1]:  # 0 is how a camera says that it does not know
        return None
    focal_px = focal_mm * math.hypot(height, width) / FILM_DIAGONAL_MM
    return Camera(pinhole(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2), height, width)
