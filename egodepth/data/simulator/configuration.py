"""Settings of the simulator, as plain data."""

from dataclasses import dataclass

from egodepth.errors import UserError

FEWEST_FRAMES = 8
MOST_TEST_DRIVES = 8


@dataclass(frozen=True)
class SimulatorConfig:
    """What to simulate.

    Attributes:
        frames: stereo frames of all drives together; of two drives, about a quarter of them is the test drive.
        height, width: of the pictures in pixels.
        seed: of the whole world; the same seed gives the same bytes.
        baseline_m: distance of the two cameras.
        moving_cars: let a car drive ahead and others come towards the camera; in varied drives people walk and
            cycle, too.
        frames_per_second: of the cameras; the car drives 5 to 12 m/s.
        varied: draw for each drive a place, its road, bends and hills, the weather and light, and a camera: 40 to 110
            degrees wide, 1.1 to 2.6 m above the road, with its own exposure, colours, vignette, blur and noise. Each
            drive then lies under a date of its own, with its own calibration.
        fov: horizontal field of view of all varied drives in degrees, in place of one drawn for each.
        camera_height: how many metres the cameras of all varied drives stand above the road, in place of heights drawn.
        drives: how many drives share the frames. One in four, and eight at most, test; the others train, and the end
            of each validates.
    """

    frames: int = 60
    height: int = 128
    width: int = 416
    seed: int = 0
    baseline_m: float = 0.54
    moving_cars: bool = False
    frames_per_second: float = 10.0
    varied: bool = False
    fov: float | None = None
    camera_height: float | None = None
    drives: int = 2

    def __post_init__(self) -> None:
        bounds = {
            "frames": (FEWEST_FRAMES, 100_000, "so that training, validation and test frames have neighbours"),
            "height": (32, 2048, "pixels"),
            "width": (32, 4096, "pixels"),
            "seed": (0, 2**63 - 1, "a whole number"),
            "baseline_m": (0.01, 2.0, "metres"),
            "frames_per_second": (1.0, 120.0, "of the cameras"),
            "fov": (20, 120, "degrees"),
            "camera_height": (0.3, 5.0, "metres"),
            "drives": (2, 9999, "one to train on and one to test on at least"),
        }
        for name, (low, high, meaning) in bounds.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f"simulate: {name} is {value}; choose {low} to {high} ({meaning}).")
        if not self.varied and (self.fov, self.camera_height) != (None, None):
            raise UserError("simulate: fov and camera_height are of varied drives. Give --varied, or leave them out.")
        fewest = FEWEST_FRAMES // 2 * self.drives
        if self.frames < fewest:
            raise UserError(
                f"simulate: frames is {self.frames} for {self.drives} drives; choose {fewest} "
                "or more, 4 for each drive, so that each frame that trains or tests has neighbours."
            )

    def shares(self) -> tuple[list[int], list[int]]:
        """Frames of each training drive and of each test drive."""
        if self.drives == 2:
            test = max(3, round(self.frames / 4))
            return [self.frames - test], [test]
        least, more = divmod(self.frames, self.drives)
        lengths = [least + (number < more) for number in range(self.drives)]
        tests = min(max(1, self.drives // 4), MOST_TEST_DRIVES)
        return lengths[:-tests], lengths[-tests:]
