"""Write tests/reference/golden_steps_multi_frame.json: `python -m tests.golden.write_multi_frame`."""

from dataclasses import replace

import torch

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.transforms import augment
from tests.golden.independent_multi_frame import MultiFrameStep, VideoViews, training_step
from tests.golden.multi_frame_cases import CASES, STEPS, Case, batch_of, networks_of
from tests.golden.numbers import write_numbers
from tests.golden.plain_losses import seed_of_step
from tests.golden.steps import Step

ORIGIN = (
    "Written by `python -m tests.golden.write_multi_frame` from tests/golden/independent_multi_frame.py: losses, "
    "trust, matching augmentation, freezing and bins of the specification of ManyDepth (sections B3 to B8) in plain "
    "float64, with constants of its own; both losses are differentiated at once, by autograd. Shared with the package "
    "are the forward passes of the networks, cost volume included, which run in float64 on seeded weights "
    "(tests/seeded_weights.py) and give float32, the views, which egodepth.data.transforms.augment makes, and the "
    "order of draws: from the seed of the step first the noise of each of the teacher's scales, then one number for "
    "each sample. `min_depth_bin` and `max_depth_bin` are the bins after the step."
)


def independent(case: Case) -> MultiFrameStep:
    """A case by the independent implementation; Monodepth2's flips and colours."""
    seen = augment(batch_of(case), AugmentationConfig(flip_probability=0.5, jitter_probability=0.5), 0, case.step)
    views = VideoViews(
        current=seen.target.double(),
        current_jittered=seen.target_jittered.double(),
        frames={-1: seen.sources[:, 0].double(), 1: seen.sources[:, 1].double()},
        frames_jittered={-1: seen.sources_jittered[:, 0].double(), 1: seen.sources_jittered[:, 1].double()},
        intrinsics=seen.intrinsics.double(),
    )
    networks = {name: network.train() for name, network in networks_of(case).items()}
    torch.manual_seed(seed_of_step(0, case.step))
    return training_step(networks, views, (-1, 1) if case.future else (-1,), case.step, STEPS)


def expected_step(case: Case) -> Step:
    """The figures of a case, with the bins among what is logged."""
    found = independent(case)
    bins = dict(zip(("min_depth_bin", "max_depth_bin"), found.bins, strict=True))
    return replace(found.figures, logged=found.figures.logged | bins)


def main() -> None:
    write_numbers("multi_frame", ORIGIN, {}, {name: expected_step(case) for name, case in CASES.items()})


if __name__ == "__main__":
    main()
