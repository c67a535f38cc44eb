"""The golden steps of SDFA-Net: recipes at small sizes, weights that follow from their names, frames from hashes."""

import warnings
from dataclasses import dataclass, replace

from torch import Tensor, nn

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.samples import Batch
from egodepth.recipes import RECIPES
from tests.golden.steps import fill_by_name, golden_batch, in_float64
from tests.seeded_weights import seeded_tensor

STEPS = 10
PLAIN = {"flip_probability": 0.0, "jitter_probability": 0.0, "min_scale": 1.0, "max_scale": 1.0, "crop": None}


@dataclass(frozen=True)
class Case:
    """One step: of which recipe, at which step of ten, with or without augmentation.

    Attributes:
        size: of the frames.
        crop: of what the network sees; without augmentation the frames have that size.
        wider: by how much the baselines are longer than those of the golden batch, so that more is occluded.
    """

    recipe: str
    step: int
    augmented: bool = True
    seed: int = 0
    size: tuple[int, int] = (64, 160)
    crop: tuple[int, int] = (32, 96)
    wider: float = 1.0


CASES = {
    "first stage, its last step": Case("sdfa-net", 4),
    "second stage, its first step": Case("sdfa-net", 5),
    "second stage, other draws": Case("sdfa-net", 8, seed=2),
    "second stage without augmentation": Case("sdfa-net", 5, augmented=False, seed=1, wider=3.0),
    "offsets without distillation": Case("sdfa-net-oa", 9),
    "neither offsets nor distillation": Case("sdfa-net-raw", 9),
    "ResNet-18": Case("sdfa-net-r18", 6, size=(80, 160), crop=(64, 96)),
}


def batch_of(case: Case) -> Batch:
    """Two pairs, the second with its right view as the target and another baseline."""
    batch = golden_batch(case.size if case.augmented else case.crop, ("stereo",), seed=case.seed)
    return replace(batch, baseline_m=case.wider * batch.baseline_m)


def network_of(case: Case) -> nn.Module:
    return in_float64(fill_by_name(RECIPES[case.recipe].build_networks()["depth"]), "encode", "decode")


def parts_of(network: nn.Module) -> dict[str, nn.Module]:
    """What has a gradient norm of its own: the network, its two halves, and the output of each path."""
    outputs = {f"{path} output": output for path, output in network.decoder.outputs.items()}
    return {"depth": network, "encoder": network.encoder, "decoder": network.decoder, **outputs}


def published_augmentation(case: Case) -> AugmentationConfig:
    """Section 7 of the specification, with the case's window; or nothing at all."""
    if not case.augmented:
        return AugmentationConfig(**PLAIN)
    return AugmentationConfig(
        flip_probability=0.5,
        jitter_probability=0.5,
        colours="tone",
        swap_pairs=True,
        min_scale=0.75,
        max_scale=1.5,
        crop=case.crop,
    )


def classifier_weights() -> dict[str, Tensor]:
    """Tensors of VGG-19's first eight convolutions by `vgg.<position>.<kind>`, as the specification fills them."""
    widths = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)}
    widths |= dict.fromkeys((12, 14, 16), (256, 256))
    kernels = {f"{place}.weight": (after, before, 3, 3) for place, (before, after) in widths.items()}
    biases = {f"{place}.bias": (after,) for place, (_, after) in widths.items()}
    return {key: seeded_tensor(f"vgg.{key}", shape) for key, shape in {**kernels, **biases}.items()}


def method_of(case: Case, network: nn.Module | None = None) -> nn.Module:
    """The training method of the case's recipe, around the case's network or another one."""
    recipe = RECIPES[case.recipe]
    changed = {"crop": case.crop} if case.augmented else PLAIN
    height, width = case.size if case.augmented else case.crop
    recipe = replace(
        recipe,
        height=height,
        width=width,
        pretrained="none",
        perceptual="none",
        augmentation=replace(recipe.augmentation, **changed),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*random features")
        method = recipe.build_method({"depth": network or network_of(case)})
    (perceptual,) = method._perceptual
    if perceptual is not None:
        perceptual.features.load_state_dict(classifier_weights())
    return method
