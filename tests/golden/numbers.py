"""Numbers of golden steps as data: how they are written, read and compared."""

import json
from pathlib import Path

import pytest

from tests.golden.steps import Step

FOLDER = Path(__file__).parents[1] / "reference"

LOSS_TOLERANCE = 1e-5
"""Relative. SSIM in float32 is off by up to 7e-6 where a picture is smooth, because variances cancel."""

GRADIENT_TOLERANCE = 5e-5
"""Relative, of the norms: those of pose networks, which follow SSIM alone, are off by up to 3e-5."""

SHARE_TOLERANCE = 1e-6
"""Absolute, of shares of pixels: none of 12,288 may change sides."""


def path_of(scheme: str) -> Path:
    return FOLDER / f"golden_steps_{scheme}.json"


def write_numbers(scheme: str, origin: str, departs: dict[str, str], cases: dict[str, Step]) -> None:
    content = {"origin": origin, "departs": departs, "cases": {name: as_data(step) for name, step in cases.items()}}
    path_of(scheme).write_text(json.dumps(content, indent=1) + "\n")


def read_cases(scheme: str) -> dict[str, Step]:
    cases = json.loads(path_of(scheme).read_text())["cases"]
    return {name: Step(**figures) for name, figures in cases.items()}


def as_data(step: Step) -> dict:
    """Nine digits of each figure."""

    def rounded(values: dict[str, float]) -> dict[str, float]:
        return {name: float(f"{value:.9g}") for name, value in values.items()}

    loss = rounded({"loss": step.loss})
    return {**loss, "logged": rounded(step.logged), "gradient_norms": rounded(step.gradient_norms)}


def assert_matches(
    found: Step, expected: Step, losses: float = LOSS_TOLERANCE, gradients: float = GRADIENT_TOLERANCE
) -> None:
    """Compare a training step with its reference numbers; each value that it logs has one."""
    assert found.logged.keys() == expected.logged.keys()
    shares = {name for name in expected.logged if name.endswith("_share")}
    for name, value in expected.logged.items():
        tolerance = {"abs": SHARE_TOLERANCE} if name in shares else {"rel": losses}
        assert found.logged[name] == pytest.approx(value, **tolerance), name
    assert found.loss == pytest.approx(expected.loss, rel=losses)
    assert found.gradient_norms == pytest.approx(expected.gradient_norms, rel=gradients)
