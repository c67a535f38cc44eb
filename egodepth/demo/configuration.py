"""Settings of the demo."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoConfig:
    """What the demo does; the defaults take about six minutes on two processor cores.

    Attributes:
        frames: of the simulated drives.
        steps: of training.
        seed: of the street and of the training.
    """

    frames: int = 240
    steps: int = 300
    seed: int = 0
