"""What a data folder is, how many samples it holds, and what is wrong with it, before anything is trained on it.

A fault is what keeps the data from being used, or would spoil training or figures without a word. What is only absent
(no laser scans, one camera) is a note.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from egodepth.data.configurations import FOOTAGE, DataConfig
from egodepth.data.findings import TRIAL_SIZE, DataReport, Findings
from egodepth.data.list_checking import check_lists
from egodepth.data.opening import open_training_sets
from egodepth.data.recognise import kind_of
from egodepth.errors import UserError

FILES_DECODED = 60


def check_data(path: Path | str, split: str | None = None, every_file: bool = False) -> DataReport:
    """Look a data folder through. Never raises for what is wrong with the data: that is what the report is for.

    Args:
        split: the only split whose lists matter: the name of a folder in `splits`, or a path to a folder or a file of
            lists; none checks them all.
        every_file: decode every image and point cloud, instead of some spread over all of them, and find the parts in
            which the camera stands still, which training leaves out.
    """
    path = Path(path)
    findings = Findings(path, decoded=10**9 if every_file else FILES_DECODED)
    kind = None
    with findings.catching():
        kind = kind_of(path)
        kind.check(path, findings)
        check_lists(path, kind, split, findings)
        if every_file and kind.name not in FOOTAGE and not findings.faults:
            findings.note_once(_left_out_of_training(path, split))
        if not findings.counts and not findings.faults:
            findings.faults.append(f"{path}: holds nothing to train or to evaluate on. Unpack the data again.")
    return findings.report(kind.name if kind else None, kind.title if kind else "not a known kind of data")


def _left_out_of_training(path: Path, split: str | None) -> tuple[str, ...]:
    """What training from video leaves out; nothing where the data cannot train so, as pairs without neighbours."""
    with TemporaryDirectory() as cache:
        try:
            config, sources = DataConfig(split=split), (-1, 1)
            return open_training_sets(path, config, "calibrated", sources, *TRIAL_SIZE, Path(cache)).left_out
        except UserError:
            return ()
