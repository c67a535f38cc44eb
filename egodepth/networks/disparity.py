"""The face that every disparity network shows to training, evaluation and inference."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from egodepth.geometry.depth import MAX_DEPTH, MIN_DEPTH, sigmoid_to_depth

INITIAL_DEPTH = 2.0
"""Where the far start puts every pixel, in units of training: 10.8 m with a stereo baseline of 0.54 m."""


def start_far(network: nn.Module) -> None:
    """Set the biases of an untrained network's heads so that it starts from `INITIAL_DEPTH`, for stereo pairs.

    As drawn, the sigmoid starts at 0.5 and the depth at 0.2 units, where a stereo pair is shifted by 29 % of the
    image's width: further than any gradient of the photometric error reaches, and some runs never come back. Video
    alone has no such scale: its poses follow the depth, and from the far start it walked away from the solution.
    """
    for module in network.modules():
        if isinstance(module, DisparityDecoder):
            module.start_far()


def start_at(head: nn.Conv2d, depth: float = INITIAL_DEPTH) -> None:
    """Set the bias of a head's last convolution so that its sigmoid starts from a depth in units of training."""
    sigmoid = (1 / depth - 1 / MAX_DEPTH) / (1 / MIN_DEPTH - 1 / MAX_DEPTH)
    nn.init.constant_(head.bias, math.log(sigmoid / (1 - sigmoid)))


@dataclass(frozen=True)
class Features:
    """What a network made on its way to the disparities, for losses that look inside it.

    Attributes:
        encoder: (B, C_i, H / 2^(i+1), W / 2^(i+1)), five maps, fine to coarse.
        decoder: (B, C_s, h_s, w_s), fine to coarse: first the maps that the heads read, one for each disparity, then
            coarser ones where the decoder has them, down to the one that it starts from.
    """

    encoder: tuple[Tensor, ...]
    decoder: tuple[Tensor, ...]


class DisparityNetwork(nn.Module):
    """A network that gives sigmoid disparities from one image.

    A subclass implements `with_features`, and `finest` too where the coarse outputs cost something that inference
    need not pay.

    Attributes:
        min_depth, max_depth: the range that the sigmoid spans, in units of training (a stereo baseline is 0.1).
    """

    min_depth: float = MIN_DEPTH
    max_depth: float = MAX_DEPTH

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Sigmoid disparities in (0, 1), fine to coarse: (B, 1, H / 2^s, W / 2^s) for s = 0, 1, …

        Args:
            image: (B, 3, H, W) in [0, 1], H and W multiples of 32.
        """
        return self.with_features(image)[0]

    def with_features(self, image: Tensor) -> tuple[tuple[Tensor, ...], Features]:
        """The disparities of `forward`, and the features on the way to them."""
        raise NotImplementedError

    def finest(self, image: Tensor) -> Tensor:
        """The sigmoid disparity (B, 1, H, W) of scale 0 alone."""
        return self(image)[0]

    def predict_depth(self, image: Tensor) -> Tensor:
        """Depth (B, 1, H, W) in units of training, for an image (B, 3, H, W) in [0, 1]."""
        return sigmoid_to_depth(self.finest(image), self.min_depth, self.max_depth)


class DisparityDecoder(nn.Module):
    """From an encoder's features to sigmoid disparities. A subclass gives `heads` and `states`.

    Attributes:
        heads: from a state to the logits of its disparity, fine to coarse.
    """

    heads: nn.ModuleList

    def start_far(self) -> None:
        """See the function; to be overridden where a head is more than its last convolution."""
        for head in self.heads:
            start_at(head)

    def states(self, features: list, scales: int | None = None) -> list[Tensor]:
        """The maps that the finest `scales` heads read, fine to coarse; where it is none, all that there are.

        Args:
            features: of the encoder, from stride 2 to 32.
        """
        raise NotImplementedError

    def disparities(self, states: list[Tensor]) -> tuple[Tensor, ...]:
        """Sigmoid disparities of states, fine to coarse."""
        return tuple(torch.sigmoid(head(state)) for head, state in zip(self.heads, states, strict=False))

    def forward(self, features: list, scales: int | None = None) -> tuple[Tensor, ...]:
        """Sigmoid disparities of the finest `scales` levels, by default of all, fine to coarse."""
        return self.disparities(self.states(features, scales or len(self.heads)))


class EncoderDecoder(DisparityNetwork):
    """An encoder and a decoder of its features.

    Args:
        encoder: gives features of an image, one map for each stride or a list of them; has `load_pretrained`.
    """

    def __init__(self, encoder: nn.Module, decoder: DisparityDecoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def with_features(self, image: Tensor) -> tuple[tuple[Tensor, ...], Features]:
        encoded = self.encoder(image)
        states = self.decoder.states(encoded)
        last = tuple(maps if isinstance(maps, Tensor) else maps[-1] for maps in encoded)
        return self.decoder.disparities(states), Features(last, tuple(states))

    def finest(self, image: Tensor) -> Tensor:
        return self.decoder(self.encoder(image), scales=1)[0]
