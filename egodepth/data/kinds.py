"""The one table of the kinds of data that egodepth knows.

A new data set has a folder with its record, a line here, and its name in `configurations.DataKind`, which stands apart
because the command line is read without PyTorch.
"""

from egodepth.data.cityscapes.record import CITYSCAPES, CITYSCAPES_TRIPLETS
from egodepth.data.ddad.record import DDAD
from egodepth.data.footage.clips import VIDEOS
from egodepth.data.footage.record import FRAMES, VIDEO
from egodepth.data.kitti.record import KITTI_BENCHMARK, KITTI_RAW, KITTI_STEREO_2015
from egodepth.data.make3d.record import MAKE3D
from egodepth.data.packs.record import PACKED
from egodepth.data.record import DatasetKind
from egodepth.data.simulator.record import SIMULATED

# In the order in which layouts are recognised: a simulated drive is KITTI raw with a marker, and a folder of frames is
# whatever holds images and is nothing else.
KINDS: tuple[DatasetKind, ...] = (
    SIMULATED,
    KITTI_RAW,
    KITTI_STEREO_2015,
    KITTI_BENCHMARK,
    CITYSCAPES,
    DDAD,
    MAKE3D,
    CITYSCAPES_TRIPLETS,
    PACKED,
    FRAMES,
    VIDEO,
    VIDEOS,
)
