"""What the papers claim, the experiments that can show it, and what came out: benchmarks/claims.toml and docs/measured.

An experiment has arms, trained alike but for what is compared, each with several seeds. Arms of a seed have the same
first weights, where they have the same networks, and the same order of data; so a claim is judged seed by seed.
"""

import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.region_masks import RegionKind
from egodepth.errors import UserError
from egodepth.evaluation.metrics import HIGHER_IS_BETTER
from egodepth.reproduction.measured import Measured

CLAIMS = Path(__file__).with_name("claims.toml")

Verdict = Literal["holds", "does not hold", "not shown"]


@dataclass(frozen=True)
class Arm:
    """One of the things that an experiment compares.

    Attributes:
        train: recipe and its own options, as typed; `@NAME` stands for the run of another arm with the same seed.
        evaluates: the arm whose run is looked at in another way; then nothing is trained.
        frames: `one` gives a network of several frames its single-frame part alone.
        rung: what the acceptance ladder of RPrDepth calls it, in an experiment that is one.
        offsets: also measure how far SDFA-Net's offsets reach.
    """

    name: str
    train: str = ""
    evaluates: str | None = None
    frames: Literal["all", "one"] = "all"
    rung: str | None = None
    offsets: bool = False

    def file_name(self, experiment: str, seed: int) -> str:
        """The name of its measurement, and of its run folder."""
        letters = "".join(letter if letter.isalnum() else " " for letter in self.name.lower())
        return f"{experiment}-{'-'.join(letters.split())}-{seed}"


@dataclass(frozen=True)
class Experiment:
    """A setting, and what is compared in it.

    Attributes:
        setting: in words, as the table shows it.
        train_on, test_on: names of places that the command line gives, or of simulated drives.
        start: what weights all arms start from.
        simulate: options of `egodepth simulate`, where DATA is made.
        options: of all arms.
        regions: of simulated frames whose errors are told apart.
        ladder: it is RPrDepth's acceptance ladder, `benchmarks/rprdepth_acceptance.py`, and its arms are rungs.
    """

    name: str
    setting: str
    data: str
    train_on: str
    test_on: str
    protocol: str
    options: str
    seeds: tuple[int, ...]
    arms: Mapping[str, Arm]
    scaling: Literal["median", "none"] = "median"
    start: str = "random"
    simulate: str | None = None
    regions: RegionKind | None = None
    ladder: bool = False


@dataclass(frozen=True)
class Claim:
    """What a paper says.

    Attributes:
        better: the arm that is said to be the better one; `than`: the other.
        figure: of both; a name of `Evaluated.metrics`.
        than_figure: of the other arm, where it is another one.
        within: by how much the better arm may be worse, where it is said to be as good.
    """

    paper: str
    words: str
    experiment: str
    better: str
    than: str
    figure: str = "abs_rel"
    than_figure: str | None = None
    within: float = 0.0


@dataclass(frozen=True)
class Found:
    """A claim with its figures, one of each seed that both arms have.

    Attributes:
        gains: by how much the better arm is better, seed by seed.
    """

    claim: Claim
    better: tuple[float, ...] = field(default=())
    than: tuple[float, ...] = field(default=())

    @property
    def gains(self) -> tuple[float, ...]:
        sign = 1 if self.claim.figure in HIGHER_IS_BETTER else -1
        return tuple(sign * (one - other) for one, other in zip(self.better, self.than, strict=True))

    @property
    def verdict(self) -> Verdict:
        """`holds` and `does not hold` need two seeds at least, and all of them to agree."""
        kept = [gain >= -self.claim.within and (gain > 0 or self.claim.within > 0) for gain in self.gains]
        if len(kept) < 2 or any(kept) != all(kept):
            return "not shown"
        return "holds" if all(kept) else "does not hold"


def mean_and_spread(figures: Sequence[float]) -> str:
    """Mean and standard deviation over seeds, in words; one figure alone has no spread."""
    mean = f"{statistics.fmean(figures):.3f}"
    return f"{mean} ± {statistics.stdev(figures):.3f}" if len(figures) > 1 else mean


def find(claim: Claim, measured: Sequence[Measured]) -> Found:
    """The figures of a claim's two arms from all that was measured."""
    better = _by_seed(measured, claim.experiment, claim.better, claim.figure)
    than = _by_seed(measured, claim.experiment, claim.than, claim.than_figure or claim.figure)
    seeds = sorted(set(better) & set(than))
    return Found(claim, tuple(better[seed] for seed in seeds), tuple(than[seed] for seed in seeds))


def read_claims(file: Path = CLAIMS) -> tuple[dict[str, Experiment], list[Claim]]:
    """Experiments by name, and all claims.

    Raises:
        UserError: a claim names an experiment, or an arm, that is not there.
    """
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    experiments = {name: _experiment(name, entry) for name, entry in values["experiment"].items()}
    claims = [Claim(**entry) for entry in values["claim"]]
    for claim in claims:
        arms = experiments[claim.experiment].arms if claim.experiment in experiments else {}
        if not {claim.better, claim.than} <= set(arms):
            raise UserError(f"{file}: {claim.words!r} names what is no arm of {claim.experiment}. Correct it.")
    return experiments, claims


def _experiment(name: str, values: dict[str, Any]) -> Experiment:
    arms = {
        arm: Arm(arm, train=entry) if isinstance(entry, str) else Arm(arm, **entry)
        for arm, entry in values.pop("arms").items()
    }
    return Experiment(name, arms=arms, seeds=tuple(values.pop("seeds")), **values)


def _by_seed(measured: Sequence[Measured], experiment: str, arm: str, figure: str) -> dict[int, float]:
    of_arm = (one for one in measured if one.table == experiment and one.model == arm and one.seed is not None)
    return {one.seed: one.results[0].metrics[figure] for one in of_arm if figure in one.results[0].metrics}
