"""SDFA-Net: a Swin Transformer, and a decoder that aligns what it joins by offsets that it learns.

Source: "Self-Distilled Feature Aggregation for Self-Supervised Monocular Depth Estimation" (Zhou & Dong, ECCV 2022),
sections 3.1 and 3.2, equations 1 to 5. Where the text leaves a layer open, it is as in the published code.

The network gives a volume of logits over discrete disparities (`geometry.stereo_volume`). It has two paths through
one decoder: the raw one is trained by view synthesis; the distilled one, trained with what is good of the first
one's depth, is what inference takes.
"""

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.geometry.precision import in_float32
from egodepth.geometry.stereo_volume import disparity_levels, expected_disparity
from egodepth.networks.blocks import ConvELU, ReflectConv
from egodepth.networks.configurations import SDFANetConfig
from egodepth.networks.encoders import Encoder
from egodepth.networks.pretrained import NamePlace, only_checkpoint, sdfa_net_place
from egodepth.networks.swin import SwinEncoder

DecoderPath = Literal["raw", "distilled"]
"""The way through the decoder: which offsets for the encoder's features, and which output."""

DECODER_WIDTHS = {4: (64, 64, 128, 256), 5: (64, 64, 64, 128, 256)}
"""Channels of the decoder's levels, fine to coarse, by how often the image is halved up to the coarsest one."""

IMAGE_MEAN = (0.411, 0.432, 0.45)
IMAGE_DEVIATION = 0.225


class SDFANet(nn.Module):
    """An encoder and a decoder to a volume of logits.

    Args:
        encoder: gives features of a normalised image, fine to coarse; has `load_pretrained`.
        levels: the disparity in pixels that each of the decoder's outputs stands for.
    """

    def __init__(self, encoder: nn.Module, decoder: "Decoder", levels: tuple[float, ...]) -> None:
        super().__init__()
        self.encoder, self.decoder, self.levels = encoder, decoder, levels
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN)[:, None, None], persistent=False)

    @property
    def paths(self) -> tuple[DecoderPath, ...]:
        """The paths that the decoder has; inference takes the last."""
        return self.decoder.paths

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of an image (B, 3, H, W) in [0, 1], fine to coarse, for `decode`."""
        return self.encoder((image - self.image_mean) / IMAGE_DEVIATION)

    def decode(self, features: list[Tensor], size: tuple[int, int], path: DecoderPath, mirror: bool = False) -> Tensor:
        """Logits (B, N, *size) by one of the paths.

        Args:
            features: of `encode`; both paths may share them.
            size: height and width of the image.
            mirror: decode the features mirrored left to right, and mirror the logits back: the distilled path is
                trained so, as the raw depth is at fault on the other side of an object than a mirrored one.
        """
        if not mirror:
            return self.decoder(features, size, path)
        return self.decoder([feature.flip(-1) for feature in features], size, path).flip(-1)

    def forward(self, image: Tensor, path: DecoderPath = "raw", mirror: bool = False) -> Tensor:
        """Logits (B, N, H, W) of an image (B, 3, H, W) in [0, 1]; see `decode`."""
        return self.decode(self.encode(image), image.shape[-2:], path, mirror)

    def disparity(self, image: Tensor) -> Tensor:
        """Disparity (B, 1, H, W) in pixels of the image (B, 3, H, W) in [0, 1], as inference takes it."""
        return expected_disparity(self(image, self.paths[-1]), self.levels)

    def predict_depth(self, image: Tensor) -> Tensor:
        """Depth (B, 1, H, W) of an image (B, 3, H, W) in [0, 1].

        Its unit is the baseline times the focal length in widths of the image, at any size of the image: with a
        baseline in metres it becomes metres.
        """
        return image.shape[-1] / self.disparity(image)


class Decoder(nn.Module):
    """From features to logits: at each level convolve, double the size and join a feature, convolve.

    Args:
        channels: of the encoder's features, fine to coarse.
        halvings: how often the image is halved on the way to the coarsest feature; where there are more of them
            than features, the finest levels join none.
        outputs: number of logits per pixel.
        paths: each gets an output layer, and offsets for the encoder's features, of its own.
        aligned: which joins learn offsets, counted from the coarsest, 1; the others concatenate.
        shared: all paths have the offsets of the first.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        halvings: int,
        outputs: int,
        paths: tuple[DecoderPath, ...],
        aligned: Collection[int],
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.paths = paths
        widths = DECODER_WIDTHS[halvings]
        coarser = (*widths[1:], channels[-1])
        skips = (*(0,) * (halvings - len(channels) + 1), *channels[:-1])
        self.before = nn.ModuleList(map(ConvELU, coarser, widths))
        self.joins = nn.ModuleList()
        self.after = nn.ModuleList()
        for level, (width, skip) in enumerate(zip(widths, skips, strict=True)):
            is_aligned = skip > 0 and halvings - level in aligned
            join = AlignedJoin(width, skip, paths[:1] if shared else paths) if is_aligned else PlainJoin(width, skip)
            self.joins.append(join)
            self.after.append(ConvELU(join.channels, width))
        self.outputs = nn.ModuleDict({path: ReflectConv(widths[0], outputs) for path in paths})

    def forward(self, features: list[Tensor], size: tuple[int, int], path: DecoderPath) -> Tensor:
        """Logits (B, outputs, *size) of features (B, channels[i], h_i, w_i), fine to coarse."""
        *skips, state = features
        plain = len(self.joins) - len(skips)
        for level in reversed(range(len(self.joins))):
            skip = skips[level - plain] if level >= plain else None
            state = self.before[level](state)
            state = self.joins[level](state, skip, _size_of(skip, level, size), path)
            state = self.after[level](state)
        return self.outputs[path](state)


def _size_of(skip: Tensor | None, level: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a level of the decoder: those of the feature that it joins, else of the halved image."""
    if skip is not None:
        return skip.shape[-2:]
    height, width = (math.ceil(side / 2**level) for side in image_size)
    return height, width


class PlainJoin(nn.Module):
    """Nearest upsampling, and concatenation with the encoder's feature where there is one, as in Monodepth2."""

    def __init__(self, width: int, skip: int) -> None:
        super().__init__()
        self.channels = width + skip

    def forward(self, decoded: Tensor, skip: Tensor | None, size: tuple[int, int], path: DecoderPath) -> Tensor:
        enlarged = F.interpolate(decoded, size=size, mode="nearest")
        return enlarged if skip is None else torch.cat([enlarged, skip], dim=1)


class AlignedJoin(nn.Module):
    """Self-distilled feature aggregation with the adapter of the encoder's feature before it."""

    def __init__(self, width: int, skip: int, paths: tuple[DecoderPath, ...]) -> None:
        super().__init__()
        self.channels = width
        self.adapter = nn.Sequential(ReflectConv(skip, width), nn.BatchNorm2d(width), nn.ELU(inplace=True))
        self.aggregation = FeatureAggregation(width, paths)

    def forward(self, decoded: Tensor, skip: Tensor, size: tuple[int, int], path: DecoderPath) -> Tensor:
        return self.aggregation(decoded, self.adapter(skip), path)


class FeatureAggregation(nn.Module):
    """SDFA: the sum of a decoded and an encoder's feature, each sampled where offsets say. Section 3.1.

    Untrained, its offsets are zero, and it adds the two.

    Args:
        channels: of both features.
        paths: each has offsets of its own for the encoder's feature; any other path has those of the first.
    """

    def __init__(self, channels: int, paths: tuple[DecoderPath, ...]) -> None:
        super().__init__()
        self.decoded_offsets = _offset_branch(channels)
        self.encoder_offsets = nn.ModuleDict({path: _offset_branch(channels) for path in paths})

    def forward(self, decoded: Tensor, encoded: Tensor, path: DecoderPath) -> Tensor:
        """The joined feature (B, C, H, W), equation 5, of a decoded one (B, C, h, w) and an encoder's (B, C, H, W)."""
        enlarged = F.interpolate(decoded, size=encoded.shape[-2:], mode="bilinear", align_corners=True)
        both = torch.cat([encoded, enlarged], dim=1)
        aligned = sample_at_offsets(enlarged, self.decoded_offsets(both))
        own = path if path in self.encoder_offsets else next(iter(self.encoder_offsets))
        return aligned + sample_at_offsets(encoded, self.encoder_offsets[own](both))


def _offset_branch(channels: int) -> nn.Sequential:
    """From both features (B, 2C, H, W) to offsets (B, 2, H, W) in pixels, equation 1; zero until it is trained."""
    last = nn.Conv2d(channels, 2, kernel_size=3, padding=1, padding_mode="reflect", bias=False)
    nn.init.zeros_(last.weight)
    return nn.Sequential(
        nn.Conv2d(2 * channels, channels, kernel_size=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ELU(inplace=True),
        last,
    )


@in_float32
def sample_at_offsets(features: Tensor, offsets: Tensor) -> Tensor:
    """Features (B, C, H, W), sampled bilinearly at p + offset(p), zero outside: equation 2.

    Args:
        offsets: (B, 2, H, W) in pixels, to the right and down.
    """
    height, width = features.shape[-2:]
    columns = torch.linspace(-1, 1, width, device=features.device) + offsets[:, 0] * (2 / (width - 1))
    rows = torch.linspace(-1, 1, height, device=features.device)[:, None] + offsets[:, 1] * (2 / (height - 1))
    # PyTorch's backward pass on a CPU reads outside memory at a coordinate that is not a number.
    grid = torch.stack([columns, rows], dim=-1).nan_to_num(nan=2.0)
    return F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


@torch.no_grad()
def offset_norms(network: SDFANet, image: Tensor) -> dict[str, float]:
    """Mean norms of the learned offsets in pixels of their maps: table 2b.

    Args:
        image: (B, 3, H, W) in [0, 1]; the network sees it as in use, not mirrored.

    Returns:
        by name, such as `SDFA-1 decoded` (of the last path, as in use) and `SDFA-1 encoder, raw`; SDFA-1 is the
        coarsest.
    """
    norms: dict[str, float] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, inputs, offsets: norms.update({name: offsets.norm(dim=1).mean().item()})

    hooks = []
    count = len(network.decoder.joins)
    for level in reversed(range(count)):
        join = network.decoder.joins[level]
        if isinstance(join, AlignedJoin):
            name, module = f"SDFA-{count - level}", join.aggregation
            hooks.append(module.decoded_offsets.register_forward_hook(keep(f"{name} decoded")))
            for path, branch in module.encoder_offsets.items():
                hooks.append(branch.register_forward_hook(keep(f"{name} encoder, {path}")))
    try:
        features = network.encode(image)
        for path in network.paths:
            network.decode(features, image.shape[-2:], path)
    finally:
        for hook in hooks:
            hook.remove()
    return norms


def build(config: SDFANetConfig) -> SDFANet:
    """The network of a config, with random weights."""
    if config.encoder == "resnet18":
        encoder, halvings = Encoder("resnet18.tv_in1k", mean=0, deviation=1), 5
    else:
        stride = 2 if config.encoder == "swin" else 4
        encoder, halvings = SwinEncoder(stride=stride, drop_path=config.drop_path), 4 if stride == 2 else 5
    paths: tuple[DecoderPath, ...] = ("raw", "distilled") if config.decoder in ("sdfa", "oa-distilled") else ("raw",)
    joins = range(1, len(encoder.channels))
    aligned = () if config.decoder == "raw" else joins if config.sdfa_modules is None else config.sdfa_modules
    if not set(aligned) <= set(joins):
        raise UserError(f"sdfa_modules: {config.sdfa_modules}. This encoder has the joins 1 to {joins[-1]}.")
    shared = config.decoder == "oa-distilled"
    decoder = Decoder(encoder.channels, halvings, config.levels, paths, aligned, shared)
    return SDFANet(encoder, decoder, disparity_levels(config.levels, config.min_disparity_px, config.max_disparity_px))


def published_place(network: nn.Module, path: Path) -> NamePlace:
    """Where the authors keep each tensor."""
    return sdfa_net_place(only_checkpoint(path))
