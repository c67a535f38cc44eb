"""What a camera makes of the light: exposure, colour, vignette, motion blur and noise."""

from dataclasses import dataclass

import numpy as np

from egodepth.data.simulator.casting import StereoView

PIVOT = np.float32(0.4)  # a grey that the tone curve leaves alone
BLUR_SHARES = (-0.375, -0.125, 0.125, 0.375)


@dataclass(frozen=True)
class Sensor:
    """One camera model; both eyes have the same.

    Attributes:
        gain: exposure.
        white_balance: (red, green, blue) gains.
        contrast: exponent of the tone curve.
        saturation: 1 leaves colours as they are, 0 is grey.
        vignette: share of the light that the corners lose.
        noise: standard deviation in a mid-grey, of 1.
        exposure_s: how long the shutter is open.
    """

    gain: float
    white_balance: tuple[float, float, float]
    contrast: float
    saturation: float
    vignette: float
    noise: float
    exposure_s: float

    @classmethod
    def draw(cls, random: np.random.Generator, gain: float, noise: float) -> "Sensor":
        """A camera in a light that asks for this gain, and makes this much more noise than daylight does."""
        return cls(
            gain=float(gain * np.exp(random.uniform(-0.25, 0.2))),
            white_balance=tuple(float(value) for value in np.exp(random.normal(0, 0.05, 3))),
            contrast=float(random.uniform(0.85, 1.25)),
            saturation=float(random.uniform(0.6, 1.2)),
            vignette=float(random.uniform(0, 0.4)),
            noise=float(noise * random.uniform(0.001, 0.012)),
            exposure_s=float(random.uniform(0, 0.01)),
        )

    def develop(
        self,
        light: np.ndarray,
        depth: np.ndarray,
        view: StereoView,
        motion: np.ndarray,
        random: np.random.Generator,
    ) -> np.ndarray:
        """Pictures (2, H, W, 3) uint8 of both eyes.

        Args:
            light: (2, H, W, 3), 255 is white paper's at noon.
            depth: (2, H, W) metres, infinite in the sky.
            motion: (4, 4), how points move in the camera's axes while the shutter is open, before to after.
        """
        x, y = view.rays()
        radius = (x * view.focal_px / view.width * 2) ** 2 + ((y * view.focal_px / view.width * 2) ** 2)[:, None]
        shade = np.float32(self.gain) * (1 - np.float32(self.vignette) * np.minimum(radius, 1.3) ** 2)
        picture = np.empty(light.shape, dtype=np.uint8)
        for eye in range(2):
            blurred = _blur(light[eye], depth[eye], view, motion)
            value = blurred * (shade[..., None] * np.float32(self.white_balance) / 255)
            grey = value @ np.float32([0.3, 0.6, 0.1])
            value = grey[..., None] + np.float32(self.saturation) * (value - grey[..., None])
            value = PIVOT * (np.maximum(value, 0) / PIVOT) ** np.float32(self.contrast)
            spread = np.float32(self.noise) * np.sqrt(0.2 + 1.6 * np.minimum(value, 1.5))
            value += spread * random.standard_normal(value.shape, dtype=np.float32)
            picture[eye] = np.clip(value * 255 + 0.5, 0, 255)
        return picture


def _blur(light: np.ndarray, depth: np.ndarray, view: StereoView, motion: np.ndarray) -> np.ndarray:
    """The mean of the light over the way that each pixel goes while the shutter is open, centred."""
    x, y = (values[None] if axis == 0 else values[:, None] for axis, values in enumerate(view.rays()))
    turn, shift, near = np.float32(motion[:3, :3] - np.eye(3)), np.float32(motion[:3, 3]), 1 / depth
    along = [turn[row, 0] * x + turn[row, 1] * y + turn[row, 2] + shift[row] * near for row in range(3)]
    step_x = view.focal_px * (along[0] - x * along[2])
    step_y = view.focal_px * (along[1] - y * along[2])
    if max(np.abs(step_x).max(), np.abs(step_y).max()) < 0.7:
        return light
    column, row = np.arange(view.width), np.arange(view.height)[:, None]
    flat, mean = light.reshape(-1, 3), np.zeros_like(light)
    for share in BLUR_SHARES:
        left = np.clip(np.rint(column + share * step_x), 0, view.width - 1).astype(np.int32)
        top = np.clip(np.rint(row + share * step_y), 0, view.height - 1).astype(np.int32)
        mean += flat.take(top * view.width + left, axis=0)
    return mean / len(BLUR_SHARES)
