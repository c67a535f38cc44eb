"""What chance decides for a training sample, and the window of its frames that follows from it.

What is drawn depends on the seed, a key (the epoch or the step) and the sample's index alone, so that a run that was
stopped and resumed, or spread over processes, draws the same; the loader, which reads the window, and the training
device, which mirrors and colours it, draw apart and agree.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from egodepth.data.configurations import AugmentationConfig
from egodepth.geometry.cameras import Camera

Operation = tuple[str, float | tuple[float, float, float]]
"""Name and amount of a change of colours."""


@dataclass(frozen=True)
class Draw:
    """What chance decided for one sample.

    Attributes:
        flip: mirror left to right.
        operations: colour operations and their amounts, in the order in which they are applied; none without jitter.
        scale: what the views are enlarged by before the crop.
        place: vertical and horizontal place of the crop, as shares of the room there is for it.
    """

    flip: bool
    operations: tuple[Operation, ...] = field(default=())
    scale: float = 1.0
    place: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Window:
    """What is cut out of an enlarged frame, in pixels.

    Attributes:
        frame: height and width at which whole frames are read.
        enlarged: size of the frame that the window is cut out of.
        size: of the window.
        top, left: its upper left corner.
    """

    frame: tuple[int, int]
    enlarged: tuple[int, int]
    size: tuple[int, int]
    top: int
    left: int

    @classmethod
    def drawn(cls, drawn: Draw, frame: tuple[int, int], size: tuple[int, int]) -> "Window":
        """The window in the frame as training sees it, mirrored where the sample is."""
        # A window larger than the enlarged picture would reach outside, so the picture grows to it.
        height, width = (max(int(length * drawn.scale), window) for length, window in zip(frame, size, strict=True))
        top, left = (
            int(share * (length - window + 1))
            for share, length, window in zip(drawn.place, (height, width), size, strict=True)
        )
        return cls(frame, (height, width), size, top, left)

    def mirrored(self) -> "Window":
        """The window that shows the mirrored picture of this one in the mirrored frame."""
        return replace(self, left=self.enlarged[1] - self.left - self.size[1])

    def shares(self) -> tuple[float, float, float, float]:
        """Top, left, bottom and right in shares of the frame's height and width."""
        height, width = self.enlarged
        bottom, right = self.top + self.size[0], self.left + self.size[1]
        return self.top / height, self.left / width, bottom / height, right / width

    def camera(self, camera: Camera) -> Camera:
        """The camera of the window, from that of the whole frame."""
        return camera.resize(*self.enlarged).crop(self.top, self.left, *self.size)


def draw(config: AugmentationConfig, seed: int, key: int, index: int) -> Draw:
    """Draw one sample's augmentation, a pure function of its arguments (all three numbers not negative)."""
    generator = np.random.default_rng([seed, key, index])
    jitter = generator.random() < config.jitter_probability
    flip = bool(generator.random() < config.flip_probability)
    operations = draw_colours(config, generator) if jitter else ()
    if not config.cuts:
        return Draw(flip, operations)
    scale = float(generator.uniform(config.min_scale, config.max_scale))
    return Draw(flip, operations, scale, (float(generator.random()), float(generator.random())))


def draw_shares(seed: int, key: int, index: int, count: int) -> tuple[float, ...]:
    """So many numbers in [0, 1), apart from those of `draw`: how far away one sample's sources are taken."""
    # A zero at the end would give the numbers of `draw`.
    return tuple(np.random.default_rng([seed, key, index, 1]).random(count).tolist())


def draw_colours(config: AugmentationConfig, generator: np.random.Generator) -> tuple[Operation, ...]:
    """The colour operations of a sample that is jittered, in order."""
    if config.colours == "tone":
        gamma, gain = float(generator.uniform(0.8, 1.2)), float(generator.uniform(0.5, 2.0))
        channels = tuple(map(float, generator.uniform(0.8, 1.2, 3)))
        return ("gamma", gamma), ("brightness", gain), ("channels", channels)
    amounts = {
        "brightness": generator.uniform(1 - config.brightness, 1 + config.brightness),
        "contrast": generator.uniform(1 - config.contrast, 1 + config.contrast),
        "saturation": generator.uniform(1 - config.saturation, 1 + config.saturation),
        "hue": generator.uniform(-config.hue, config.hue),
    }
    names = list(amounts)
    return tuple((names[place], float(amounts[names[place]])) for place in generator.permutation(4))
