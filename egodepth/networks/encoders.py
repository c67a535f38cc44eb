"""Image encoders: thin wrappers over timm, which holds every backbone the papers use and its weights."""

from pathlib import Path

import timm
from timm.models import adapt_input_conv
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.networks.weights import check_fit, read_weights

STRIDES = [2, 4, 8, 16, 32]


class Encoder(nn.Module):
    """Five feature maps of an image, at strides 2, 4, 8, 16 and 32.

    Args:
        name: of a timm model that can give features at these strides, for example `resnet18`.
        in_channels: 3 for one image, 6 for a pair stacked along the channels.
        mean, deviation: the input becomes (image - mean) / deviation; one pair for all channels, as in Monodepth2.
    """

    def __init__(self, name: str, in_channels: int = 3, mean: float = 0.45, deviation: float = 0.225) -> None:
        super().__init__()
        self.name, self.in_channels = name, in_channels
        self.mean, self.deviation = mean, deviation
        self.body = _create(name, in_chans=in_channels)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channel count of each of the five features, fine to coarse."""
        return tuple(self.body.feature_info.channels())

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features (B, channels[i], H / 2^(i+1), W / 2^(i+1)) of an image (B, in_channels, H, W) in [0, 1]."""
        return self.body((image - self.mean) / self.deviation)

    def load_pretrained(self, source: str) -> None:
        """Start from a classifier's weights.

        Args:
            source: `imagenet` (timm's hub), `none`, or the path of a state dictionary (.pth or .safetensors) with
                the key names of timm, torchvision or the EfficientNet-PyTorch package. For stacked images the
                stem's kernel is repeated along its input channels and divided by their number.

        Raises:
            UserError: the hub is out of reach, or the file is missing, foreign, or of another architecture.
        """
        if source == "none":
            return
        weights = _hub_weights(self.name) if source == "imagenet" else read_weights(Path(source)).tensors
        if "_conv_stem.weight" in weights:
            names = efficientnet_pytorch_names(self.body)
            weights = {names[key]: tensor for key, tensor in weights.items() if key in names}
        expected = self.body.state_dict()
        stem = next(iter(expected))
        if stem in weights:
            weights[stem] = adapt_input_conv(self.in_channels, weights[stem])
        mend = f"Give ImageNet weights of {self.name} with --pretrained PATH, or start without (--pretrained none)."
        self.body.load_state_dict(check_fit(expected, weights, source, mend))


def efficientnet_pytorch_names(body: nn.Module) -> dict[str, str]:
    """Key names of the EfficientNet-PyTorch package, mapped to those of timm's EfficientNet features `body`.

    The package counts the blocks through; timm counts them by stage, and names the layers of a block without
    expansion differently.
    """
    with_expansion = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    without_expansion = {
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1",
        "_project_conv": "conv_pw",
        "_bn2": "bn2",
    }
    squeeze_excitation = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
    renamed = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
    blocks = [
        (f"blocks.{stage}.{place}", block) for stage, row in enumerate(body.blocks) for place, block in enumerate(row)
    ]
    for count, (prefix, block) in enumerate(blocks):
        layers = (with_expansion if hasattr(block, "conv_pwl") else without_expansion) | squeeze_excitation
        renamed |= {f"_blocks.{count}.{theirs}": f"{prefix}.{ours}" for theirs, ours in layers.items()}
    parameters = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{theirs}.{name}": f"{ours}.{name}" for theirs, ours in renamed.items() for name in parameters}


def _create(name: str, **options: object) -> nn.Module:
    try:
        body = timm.create_model(name, features_only=True, out_indices=(0, 1, 2, 3, 4), **options)
    except (RuntimeError, IndexError, AttributeError, AssertionError, TypeError) as error:
        raise UserError(
            f"encoder {name!r}: timm has no such model with five feature levels ({error}). "
            "Choose one that timm.list_models() names, such as resnet18 or tf_efficientnet_lite0."
        ) from error
    strides = body.feature_info.reduction()
    if strides != STRIDES:
        raise UserError(f"encoder {name!r}: its features have strides {strides}, not {STRIDES}. Choose another.")
    return body


def _hub_weights(name: str) -> dict[str, Tensor]:
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub's client raises many unrelated types; to the user they mean the same
        raise UserError(
            f"ImageNet weights of {name!r} could not be fetched from timm's hub ({type(error).__name__}). "
            "Connect for the first run (--pretrained imagenet), give a local file (--pretrained PATH), "
            "or start from random weights (--pretrained none)."
        ) from error
