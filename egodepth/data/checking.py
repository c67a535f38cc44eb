"""What a data folder is, how many samples it holds, and what is wrong with it, before anything is trained on it.

A fault is what keeps the data from being used, or would spoil training or figures without a word. What is only absent
(no laser scans, one camera) is a note.
"""

from pathlib import Path

from egodepth.data.findings import DataReport, Findings
from egodepth.data.list_checking import check_lists
from egodepth.data.recognise import kind_of

FILES_DECODED = 60


def check_data(path: Path | str, split: str | None = None, every_file: bool = False) -> DataReport:
    """Look a data folder through. Never raises for what is wrong with the data: that is what the report is for.

    Args:
        split: the only split whose lists matter: the name of a folder in `splits`, or a path to a folder or a file of
            lists; none checks them all.
        every_file: decode every image and point cloud, instead of some spread over all of them.
    """
    path = Path(path)
    findings = Findings(path, decoded=10**9 if every_file else FILES_DECODED)
    kind = None
    with findings.catching():
        kind = kind_of(path)
        kind.check(path, findings)
        check_lists(path, kind, split, findings)
        if not findings.counts and not findings.faults:
            findings.faults.append(f"{path}: holds nothing to train or to evaluate on. Unpack the data again.")
    return findings.report(kind.name if kind else None, kind.title if kind else "not a known kind of data")
