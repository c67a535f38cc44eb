"""A trained depth network that looks on while another is trained."""

import torch
from torch import Tensor

from egodepth.data.transforms import resize
from egodepth.networks.disparity import DisparityNetwork


class FrozenNetwork:
    """A trained depth network that sees the pictures of a training at the size that it knows; at another it sees worse.

    It is no module, so that its weights are neither trained nor kept in checkpoints.

    Args:
        height, width: of the pictures that it knows.
    """

    def __init__(self, network: DisparityNetwork, height: int, width: int) -> None:
        self.network = network.eval().requires_grad_(False)
        self.size = height, width
        self._seen: tuple[Tensor, Tensor] | None = None

    def to(self, device: torch.device) -> None:
        self.network.to(device)

    @torch.no_grad()
    def inverse_depth(self, image: Tensor) -> Tensor:
        """(B, 1, h, w) at the network's own size, in its units, of an image (B, 3, H, W).

        Several parts of a loss ask for the same image, which is looked at once.
        """
        if self._seen is None or self._seen[0] is not image:
            self._seen = image, self.network.predict_depth(resize(image, *self.size)).reciprocal()
        return self._seen[1]
