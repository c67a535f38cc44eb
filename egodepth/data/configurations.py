"""Settings of data, as plain data.

They stand apart from the readers so that a command line is read without PyTorch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Suppress, UseAppendAction, arg

from egodepth.errors import UserError

Source = int | Literal["stereo"]
"""Where a source view comes from: a time offset in frames (-1, 1, …), or the other camera of the pair."""


Crop = Literal["manydepth", "monodepth", "sdfa"]

Sides = Literal["left", "both"]

Offsets = Literal["nearest", "drawn"]


DataKind = Literal[
    "kitti-raw",
    "kitti-2015",
    "kitti-benchmark",
    "cityscapes",
    "cityscapes-triplets",
    "ddad",
    "make3d",
    "simulated",
    "packed",
    "frames",
    "video",
    "videos",
]

FOOTAGE: tuple[DataKind, ...] = ("frames", "video", "videos")
"""Kinds whose frames are chosen by how they look and move; `check` decides on them as training does."""


FIELD_OF_VIEW = "fov="
"""How intrinsics that were given as a field of view stand in a recipe: `fov=78`, in degrees from left to right."""


LEARNED, LEARNED_EACH = "learned", "learned-each"
LEARNED_WAYS = (LEARNED, LEARNED_EACH)
"""The values of `--intrinsics` with which training finds the cameras of footage that comes without: one for all frames
of a size, or one for each video and folder."""


def as_intrinsics(fov: float | None, intrinsics: str) -> str:
    """The intrinsics that `--intrinsics` and `--fov` give together.

    Raises:
        UserError: both were given, or the field of view is no camera's.
    """
    if fov is None:
        return intrinsics
    if intrinsics != "calibrated":
        raise UserError(f"--fov {fov:g}: --intrinsics {intrinsics} says the same. Give one of the two.")
    return f"{FIELD_OF_VIEW}{_checked_field_of_view(fov):g}"


def given_intrinsics(fov: float | None, intrinsics: str | None) -> str | None:
    """`as_intrinsics` where both may be left out; None if they are.

    Raises:
        UserError: as `as_intrinsics`.
    """
    return intrinsics if fov is None else as_intrinsics(fov, intrinsics or "calibrated")


def field_of_view_in(intrinsics: str) -> float:
    """The degrees of `fov=DEGREES`.

    Raises:
        UserError: they are no camera's.
    """
    try:
        return _checked_field_of_view(float(intrinsics.removeprefix(FIELD_OF_VIEW)))
    except ValueError:
        raise UserError(f"--intrinsics {intrinsics}: expected fov=DEGREES. Give --fov DEGREES.") from None


def _checked_field_of_view(degrees: float) -> float:
    if not 10 <= degrees <= 150:
        raise UserError(
            f"--fov {degrees:g}: a camera sees 10 to 150 degrees from left to right. Give its horizontal field of view "
            "in degrees."
        )
    return degrees


@dataclass(frozen=True)
class DataConfig:
    """Where the frames come from and which of them are used.

    Attributes:
        kind: layout of the data; recognised where not given.
        split: name of a folder in DATA/splits, or a path to a folder or file of split lists; for DDAD a list of scenes
            such as `ddad.json`, where there are several.
        stride: frames from a view to the next one. By default footage takes those between which half of the picture
            moved by 1 % of its width, whatever the frame rate; on Cityscapes it multiplies the published two.
        offsets: which frames of footage are neighbours: the `nearest` by which half of the picture moved by 1 % of its
            width, or some `drawn` from those up to 4 %, anew for each sample and epoch and for either side.
        crop: the part of Cityscapes' images that is used: the upper 75 % (manydepth), the upper 80 % (monodepth), or
            the 1984x640 pixels of SDFA-Net.
        sides: which images of stereo pairs are targets. With `left` the right ones are sources, and targets only where
            a flip swaps the pair. Cityscapes' targets are left images always.
        bits: how many bits footage of more than 8 bits uses (12 or 14 in 16); by default found from the sequence.
        beside: the other videos and folders where DATA is several, each with its camera and its held-out part.
        mask: which pixels of footage are trained on. `auto` finds what is always in the picture (a bonnet, a logo,
            black borders) and leaves it out, `none` takes all, a file is a picture of the frames' size, white where the
            scene is and black elsewhere.
        also: further data to train on jointly, each with its own calibration and its default split (kind, split, stride
            and offsets are DATA's alone, crop and sides are for all). DATA alone validates, and metres are those of its
            camera.
    """

    kind: DataKind | None = None
    split: str | None = None
    stride: int | None = None
    offsets: Offsets = "nearest"
    crop: Crop = "manydepth"
    sides: Sides = "both"
    bits: int | None = None
    beside: Suppress[tuple[Path, ...]] = ()
    mask: Annotated[str, arg(prefix_name=False, metavar="{auto,none}|FILE")] = "auto"
    also: Annotated[UseAppendAction[tuple[Path, ...]], arg(prefix_name=False, metavar="DATA")] = ()


MapValues = Literal["depth", "inverse-depth"]

MapUnits = Literal["metres", "scale", "scale-and-shift"]


@dataclass(frozen=True)
class TeacherMapsConfig:
    """What the files of a folder of depth maps hold, where the folder does not say it itself.

    Attributes:
        values: depth along the camera's axis, or inverse depth (disparity); by default depth.
        units: up to what the values are known: metres, right up to a factor of each map, or up to a factor and a shift
            of inverse depth, as relative models give it; by default up to a factor.
    """

    values: MapValues | None = None
    units: MapUnits | None = None


@dataclass(frozen=True)
class EvaluationDataConfig:
    """Which frames are evaluated.

    Attributes:
        kind: layout of the data; recognised where not given.
        split: name of a folder in DATA/splits, or a path to a folder or file of test lists. For Cityscapes and DDAD
            also the name of one of their own splits, such as `val`; for DDAD also a list of scenes, `ddad.json` or
            `ddad.json:val`.
    """

    kind: DataKind | None = None
    split: str | None = None


@dataclass(frozen=True)
class AugmentationConfig:
    """How often and how far training images are changed.

    Attributes:
        flip_probability: how likely all views of a sample are mirrored left to right.
        jitter_probability: how likely the colours of all views of a sample are changed, in one and the same way.
        brightness, contrast, saturation: spread of their factors, which are drawn from 1 - value to 1 + value.
        hue: spread of its shift, which is drawn from -value to value, in turns of the colour circle.
        colours: `jitter` changes the four above, in an order drawn anew; `tone` is SDFA-Net's change: a power of
            0.8 to 1.2, a gain of 0.5 to 2, a gain of each channel of 0.8 to 1.2.
        swap_pairs: a mirrored stereo pair changes places: the mirrored right view is the target, and again a left one.
        min_scale, max_scale: all views of a sample are enlarged by a factor between these, before the crop.
        crop: height and width of the window that is cut out, at a place drawn for each sample; none keeps the size
            of the images, so that a factor of 1 cuts nothing off.
        native: frames are read at their drawn scale from the files as they are, in one Lanczos step, where data have
            such; otherwise the frames of the recipe's size are enlarged bilinearly, which blurs.
    """

    flip_probability: float = 0.5
    jitter_probability: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.1
    colours: Literal["jitter", "tone"] = "jitter"
    swap_pairs: bool = False
    min_scale: float = 1.0
    max_scale: float = 1.0
    crop: tuple[int, int] | None = None
    native: bool = False

    @property
    def scales(self) -> bool:
        """Whether the views are enlarged before the crop."""
        return (self.min_scale, self.max_scale) != (1, 1)

    @property
    def cuts(self) -> bool:
        """Whether a window is cut out of the views, enlarged or not."""
        return self.crop is not None or self.scales
