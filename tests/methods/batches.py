"""Batches of random pictures, for tests of training steps."""

import torch

from egodepth.data.configurations import Source
from egodepth.data.samples import Batch


def random_batch(size: tuple[int, int], source_ids: tuple[Source, ...], count: int = 2, seed: int = 0) -> Batch:
    """A batch of a left camera with a baseline of 0.54 m; smooth noise, the sources slightly shifted."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 3, size[0] // 8, size[1] // 8, generator=generator)
    target = torch.nn.functional.interpolate(noise, size, mode="bicubic").clamp(0, 1)
    images = torch.stack([target.roll(-shift, -1) for shift in range(1 + len(source_ids))], dim=1)
    images = (255 * images).round().to(torch.uint8)
    intrinsics = torch.tensor([[0.58, 0, 0.5], [0, 1.92, 0.5], [0, 0, 1]]).repeat(count, 1, 1)
    return Batch(
        names=tuple(map(str, range(count))),
        indices=torch.arange(count),
        target=images[:, 0],
        sources=images[:, 1:],
        source_ids=source_ids,
        intrinsics=intrinsics,
        stereo_offset=-torch.ones(count),
        baseline_m=torch.full((count,), 0.54),
        centred=False,
    )
