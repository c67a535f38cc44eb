"""Write tests/reference/golden_steps_self_distilled.json: `python -m tests.golden.write_self_distilled`."""

import torch

from egodepth.data.transforms import augment
from tests.golden.independent_self_distilled import PairViews, training_step
from tests.golden.numbers import write_numbers
from tests.golden.plain_losses import seed_of_step
from tests.golden.self_distilled_cases import (
    CASES,
    STEPS,
    Case,
    batch_of,
    classifier_weights,
    network_of,
    parts_of,
    published_augmentation,
)
from tests.golden.steps import Step

ORIGIN = (
    "Written by `python -m tests.golden.write_self_distilled` from tests/golden/independent_self_distilled.py: losses, "
    "masks, weights and stages of the specification of SDFA-Net (sections 4 to 7) in plain float64, with constants of "
    "its own; the whole loss is differentiated at once, by autograd. Shared with the package are the forward passes of "
    "the network, which run in float64 on seeded weights (tests/seeded_weights.py) and give float32, the views, which "
    "egodepth.data.transforms.augment makes with the settings of section 7, and the order of draws: the views' are "
    "their own, the drop paths' follow from the seed of the step. VGG-19 is filled with keys vgg.<position>.<kind>."
)

DEPARTS = {
    "depth in the distillation": "It follows the resized and cut camera, where the published code keeps the number of "
    "the full width (section 4.3): on purpose, see docs/systems/sdfa-net.md.",
    "place of the crop": "Any pixel of the enlarged frame; the published code takes a whole pixel of the frame before "
    "it is enlarged (section 7).",
    "resampling": "The frames of these cases are whole ones of the training size, which the step enlarges bilinearly; "
    "frames that training reads come in one Lanczos step from the native ones, as in the published code "
    "(tests/data/test_cutting.py).",
}


def expected_step(case: Case) -> Step:
    """The figures of a case by the independent implementation."""
    seen = augment(batch_of(case), published_augmentation(case), 0, case.step)
    views = PairViews(
        target=seen.target.double(),
        other=seen.sources[:, 0].double(),
        target_jittered=seen.target_jittered.double(),
        other_jittered=seen.sources_jittered[:, 0].double(),
        focal_px=seen.intrinsics[:, 0, 0].double(),
        baseline_m=seen.baseline_m.double(),
        side=-seen.stereo_offset.double(),
    )
    network, two_paths = network_of(case).train(), case.recipe in ("sdfa-net", "sdfa-net-r18")
    torch.manual_seed(seed_of_step(0, case.step))
    return training_step(network, parts_of(network), classifier_weights(), views, case.step, STEPS, two_paths)


def main() -> None:
    write_numbers("self_distilled", ORIGIN, DEPARTS, {name: expected_step(case) for name, case in CASES.items()})


if __name__ == "__main__":
    main()
