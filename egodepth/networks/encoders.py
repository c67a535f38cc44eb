"""Image encoders: thin wrappers over timm, which holds every backbone the papers use and its weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import timm
from timm.models import adapt_input_conv
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.networks.weights import check_fit, read_weights

STRIDES = [2, 4, 8, 16, 32]


class Backbone(nn.Module):
    """A timm model without its classifier; the encoders below differ in which of its features they give.

    Args:
        name: of a timm model that can give features at strides 2 to 32, for example `resnet18`.
        in_channels: 3 for one image, 6 for a pair stacked along the channels.
        options: of timm's model, for example `drop_path_rate`.
    """

    def __init__(self, name: str, in_channels: int = 3, **options: object) -> None:
        super().__init__()
        self.name, self.in_channels = name, in_channels
        self.body = _create(name, in_chans=in_channels, **options)

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
        weights = hub_weights(self.name) if source == "imagenet" else read_weights(Path(source)).tensors
        if "_conv_stem.weight" in weights:
            names = efficientnet_pytorch_names(self.body)
            weights = {names[key]: tensor for key, tensor in weights.items() if key in names}
        expected = self.body.state_dict()
        stem = next(iter(expected))
        if stem in weights:
            weights[stem] = adapt_input_conv(self.in_channels, weights[stem])
        remedy = f"Give ImageNet weights of {self.name} with --pretrained PATH, or start without (--pretrained none)."
        self.body.load_state_dict(check_fit(expected, weights, source, remedy))


class Encoder(Backbone):
    """Five feature maps of an image, at strides 2, 4, 8, 16 and 32.

    Args:
        name, in_channels, options: as for `Backbone`.
        mean, deviation: the input becomes (image - mean) / deviation; one pair for all channels, as in Monodepth2.
            Zero and one leave it as it is.
    """

    def __init__(
        self, name: str, in_channels: int = 3, mean: float = 0.45, deviation: float = 0.225, **options: object
    ) -> None:
        super().__init__(name, in_channels, **options)
        self.mean, self.deviation = mean, deviation

    @property
    def channels(self) -> tuple[int, ...]:
        """Channel count of each of the five features, fine to coarse."""
        return tuple(self.body.feature_info.channels())

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features (B, channels[i], H / 2^(i+1), W / 2^(i+1)) of an image (B, in_channels, H, W) in [0, 1]."""
        return self.body((image - self.mean) / self.deviation)


class HighResolutionEncoder(Backbone):
    """An HRNet that gives what each of its stages makes at each resolution, not the last stage alone.

    The input is not normalised. Coarse branches are enlarged bilinearly between aligned corners before they join
    finer ones, as in HRNet for segmentation; timm's, made for classification, takes the nearest pixel.

    Args:
        name: of a timm HRNet.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, feature_location="")
        for module in self.body.modules():
            if isinstance(module, nn.Upsample):
                module.mode, module.align_corners = "bilinear", True

    @property
    def channels(self) -> tuple[tuple[int, ...], ...]:
        """Channel counts of the features at each of the five strides, fine to coarse; per stride in order of depth."""
        stem, *branches = self.body.feature_info.channels()
        branches_of_stage = range(2, len(branches) + 1)
        of_stages = [
            (width,) * sum(count >= place for count in branches_of_stage) for place, width in enumerate(branches, 1)
        ]
        return (stem,), (self.body.conv2.out_channels, *of_stages[0]), *of_stages[1:]

    def forward(self, image: Tensor) -> list[list[Tensor]]:
        """Features (B, channels[i][j], H / 2^(i+1), W / 2^(i+1)) of an image (B, 3, H, W) in [0, 1].

        At stride 2 the first layer of the stem, at 4 the second one and stages 2 to 4, at 8 stages 2 to 4,
        at 16 stages 3 and 4, at 32 stage 4.
        """
        body = self.body
        half = body.act1(body.bn1(body.conv1(image)))
        quarter = body.act2(body.bn2(body.conv2(half)))
        features = [[half], [quarter], [], [], []]
        branches = [body.layer1(quarter)]
        stages = (body.transition1, body.stage2), (body.transition2, body.stage3), (body.transition3, body.stage4)
        for transition, stage in stages:
            branches = stage(
                [
                    branches[place] if isinstance(change, nn.Identity) else change(branches[-1])
                    for place, change in enumerate(transition)
                ]
            )
            for place, branch in enumerate(branches, 1):
                features[place].append(branch)
        return features


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


HUB_TIMEOUT_S = 5.0
"""How long timm's hub may take to answer before its weights are given up."""


def hub_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights of a timm model, from timm's hub or, where that is out of reach, from what was fetched before.

    Raises:
        UserError: the hub is out of reach and the weights were not fetched before.
    """
    try:
        with _offline_where_the_hub_is_out_of_reach(name):
            return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub's client raises many unrelated types; to the user they mean the same
        raise UserError(
            f"ImageNet weights of {name!r} could not be fetched from timm's hub ({type(error).__name__}). "
            "Connect for the first run (--pretrained imagenet), give a local file (--pretrained PATH), "
            "or start from random weights (--pretrained none)."
        ) from error


@contextmanager
def _offline_where_the_hub_is_out_of_reach(name: str) -> Iterator[None]:
    """Ask the hub once, and keep its client off the network if there is no answer.

    The client retries each of two files five times with growing pauses: without a network that took 47 to 61 s, for
    weights that had been fetched before too.
    """
    config = timm.get_pretrained_cfg(name)
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    if config is not None and config.hf_hub_id and not before:
        try:
            # Any answer counts, an error too: what it means is the client's affair.
            url = huggingface_hub.hf_hub_url(config.hf_hub_id, "model.safetensors")
            huggingface_hub.get_session().head(url, timeout=HUB_TIMEOUT_S)
        except Exception:  # the types differ between versions of the client
            huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before
