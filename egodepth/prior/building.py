"""Making a prior: from a teacher and a training set to a reference set, and from a large set to the part that counts.

Source: RPrDepth (ECCV 2024), sections on the reference dataset and on attention guided feature selection;
specification sections 3 and 6. Both can be killed at any time and go on where they were, to the same file.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from egodepth.checked_json import read_object
from egodepth.data.samples import Batch, TrainingDataset
from egodepth.data.transforms import Views, without_augmentation
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.methods.rich_teachers import Reading, RichTeacher
from egodepth.networks.attention import best_references
from egodepth.networks.configurations import RPrDepthConfig
from egodepth.networks.disparity import DisparityNetwork
from egodepth.networks.prior import TENSORS, ReferenceSet, clustered, network_hash
from egodepth.networks.rprdepth import RPrDepth
from egodepth.networks.weights import read_tensors, save_tensors
from egodepth.progress import progress_bar
from egodepth.recipes.prior_guided import IMAGES, KEEP, PIXELS_PER_IMAGE

BANDS = 10
"""Rows of the image are taken in this many bands with as many pixels each, so that far and near are both there."""

IMAGES_PER_PART = 50
REPEAT = "Remove it and repeat the call, which goes on with the others."

SETTINGS_FILE = "settings.json"


def build_reference_set(
    teacher: RichTeacher,
    dataset: TrainingDataset,
    out: Path,
    images: int = IMAGES,
    pixels_per_image: int = PIXELS_PER_IMAGE,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> ReferenceSet:
    """Sample a teacher's features and depths on training images, and write them as a reference set.

    Finished images are kept beside `out` until it is whole, so the same call goes on with one that was stopped.

    Args:
        dataset: of the teacher's size and with its sources.
        out: a .safetensors file. If it is there and of the same settings, it is read and nothing is done.
        images: drawn without replacement; all of the dataset if it has no more.
        pixels_per_image: continuous positions, interpolated bilinearly.

    Raises:
        UserError: the dataset lacks what the teacher needs, or `out` holds a set of other settings.
    """
    out, images = Path(out), min(images, len(dataset))
    if missing := [str(source) for source in teacher.sources if source not in dataset.source_ids]:
        raise UserError(f"prior: the teacher needs the views {', '.join(missing)}. Open the data with them.")
    if images < 1 or pixels_per_image < 1:
        raise UserError(f"prior: {images} images with {pixels_per_image} pixels each make no set. Give more.")
    size = tuple(dataset[0].target.shape[-2:])
    settings = {
        "teacher": teacher.hash(),
        "images": images,
        "of_images": len(dataset),
        "pixels_per_image": pixels_per_image,
        "seed": seed,
        "height": size[0],
        "width": size[1],
    }
    if out.is_file():
        return _checked(ReferenceSet.load(out), settings, out)
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:images].tolist()
    parts = out.with_name(f".{out.stem}.parts")
    _check_parts(parts, settings)
    teacher.to(torch.device(device))
    groups = [chosen[start : start + IMAGES_PER_PART] for start in range(0, images, IMAGES_PER_PART)]
    files = [parts / f"{number:05}.safetensors" for number in range(len(groups))]
    for file, group in _shown(list(zip(files, groups, strict=True)), "building the prior", progress):
        if not file.is_file():
            sampled = [_sampled(teacher, dataset, index, pixels_per_image, seed, device) for index in group]
            features, depths = (torch.cat(values) for values in zip(*sampled, strict=True))
            save_tensors(file, {"features": features, "depths": depths})
    loaded = [read_tensors(file, REPEAT)[0] for file in files]
    provenance = settings | {"names": [dataset[index].name for index in chosen]}
    features, depths = (torch.cat([part[name] for part in loaded]) for name in ("features", "depths"))
    references = ReferenceSet.of(features, depths, provenance)
    references.save(out)
    shutil.rmtree(parts)
    return references


def positions(count: int, seed: int, index: int) -> Tensor:
    """`count` random places on an image, (count, 2) float32: shares of width and height, by bands of rows."""
    generator = np.random.default_rng([seed, index])
    bands = np.arange(count) * BANDS // count if count >= BANDS else generator.permutation(BANDS)[:count]
    across, within = generator.random(count), generator.random(count)
    return torch.from_numpy(np.stack([across, (bands + within) / BANDS], axis=1)).float()


def sample_reading(reading: Reading, places: Tensor) -> tuple[Tensor, Tensor]:
    """Features (K, C) and depths (K,), float16, of one image's reading at places (K, 2) as `positions` gives them."""
    grid = (2 * places - 1)[None, None].to(reading.depth.device)
    values = [
        F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)[0, :, 0].T
        for x in (reading.feature, reading.depth)
    ]
    return values[0].half().cpu().contiguous(), values[1][:, 0].half().cpu().contiguous()


def random_references(references: ReferenceSet, seed: int = 0) -> ReferenceSet:
    """A set that looks like another and knows nothing: the control that a prior's gain is measured against.

    Features are normal with the mean and the deviation that the set's channels have; depths are the set's own,
    shuffled, so that they belong to none of the features. Size, statistics and teacher stay, so networks take either;
    `random` in the provenance is the seed.
    """
    generator = torch.Generator().manual_seed(seed)
    count, exact = len(references), references.features.double()
    noise = torch.randn(exact.shape, generator=generator, dtype=torch.float64)
    features = exact.mean(0) + exact.std(0, correction=0) * noise
    return replace(
        references,
        features=features.to(references.features.dtype),
        depths=references.depths[torch.randperm(count, generator=generator)],
        scores=None,
        provenance={**references.provenance, "random": seed},
    )


def with_references(config: RPrDepthConfig, start: DisparityNetwork, references: ReferenceSet) -> RPrDepth:
    """A network that holds a reference set of any size, with the weights of another.

    Args:
        config: of the network; its numbers of references and channels are taken from the set.
        start: a student without a prior, whose function it then has, or an `RPrDepth`, not folded.

    Raises:
        UserError: `start` is of another network, or the set is clustered where the network does not count.
    """
    count, channels = references.features.shape
    network = replace(config, references=count, reference_channels=channels).build()
    network.load_references(references)
    network.load_first_weights(start.state_dict(), type(start).__name__)
    return network


def with_clusters(network: RPrDepth, config: RPrDepthConfig, count: int) -> RPrDepth:
    """A network that asks at most `count` centres of clusters where `network` asks all its references.

    Args:
        network: trained, not folded.
        config: it was built from.

    Raises:
        UserError: it has fewer references.
    """
    held = {name: getattr(network.fusion.references, name) for name in TENSORS}
    centres = clustered(ReferenceSet(**held, provenance={}), count, inverse=network.fusion.inverse)
    return with_references(replace(config, clustered=True), network, centres)


def select_references(
    network: RPrDepth,
    references: ReferenceSet,
    dataset: TrainingDataset,
    out: Path,
    keep: int = KEEP,
    images: int | None = None,
    stride: int = 1,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> ReferenceSet:
    """Attention guided feature selection: keep the references that images attend to most, and write them.

    Sums are kept beside `out` until it is whole, so the same call goes on with one that was stopped.

    Args:
        network: trained, holding `references`; its student sees images of the dataset's size.
        dataset: validation images; no depth of theirs is used. Never the test split.
        out: a .safetensors file. If it is there and of the same settings, it is read and nothing is done.
        images: how many, drawn without replacement; none means all.
        stride: look from every so many pixels of the feature in each direction; with all images and 1 it is exact.

    Raises:
        UserError: there are fewer references than to keep, or `out` holds a selection of other settings.
    """
    out = Path(out)
    if not 0 < keep <= len(references):
        raise UserError(f"--keep {keep}: the prior has {len(references)} references. Give a number up to that.")
    if len(network.fusion.references.depths) != len(references):
        raise UserError(
            f"prior: {len(references)} references, the network has others. Give the one it was trained with."
        )
    images = len(dataset) if images is None else min(images, len(dataset))
    if images < 1:
        raise UserError("selection: there are no images to look at. Give data with a validation split.")
    settings = {
        "selected_from": len(references),
        "selected_for": network_hash([network]),
        "selected_by": images,
        "selection_stride": stride,
        "selection_seed": seed,
        "kept": keep,
    }
    if out.is_file():
        return _checked(ReferenceSet.load(out), settings, out)
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:images].tolist()
    parts = out.with_name(f".{out.stem}.parts")
    _check_parts(parts, settings)
    sums_file = parts / "sums.safetensors"
    sums, done = torch.zeros(len(references), dtype=torch.float64), 0
    if sums_file.is_file():
        stored, _ = read_tensors(sums_file, REPEAT)
        if stored.keys() != {"sums", "done"} or stored["sums"].shape != sums.shape or stored["done"].numel() != 1:
            raise UserError(f"{sums_file}: holds no sums of this prior. {REPEAT}")
        sums, done = stored["sums"], int(stored["done"])
    network = network.eval().to(device)
    for place in _shown(range(done, images), "selecting references", progress):
        sums += network.reference_weights(_views(dataset, chosen[place], device).target, stride).cpu()
        if (place + 1) % IMAGES_PER_PART == 0:
            save_tensors(sums_file, {"sums": sums, "done": torch.tensor(place + 1)})
    scores = sums / images
    selected = references.kept(best_references(scores, keep), scores, **settings)
    selected.save(out)
    shutil.rmtree(parts)
    return selected


@torch.no_grad()
def _sampled(
    teacher: RichTeacher, dataset: TrainingDataset, index: int, count: int, seed: int, device: str | torch.device
) -> tuple[Tensor, Tensor]:
    return sample_reading(teacher.read(_views(dataset, index, device)), positions(count, seed, index))


def _views(dataset: TrainingDataset, index: int, device: str | torch.device) -> Views:
    return without_augmentation(Batch.of([dataset[index]], [index], dataset.source_ids).to(device))


def _checked(found: ReferenceSet, settings: dict, out: Path) -> ReferenceSet:
    """Raises UserError: the set in `out` was made with other settings."""
    if different := [name for name, value in settings.items() if found.provenance.get(name) != value]:
        raise UserError(f"{out}: holds a prior with another {different[0]}. Choose another --out, or remove it.")
    return found


def _check_parts(parts: Path, settings: dict) -> None:
    """Make the folder of what is finished, or find it as this call would have made it.

    Raises:
        UserError: it is of another call.
    """
    file = parts / SETTINGS_FILE
    if file.is_file() and read_object(file, f"Remove {parts}.") != settings:
        raise UserError(f"{parts}: is of an unfinished call with other settings. Repeat that call, or remove it.")
    write_text(file, json.dumps(settings))


def _shown(steps: Sequence[int], what: str, progress: bool) -> Iterator[int]:
    with progress_bar(progress) as bar:
        yield from bar.track(steps, description=what)
