"""The Swin Transformer as an encoder of dense features, with a patch embedding of stride 2 or 4.

Source: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows" (ICCV 2021), with the
stride of the patch embedding from "Self-Distilled Feature Aggregation for Self-Supervised Monocular Depth Estimation"
(Zhou & Dong, ECCV 2022), section 3.1.

The layers and their weights are timm's. What differs is how a map is cut into windows: a map whose size is no multiple
of the window is first padded, then shifted, as in Swin for detection and segmentation; timm shifts first, so that the
padding lies elsewhere and other tokens share a window.
"""

import re
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from torch import Tensor, nn

from egodepth.networks.encoders import hub_weights
from egodepth.networks.weights import check_fit, read_weights

SWIN_TINY = "swin_tiny_patch4_window7_224.ms_in1k"

APART = -100.0
"""Added to the attention between tokens of one window that are no neighbours in the picture."""


class SwinEncoder(nn.Module):
    """Four feature maps of an image, each behind a layer normalisation of its own.

    Args:
        name: of a timm Swin Transformer.
        stride: of the patch embedding. Its kernel stays 4x4, so that weights made with stride 4 fit either.
        drop_path: the stochastic depth of the last block; it grows linearly from zero in the first.
    """

    def __init__(self, name: str = SWIN_TINY, stride: int = 2, drop_path: float = 0.3) -> None:
        super().__init__()
        self.name, self.stride = name, stride
        body = timm.create_model(
            name,
            num_classes=0,
            drop_path_rate=drop_path,
            always_partition=True,
            strict_img_size=False,
        )
        self.patch_embed, self.layers = body.patch_embed, body.layers
        self.channels = tuple(int(info["num_chs"]) for info in body.feature_info)
        self.norms = nn.ModuleList(map(nn.LayerNorm, self.channels))

    def load_pretrained(self, source: str) -> None:
        """Start from a classifier's weights; the normalisations behind the stages have none and stay as they are.

        Args:
            source: `imagenet` (timm's hub), `none`, or the path of a state dictionary (.pth or .safetensors) with
                the key names of timm or of the Swin project, which keeps it under the key `model`.

        Raises:
            UserError: the hub is out of reach, or the file is missing, foreign, or of another architecture.
        """
        if source == "none":
            return
        weights = hub_weights(self.name) if source == "imagenet" else _file_weights(Path(source))
        expected = {key: tensor for key, tensor in self.state_dict().items() if not key.startswith("norms.")}
        remedy = f"Give ImageNet weights of {self.name} with --pretrained PATH, or start without (--pretrained none)."
        self.load_state_dict(check_fit(expected, weights, source, remedy), strict=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features (B, channels[i], H / (stride 2^i), W / (stride 2^i)), fine to coarse, of an image (B, 3, H, W).

        The image is normalised by the caller. Sizes that do not divide are rounded up.
        """
        tokens = self.embedded(image)
        features = []
        for stage, norm in zip(self.layers, self.norms, strict=True):
            tokens = stage.downsample(tokens)
            for block in stage.blocks:
                tokens = tokens + block.drop_path1(window_attention(block, block.norm1(tokens)))
                tokens = tokens + block.drop_path2(block.mlp(block.norm2(tokens)))
            features.append(norm(tokens).permute(0, 3, 1, 2).contiguous())
        return features

    def embedded(self, image: Tensor) -> Tensor:
        """Tokens (B, h, w, C) of an image (B, 3, H, W)."""
        projection = self.patch_embed.proj
        kernel = projection.kernel_size[0]
        height, width = image.shape[-2:]
        image = F.pad(image, (0, -width % kernel, 0, -height % kernel))
        padding = (kernel - self.stride) // 2
        patches = F.conv2d(image, projection.weight, projection.bias, stride=self.stride, padding=padding)
        return self.patch_embed.norm(patches.permute(0, 2, 3, 1))


def window_attention(block: SwinTransformerBlock, tokens: Tensor) -> Tensor:
    """Attention of a block within its (shifted) windows, over maps (B, H, W, C) padded to whole windows.

    Padded tokens are zero and take part; the shift alone keeps tokens apart.
    """
    height, width = tokens.shape[1:3]
    (window_height, window_width), (down, right) = block.window_size, block.shift_size
    padded = F.pad(tokens, (0, 0, 0, -width % window_width, 0, -height % window_height))
    size = padded.shape[1:3]
    mask = None
    if down or right:
        padded = padded.roll((-down, -right), dims=(1, 2))
        mask = shift_mask(size, block.window_size, block.shift_size, tokens)
    windows = window_partition(padded, block.window_size).flatten(1, 2)
    attended = block.attn(windows, mask=mask).unflatten(1, block.window_size)
    merged = window_reverse(attended, block.window_size, *size)
    if down or right:
        merged = merged.roll((down, right), dims=(1, 2))
    return merged[:, :height, :width]


def shift_mask(size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int], like: Tensor) -> Tensor:
    """What to add to the attention of a shifted map: (windows, tokens, tokens), 0 or `APART`.

    The shift brings the first rows and columns behind the last ones; in the windows over that seam, tokens of either
    side do not see each other. (Section 3.2 and figure 4 of the Swin paper.)
    """
    rows, columns = (
        (index >= length - extent).int() + (index >= length - step)
        for length, extent, step in zip(size, window, shift, strict=True)
        for index in [torch.arange(length, device=like.device)]
    )
    region = 3 * rows[:, None] + columns
    regions = window_partition(region[None, ..., None], window).flatten(1)
    apart = regions[:, None, :] != regions[:, :, None]
    return torch.zeros_like(apart, dtype=like.dtype).masked_fill(apart, APART)


def _file_weights(path: Path) -> dict[str, Tensor]:
    """Weights by timm's names; the Swin project counts a patch merging to the stage before, timm to the one after."""
    content = read_weights(path)
    weights = content.tensors or content.entries.get("model", {})
    if "layers.0.downsample.norm.weight" not in weights:
        return weights
    return {
        re.sub(r"^layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) + 1}.downsample", key): tensor
        for key, tensor in weights.items()
    }
