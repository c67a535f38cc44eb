"""What egodepth knows about packs."""

from pathlib import Path

from egodepth.data.configurations import LEARNED_WAYS
from egodepth.data.findings import Findings
from egodepth.data.packs.reading import PackOptions, frame_bytes, is_pack, open_pack, read_manifest
from egodepth.data.record import DatasetKind, TrainingSets, Wanted


def _open(wanted: Wanted) -> TrainingSets:
    config = wanted.config
    options = PackOptions(
        tuple(wanted.source_ids),
        wanted.height,
        wanted.width,
        wanted.intrinsics,
        config.split,
        config.stride,
        config.crop,
        config.sides,
    )
    pack = open_pack(wanted.root, options)
    return TrainingSets(pack.training, pack.validation, pack.left_out, learning=pack.training.learning)


def _check(root: Path, findings: Findings) -> None:
    manifest = read_manifest(root)
    options = PackOptions.of(manifest["options"])
    pack = open_pack(root, options)
    views = ", ".join(map(str, options.source_ids))
    findings.notes.append(f"packed from {manifest['source']} at {options.width}x{options.height}, views {views}")
    pixels = sum(file.stat().st_size for file in root.glob("pixels-*.bin"))
    findings.count("frames", pixels // frame_bytes(options))
    for dataset, use in ((pack.training, "train"), (pack.validation, "validate")):
        if dataset is not None:
            findings.count(f"samples to {use}", len(dataset))
            findings.read(range(len(dataset)), dataset.__getitem__)
    if pack.left_out:
        more = f" and {len(pack.left_out) - 1} more" if len(pack.left_out) > 1 else ""
        findings.notes.append(f"left out: {pack.left_out[0]}{more}")


def _learns_camera(root: Path) -> bool:
    return read_manifest(root)["options"].get("intrinsics") in LEARNED_WAYS


PACKED = DatasetKind(
    name="packed",
    title="a training set packed by egodepth data pack",
    expected="a pack (pack.json)",
    recognise=is_pack,
    check=_check,
    open_training=_open,
    lacks_camera=_learns_camera,
)
