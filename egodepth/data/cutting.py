"""Training frames read at their drawn scale and cut, in one Lanczos step where the data set has native frames.

Source: SDFA-Net specification, section 7 and the corrections at its head. Enlarging frames that were read at the
training size would blur what they are cut out of.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.draws import Window, draw
from egodepth.data.frame_store import channels_first
from egodepth.data.images import cut_image
from egodepth.data.joint import JointDataset
from egodepth.data.samples import NativeDataset, Sample, TrainingDataset
from egodepth.data.transforms import ALL_USED, cut


@dataclass(frozen=True)
class Cutting:
    """How the samples of a run are scaled and cut as they are read.

    Attributes:
        config: of the augmentation, which draws the scale and the place.
        seed: of the run.
        frame: height and width of the data set's whole frames.
    """

    config: AugmentationConfig
    seed: int
    frame: tuple[int, int]

    def read(self, dataset: TrainingDataset, index: int, step: int) -> Sample:
        """The sample as training sees it at a step, but for its colours and for being mirrored.

        Raises:
            UserError: a file cannot be read.
        """
        drawn = draw(self.config, self.seed, step, index)
        window = Window.drawn(drawn, self.frame, self.config.crop or self.frame)
        sample = read_window(dataset, index, window.mirrored() if drawn.flip else window)
        return replace(sample, window=window)


def read_window(dataset: TrainingDataset, index: int, window: Window) -> Sample:
    """A sample cut to a window: from the native frames where the data set reads them, else from its own frames."""
    if isinstance(dataset, JointDataset):
        return read_window(*dataset.place(index), window)
    if isinstance(dataset, NativeDataset):
        return dataset.read_window(index, window)
    sample = dataset[index]
    return replace(
        sample,
        target=_cut(sample.target, window),
        sources=torch.stack([_cut(source, window) for source in sample.sources]),
        mask=None if sample.mask is None else cut(sample.mask.float(), window) > ALL_USED,
    )


def _cut(image: Tensor, window: Window) -> Tensor:
    """(3, H, W) uint8 to (3, *window.size), by Lanczos."""
    return channels_first(cut_image(image.permute(1, 2, 0).contiguous().numpy(), window.shares(), *window.size))
