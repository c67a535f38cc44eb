"""Frozen features of a classifier, in which a synthesised image is compared with a real one.

Source: the perceptual term of "Self-Distilled Feature Aggregation for Self-Supervised Monocular Depth Estimation"
(Zhou & Dong, ECCV 2022), equation 14, after FAL-Net; the classifier is VGG-19 (Simonyan & Zisserman, 2015).
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers

from egodepth.errors import UserError
from egodepth.networks.sdfa_net import IMAGE_MEAN
from egodepth.networks.weights import check_fit, read_weights

POOLINGS = 3


class PerceptualFeatures(nn.Module):
    """VGG-19 up to its third max-pooling. Its weights are never trained; gradients pass to the image.

    The image's mean is subtracted, as the network's is, but it is not divided by a deviation.
    """

    def __init__(self) -> None:
        super().__init__()
        plan = cfgs["E"]
        ends = [place + 1 for place, width in enumerate(plan) if width == "M"]
        self.features = make_layers(plan[: ends[POOLINGS - 1]]).requires_grad_(False)
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN)[:, None, None], persistent=False)

    def load_pretrained(self, source: str) -> None:
        """Take the weights of a classifier.

        Args:
            source: `imagenet` (torchvision's), the path of a state dictionary with torchvision's key names, or `none`,
                which warns: random features compare edges and colours, but not what they mean.

        Raises:
            UserError: the weights are out of reach, or the file is missing, foreign, or of another architecture.
        """
        if source == "none":
            warnings.warn(
                "the perceptual loss compares random features: give weights of VGG-19 for results like the paper's.",
                stacklevel=2,
            )
            return
        weights = _torchvision_weights() if source == "imagenet" else read_weights(Path(source)).tensors
        remedy = "Give torchvision's ImageNet weights of VGG-19 (vgg19-dcbb9e9d.pth)."
        self.load_state_dict(check_fit(self.state_dict(), weights, source, remedy))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Outputs of the max-poolings, (B, 64 2^i, H / 2^(i+1), W / 2^(i+1)), of an image (B, 3, H, W) in [0, 1]."""
        pooled = []
        state = image - self.image_mean
        for layer in self.features:
            state = layer(state)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(state)
        return pooled


def _torchvision_weights() -> dict[str, Tensor]:
    try:
        return dict(VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True))
    except Exception as error:  # the download raises many unrelated types; to the user they mean the same
        raise UserError(
            f"ImageNet weights of VGG-19 could not be fetched ({type(error).__name__}). Connect for the first run, "
            "give a local file, or compare random features (none)."
        ) from error
