"""Write tests/reference/golden_steps_prior_guided.json: `python -m tests.golden.write_prior_guided`."""

import torch

from egodepth.data.configurations import AugmentationConfig
from egodepth.data.transforms import augment
from tests.golden.independent_prior_guided import RichViews, training_step
from tests.golden.numbers import write_numbers
from tests.golden.plain_losses import seed_of_step
from tests.golden.prior_guided_cases import (
    CASES,
    SIZE,
    Case,
    batch_of,
    networks_of,
    parts_of,
    references,
    teacher_networks,
)
from tests.golden.steps import Step

ORIGIN = (
    "Written by `python -m tests.golden.write_prior_guided` from tests/golden/independent_prior_guided.py: fusion, "
    "losses, weights and reliability of the specification of RPrDepth (sections 3 to 6) in plain float64, with "
    "constants of its own; gradients by autograd. Shared with the package are the layers of the student, of the "
    "pose network and of the teachers, which run in float64 on seeded weights (tests/seeded_weights.py) and give "
    "float32, the views, which egodepth.data.transforms.augment makes, PyTorch's antialiased resizing, and the order "
    "of draws: from the seed of the step first the references, then the noise of each scale."
)

DEPARTS = {
    "gradient of L_aux": "It reaches the student below the tap, in the package and here. The corrections at the head "
    "of the specification stop it at the tap, so that it trains the affinity alone. Only the gradient norm of the "
    "depth network depends on it.",
    "depth that is found": "Averaged as depth (section 4.2), in the package and here; the corrections at the head of "
    "the specification find an average of inverse depths better.",
    "joining": "A bias in place of a batch norm, and the kernel as a difference to the identity: on purpose, see "
    "egodepth/networks/rprdepth.py.",
}


def expected_step(case: Case) -> Step:
    """The figures of a case by the independent implementation; the flips and colours of Monodepth2 and DIFFNet."""
    seen = augment(batch_of(case), AugmentationConfig(flip_probability=0.5, jitter_probability=0.5), 0, case.step)
    views = RichViews(
        target=seen.target.double(),
        target_jittered=seen.target_jittered.double(),
        sources={-1: seen.sources[:, 0].double(), 1: seen.sources[:, 1].double()},
        sources_jittered={-1: seen.sources_jittered[:, 0].double(), 1: seen.sources_jittered[:, 1].double()},
        intrinsics=seen.intrinsics.double(),
    )
    networks = {name: network.train() for name, network in networks_of(case).items()}
    teacher, held = teacher_networks(case), references()
    torch.manual_seed(seed_of_step(0, case.step))
    return training_step(
        networks,
        parts_of(networks),
        teacher,
        (held.features, held.depths),
        views,
        SIZE,
        case.references_per_step,
        case.reliable_only,
    )


def main() -> None:
    write_numbers("prior_guided", ORIGIN, DEPARTS, {name: expected_step(case) for name, case in CASES.items()})


if __name__ == "__main__":
    main()
