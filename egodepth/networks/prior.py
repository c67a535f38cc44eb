"""The reference set: what a rich teacher saw at some pixels of the training images, and how deep it found them.

Source: RPrDepth (ECCV 2024), section on the reference dataset; specification sections 3 and 7.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from egodepth.checked_json import Object, Text, Whole, checked_text, sealed
from egodepth.errors import UserError
from egodepth.files import write_bytes
from egodepth.networks.weights import read_tensors, tensors_digest

FORMAT = 1
METADATA_KEY = "egodepth reference set"
"""One entry holds all that is said about a set, since the library writes several in no fixed order."""

SAID = Object({"format": Whole(), "provenance": Object({}), "tensors": Text()}, required=("format", "provenance"))
"""What the metadata says."""

BUILD_AGAIN = "Build the prior again."

TENSORS = ("features", "depths", "counts", "mean", "deviation")
CLUSTER_ROUNDS = 20
CLUSTER_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """Reference pixels, their statistics, and where they come from.

    Attributes:
        features: (N, C) float16 or float32, the teacher's, as they are.
        depths: (N,) of the same type, in the teacher's units.
        counts: (N,) float32, how many pixels each reference stands for; more than one after `clustered`.
        mean, deviation: (C,) float32, of the features of the set that this one was first a part of. A selection keeps
            them, since networks were trained on features normalised by them.
        provenance: `teacher` is the teacher's hash; further entries are for people to read.
        scores: (N,) float32 or None, the mean attention by which the references were selected.
    """

    features: Tensor
    depths: Tensor
    counts: Tensor
    mean: Tensor
    deviation: Tensor
    provenance: Mapping[str, Any]
    scores: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor, depths: Tensor, provenance: Mapping[str, Any]) -> "ReferenceSet":
        """A set of features (N, C) and depths (N,) with their statistics."""
        exact = features.double()
        # A channel that is the same everywhere says nothing; divided by 1 it stays zero.
        deviation = exact.std(0, correction=0)
        deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        counts = torch.ones(len(depths))
        return cls(features, depths, counts, exact.mean(0).float(), deviation.float(), dict(provenance))

    def __len__(self) -> int:
        return len(self.depths)

    def normalised(self) -> Tensor:
        """The features (N, C) with the mean 0 and the deviation 1 in each channel, float32."""
        return (self.features.float() - self.mean) / self.deviation

    def check_teacher(self, teacher_hash: str) -> None:
        """Raises UserError: the set was made by another teacher."""
        if self.provenance.get("teacher") != teacher_hash:
            raise UserError(
                f"prior: was built with the teacher {str(self.provenance.get('teacher'))[:12]}, this one is "
                f"{teacher_hash[:12]}. Give the teacher that it was built with, or build a prior for this one."
            )

    def kept(self, places: Tensor, scores: Tensor | None = None, **notes: object) -> "ReferenceSet":
        """The references at `places` (K,) alone, in that order.

        Args:
            scores: (N,) of all references.
            notes: to add to the provenance.
        """
        return replace(
            self,
            features=self.features[places],
            depths=self.depths[places],
            counts=self.counts[places],
            scores=None if scores is None else scores[places].float(),
            provenance={**self.provenance, **notes},
        )

    def save(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        tensors = {name: getattr(self, name) for name in TENSORS}
        if self.scores is not None:
            tensors["scores"] = self.scores
        tensors = {name: x.cpu().contiguous() for name, x in tensors.items()}
        said = {"format": FORMAT, "provenance": dict(self.provenance), "tensors": tensors_digest(tensors)}
        write_bytes(Path(path), save(tensors, {METADATA_KEY: json.dumps(sealed(said))}))

    @classmethod
    def load(cls, path: Path) -> "ReferenceSet":
        """Raises UserError: there is no such file, it is broken, or it is no reference set."""
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path}: no such file. Give a prior that `egodepth prior build` has written.")
        tensors, metadata = read_tensors(path, BUILD_AGAIN)
        if METADATA_KEY not in metadata or not tensors.keys() >= set(TENSORS):
            raise UserError(f"{path}: is no reference set. Give a prior that `egodepth prior build` has written.")
        said = checked_text(metadata[METADATA_KEY], SAID, f"{path}: its metadata", BUILD_AGAIN)
        if said["format"] != FORMAT:
            raise UserError(f"{path}: is a reference set of format {said['format']}, not {FORMAT}. {BUILD_AGAIN}")
        if said.get("tensors") not in (None, tensors_digest(tensors)):
            raise UserError(f"{path}: is damaged: its references are not those that were written. {BUILD_AGAIN}")
        _check_tensors(path, tensors)
        tensors = {name: tensors.get(name) for name in (*TENSORS, "scores")}
        return cls(**tensors, provenance=said["provenance"])


def _check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises UserError: tensors of a reference set do not fit together, or hold something else than numbers."""
    features = tensors["features"]
    count, channels = features.shape if features.ndim == 2 else (-1, -1)
    expected = {"depths": (count,), "counts": (count,), "mean": (channels,), "deviation": (channels,)}
    expected |= {"scores": (count,)} if "scores" in tensors else {}
    for name, shape in expected.items():
        if count < 1 or tuple(tensors[name].shape) != shape:
            raise UserError(f"{path}: {name} does not belong to features {tuple(features.shape)}. {BUILD_AGAIN}")
    for name in ("features", *expected):
        if not tensors[name].is_floating_point():
            raise UserError(f"{path}: {name} holds {tensors[name].dtype}, expected numbers with a point. {BUILD_AGAIN}")


def network_hash(networks: Iterable[nn.Module]) -> str:
    """The SHA-256 of all that networks have learned, names and shapes included."""
    digest = hashlib.sha256()
    for network in networks:
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def clustered(references: ReferenceSet, count: int, seed: int = 0, inverse: bool = False) -> ReferenceSet:
    """Fewer references that stand for many: the centres of `count` clusters (k-means in the normalised features).

    Each centre has its members' mean feature and depth and their number, so that attention sees a cluster as it would
    see that many pixels at its centre. A cluster without members is left out, so the set may be smaller.

    Args:
        inverse: the depth is the inverse of the mean inverse depth, for networks that average those.

    Raises:
        UserError: there are not as many references.
    """
    if not 0 < count <= len(references):
        raise UserError(f"clusters: {count} of {len(references)} references. Give a number up to that.")
    features, weights = references.normalised().double(), references.counts.double()
    centres = features[torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:count]]
    for _ in range(CLUSTER_ROUNDS):
        nearest = torch.cat([torch.cdist(part, centres).argmin(1) for part in features.split(CLUSTER_CHUNK)])
        means, sizes = _means(features, weights, nearest, count)
        moved = torch.where(sizes[:, None] > 0, means, centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    depths = references.depths[:, None].double()
    depths, sizes = _means(depths.reciprocal() if inverse else depths, weights, nearest, count)
    depths = depths.reciprocal() if inverse else depths
    full = sizes > 0
    restored = centres * references.deviation + references.mean
    return replace(
        references,
        features=restored[full].to(references.features.dtype),
        depths=depths[full, 0].to(references.depths.dtype),
        counts=sizes[full].float(),
        scores=None,
        provenance={**references.provenance, "clustered_from": len(references)},
    )


def _means(values: Tensor, weights: Tensor, cluster: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Weighted mean (count, C) of values (N, C) in each cluster, and the sum of the weights (count,)."""
    sizes = weights.new_zeros(count).index_add_(0, cluster, weights)
    sums = values.new_zeros(count, values.shape[1]).index_add_(0, cluster, values * weights[:, None])
    return sums / sizes.clamp(min=1)[:, None], sizes
