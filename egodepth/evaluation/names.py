"""Names of protocols and scalings, apart from what they do: the command line knows them without PyTorch."""

from typing import Literal

DepthProtocol = Literal[
    "eigen",
    "eigen-benchmark",
    "sdfa",
    "sdfa-benchmark",
    "kitti-2015",
    "kitti-2015-full",
    "kitti-benchmark",
    "cityscapes",
    "cityscapes-smde",
    "ddad",
    "ddad-sc",
    "ddad-80",
    "make3d",
    "simulated",
]
"""The keys of `protocols.PROTOCOLS`."""

Scaling = Literal["auto", "median", "none"]
"""How predictions get their scale: as the protocol says, by each image's medians, or not at all."""
