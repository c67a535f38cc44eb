"""Make tests/reference/golden_steps_view_synthesis.json: `python -m tests.golden.write_view_synthesis`.

The numbers come from `independent_view_synthesis` alone; the package's training steps are built for their networks.
"""

import json
from pathlib import Path

from tests.golden.independent_view_synthesis import independent_step
from tests.golden.steps import Step
from tests.golden.view_synthesis_cases import CASES, STEPS, Case, batch_of, build_case

PATH = Path(__file__).parents[1] / "reference" / "golden_steps_view_synthesis.json"

ORIGIN = (
    "Written by `python -m tests.golden.write_view_synthesis` from tests/golden/independent_view_synthesis.py: the "
    "formulas of the specification of Monodepth2 (sections 2, 4, 5, 7), of that of FA-Depth (sections 2.3, 4, 5, 7) "
    "and of the loss reference (sections 1 to 4), in plain float64, with constants of its own; gradients by autograd "
    "through it. Shared with the package are the forward passes of the networks, which run in float64 on seeded "
    "weights (tests/seeded_weights.py) and give float32, and the generator's order: networks first, then the noise "
    "that breaks ties. Views are float32; flips, crops, cameras and what is drawn are written out anew, the four "
    "colour operations and the antialiased resizing are torchvision's and PyTorch's."
)


def expected_step(case: Case) -> Step:
    """The figures of a case by the independent implementation."""
    method = build_case(case)
    teacher = method.training_setup.teacher
    return independent_step(case, batch_of(case), method.networks(), teacher and teacher.network)


def as_data(step: Step) -> dict:
    def rounded(values: dict[str, float]) -> dict[str, float]:
        return {name: float(f"{value:.9g}") for name, value in values.items()}

    return {
        "loss": float(f"{step.loss:.9g}"),
        "logged": rounded(step.logged),
        "gradient_norms": rounded(step.gradient_norms),
    }


def main() -> None:
    cases = {name: {"step": case.step} | as_data(expected_step(case)) for name, case in CASES.items()}
    content = {"origin": ORIGIN, "steps": STEPS, "cases": cases}
    PATH.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
