"""Settings of the training schemes, as plain data.

They stand apart from the schemes so that a command line is read without PyTorch.
"""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam or AdamW, and how the learning rate goes.

    Attributes:
        algorithm: Adam, or AdamW with its decoupled weight decay.
        learning_rate: rate at the start, or at the top of the warm-up.
        beta1, beta2: decay of the running averages of the gradient and of its square.
        weight_decay: strength of AdamW's decay.
        epochs: length of the published schedule; --steps squeezes the same schedule into that many steps.
        schedule: `steps` multiplies the rate at each of the decay epochs, `cosine` lets it fall to the final rate.
        decay_epochs: epochs after which the rate drops, for `steps`.
        decay_factor: factor of each such drop.
        warm_up: share of the run over which the rate rises from zero.
        final_learning_rate: rate at which the cosine ends.
    """

    algorithm: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    epochs: int = 20
    schedule: Literal["steps", "cosine"] = "steps"
    decay_epochs: tuple[int, ...] = (15,)
    decay_factor: float = 0.1
    warm_up: float = 0.0
    final_learning_rate: float = 1e-6


@dataclass(frozen=True)
class LearnedCameraConfig:
    """How the intrinsics of footage are found and learnt (--intrinsics learned, learned-each).

    Attributes:
        rate: learning rate of the principal point, as a multiple of the optimiser's.
        freeze_from: share of the run after which it stays as it is.
        largest_uncertainty: the footage determines a focal length where its pictures agree on it to this share, as
            those of a camera do that turns (egodepth/calibration/turning.py).
        insist: end where it does not; otherwise it is said, and the camera stays as it starts.
    """

    rate: float = 30.0
    freeze_from: float = 0.75
    largest_uncertainty: float = 0.06
    insist: bool = True


@dataclass(frozen=True)
class PhotometricConfig:
    """The loss of Monodepth2.

    Attributes:
        ssim_weight: alpha of equation 3; the rest is L1.
        smoothness_weight: lambda, at the finest scale; halved with each coarser one.
        auto_mask: leave out pixels that an un-warped source explains better (equation 5).
        tie_break: standard deviation of the noise that decides between equal errors.
        align_corners: sample as the geometry means it. False repeats the published code on PyTorch 1.3 and later.
    """

    ssim_weight: float = 0.85
    smoothness_weight: float = 1e-3
    auto_mask: bool = True
    tie_break: float = 1e-5
    align_corners: bool = True


LevelName = Literal["low", "high", "flip", "colour"]


@dataclass(frozen=True)
class Level:
    """What one form of the views weighs.

    Attributes:
        alpha: of the loss of these views, at their own resolution.
        beta: of the distance between these disparities and those of the views as they are.
        gamma: of the distance between the features.
        distance: `divergence` is the symmetric divergence of softmaxed rows and columns, `l1` the mean difference.
    """

    alpha: float
    beta: float
    gamma: float
    distance: Literal["divergence", "l1"] = "divergence"


@dataclass(frozen=True)
class PyramidConfig:
    """The four forms beside the views as they are, with the paper's coefficients (table IX).

    Attributes:
        low, high: at 0.8 and 1.2 times the size.
        flip: mirrored left to right.
        colour: with other colours.
        sequential: differentiate each form before the next is looked at, so that memory is one form's. False adds
            the losses up first; the agreement then pulls both sides.
        rescaled: judge low and high at the size of the views as they are, instead of at their own.
    """

    low: Level = Level(0.5, 1.0, 0.5)
    high: Level = Level(0.5, 0.5, 0.1)
    flip: Level = Level(1.0, 0.1, 0.5)
    colour: Level = Level(1.0, 0.1, 0.1, "l1")
    sequential: bool = True
    rescaled: bool = False

    def levels(self) -> dict[LevelName, Level]:
        """The forms that weigh anything."""
        forms: dict[LevelName, Level] = {"low": self.low, "high": self.high, "flip": self.flip, "colour": self.colour}
        return {name: level for name, level in forms.items() if level.alpha or level.beta or level.gamma}


@dataclass(frozen=True)
class DistillationConfig:
    """What of the teacher weighs how much. The paper names no figures.

    Each map is divided by its own spread before the softmax, and each part is the mean over its maps. So a part's
    gradient depends neither on units nor on how many maps there are, and no map rules the others. With these weights
    each part gives the encoder about a tenth of the gradient that L_cr gives (docs/decisions.md).

    Attributes:
        encoder_weight, decoder_weight: of the features' channel means.
        disparity_weight: of the disparities.
        near_share: pixels whose disparity is under this share of the image's median are left out: the far field.
        synthesis_weight: of the loss of view synthesis beside all that; 0 leaves it out and warps nothing.
    """

    encoder_weight: float = 0.02
    decoder_weight: float = 0.02
    disparity_weight: float = 0.02
    near_share: float = 0.3
    synthesis_weight: float = 1.0


@dataclass(frozen=True)
class TaughtDepthConfig:
    """How a network learns from depth maps beside view synthesis, or in its place.

    Attributes:
        weight: of the distance to the maps.
        gradient_weight: of the agreement of borders beside it.
        synthesis_weight: of the loss of view synthesis; 0 leaves it out and warps nothing.
        checked: a map is believed only where the views do not contradict it: warped by its depth they look like the
            target as well as warped by the network's own, or better.
    """

    weight: float = 0.1
    gradient_weight: float = 0.5
    synthesis_weight: float = 1.0
    checked: bool = False


@dataclass(frozen=True)
class MultiFrameConfig:
    """The losses of ManyDepth and its matching augmentation.

    Attributes:
        lookups: time offsets of the frames that are matched with; -1 is the one before.
        ssim_weight: alpha of the photometric error; the rest is L1.
        smoothness_weight: at the finest scale; halved with each coarser one.
        tie_break: standard deviation of the noise that decides between equal errors.
        freeze_from: share of the run after which teacher and pose network stay as they are.
        static_share: of samples whose lookup frames are the current one, as if the camera stood still.
        missing_share: of samples whose lookup frames are withheld.
    """

    lookups: tuple[int, ...] = (-1,)
    ssim_weight: float = 0.85
    smoothness_weight: float = 1e-3
    tie_break: float = 1e-5
    freeze_from: float = 0.75
    static_share: float = 0.25
    missing_share: float = 0.25


@dataclass(frozen=True)
class SelfDistilledConfig:
    """The losses of SDFA-Net, and the ablations of its self-distillation.

    Attributes:
        ssim_weight: share of the structural part in the error that the photometric mask compares (equation 10).
        perceptual_weight: beta of equation 14; at 0 colours alone are compared.
        raw_smoothness_weight, distilled_smoothness_weight: lambda 1 and 3 of equation 18.
        distillation_weight: lambda 2.
        distil_from: share of the run after which the distilled path is trained too.
        photometric_mask, visible_mask: distil only where the raw depth explains the image well, and where the other
            camera sees the pixel.
        mirror: the distilled path decodes mirrored features.
        reference_baseline_m: the baseline that the network's disparities are meant for; those of a pair with another
            one are scaled.
    """

    ssim_weight: float = 0.85
    perceptual_weight: float = 0.01
    raw_smoothness_weight: float = 0.0008
    distilled_smoothness_weight: float = 0.0016
    distillation_weight: float = 0.01
    distil_from: float = 0.5
    photometric_mask: bool = True
    visible_mask: bool = True
    mirror: bool = True
    reference_baseline_m: float = 0.54


@dataclass(frozen=True)
class PriorGuidedConfig:
    """The rich-resource guided loss, and how much of the prior a step sees.

    Attributes:
        photometric_weight: alpha, of the view synthesis.
        gradient_weight: beta, of the gradient consistency.
        auxiliary_weight: of the depth found in the prior, relative to the image's mean depth.
        references_per_step: drawn anew for each step, the same for the whole batch; 8,000 cost a third of it.
        rich_synthesis: the views are explained at the teacher's size; False does it at the student's, as without the
            guidance.
        reliable_only: the teacher's depth counts only where its single-frame network agrees with it.
        affinity_rate: learning rate of alignments and temperature, as a multiple of the optimiser's.
        affinity_alone: share of the run in which they learn alone, at its start.
        encoder_rate: learning rate of the student's encoder in the first `encoder_epochs`, as a share of the
            optimiser's.
        encoder_epochs: how many of the schedule's epochs that lasts.
        photometric: the view synthesis.
    """

    photometric_weight: float = 1.0
    gradient_weight: float = 0.1
    auxiliary_weight: float = 1.0
    references_per_step: int = 25_000
    rich_synthesis: bool = True
    reliable_only: bool = False
    affinity_rate: float = 30.0
    affinity_alone: float = 0.0
    encoder_rate: float = 0.1
    encoder_epochs: float = 1.0
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)
