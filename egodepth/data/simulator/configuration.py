"""Settings of the simulator, as plain data."""

from dataclasses import dataclass

from egodepth.errors import UserError

FEWEST_FRAMES = 8


@dataclass(frozen=True)
class SimulatorConfig:
    """What to simulate.

    Attributes:
        frames: stereo frames of both drives together; about a quarter of them is the test drive.
        height, width: of the pictures in pixels.
        seed: of the whole world; the same seed gives the same bytes.
        baseline_m: distance of the two cameras.
        moving_cars: let a car drive ahead and others come towards the camera.
        frames_per_second: of the cameras; the car drives 5 to 12 m/s.
    """

    frames: int = 60
    height: int = 128
    width: int = 416
    seed: int = 0
    baseline_m: float = 0.54
    moving_cars: bool = False
    frames_per_second: float = 10.0

    def __post_init__(self) -> None:
        bounds = {
            "frames": (FEWEST_FRAMES, 100_000, "so that training, validation and test frames have neighbours"),
            "height": (32, 2048, "pixels"),
            "width": (32, 4096, "pixels"),
            "seed": (0, 2**63 - 1, "a whole number"),
            "baseline_m": (0.01, 2.0, "metres"),
            "frames_per_second": (1.0, 120.0, "of the cameras"),
        }
        for name, (low, high, meaning) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"simulate: {name} is {value}; choose {low} to {high} ({meaning}).")
