"""RPrDepth: a single-image network that looks up, at stride 4, what a rich teacher saw at pixels like its own.

Source: "Rich-resource Prior Depth" (RPrDepth, ECCV 2024), section on the prior depth fusion; specification section 4.
The layers, the place of the fusion, heads and temperature are not in the paper and are the specification's.

Where we part from the specification: the fusion has a bias in place of a batch norm, and its kernel is held as the
difference to the identity. A norm would take each channel's level away with the first training step, and with it the
trained decoder above; and a difference of zero is the student bit for bit on any device, in training as well.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from egodepth.errors import UserError
from egodepth.networks.attention import attend, effective_number, mean_weights
from egodepth.networks.configurations import RPrDepthConfig
from egodepth.networks.disparity import DisparityNetwork, Features
from egodepth.networks.prior import TENSORS, ReferenceSet
from egodepth.networks.weights import check_fit

WIDTH = 64
"""Channels in which features of student and teacher are compared, and of the depth hint."""

EXPORT_CHUNKS = (None, 1024)
"""Queries and references that meet at a time in an exported graph: at 640x192 31 MB for each head."""

WATCHED_QUERIES = 256
"""Pixels of a batch at which the effective number of references is found: 26 MB of weights at 25,000."""

REFERENCES = "references."
"""What stands before the names of all that belongs to one reference set, in a fusion's state."""


class Prior(NamedTuple):
    """What the queries of an image meet: constants, once the network is trained.

    Attributes:
        keys: (1, N, 64), aligned features.
        values: (1, N, C + 1), features and depths; inverse depths where these are averaged.
        hint_keys, hint_values: (heads, N, 64 / heads).
        log_counts: (N,) or None, see `attend`.
        mean_depth: scalar, in the teacher's units.
    """

    keys: Tensor
    values: Tensor
    hint_keys: Tensor
    hint_values: Tensor
    log_counts: Tensor | None
    mean_depth: Tensor


class References(nn.Module):
    """A reference set and the linear maps of it that are trained.

    Attributes:
        chosen: (K,) places of the references that take part, or None for all.
    """

    def __init__(self, config: RPrDepthConfig) -> None:
        super().__init__()
        count, channels = config.references, config.reference_channels
        self.heads, self.plain, self.clustered = config.heads, config.plain, config.clustered
        self.inverse = config.averaged == "inverse_depth"
        self.chosen: Tensor | None = None
        # Half precision, as the set is stored: 338 MB for 2.6 million.
        self.register_buffer("features", torch.zeros(count, channels, dtype=torch.float16))
        self.register_buffer("depths", torch.ones(count, dtype=torch.float16))
        self.register_buffer("counts", torch.ones(count))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.align = nn.Linear(channels, WIDTH)
        self.key, self.value = nn.Linear(channels, WIDTH), nn.Linear(channels, WIDTH)

    def load(self, references: ReferenceSet) -> None:
        """Raises UserError: the set has another size, or is clustered where the network does not count."""
        if references.features.shape != self.features.shape:
            raise UserError(
                f"prior: {tuple(references.features.shape)} references and channels, the network is built for "
                f"{tuple(self.features.shape)}. Build it with references={len(references)}."
            )
        if not self.clustered and (references.counts != 1).any():
            raise UserError("prior: its references are clusters. Build the network with clustered=True.")
        for name in TENSORS:
            getattr(self, name).copy_(getattr(references, name))

    def forward(self) -> Prior:
        features, depths, counts = self.features, self.depths, self.counts
        if self.chosen is not None:
            features, depths, counts = features[self.chosen], depths[self.chosen], counts[self.chosen]
        dtype = self.align.weight.dtype
        averaged = depths.to(dtype).reciprocal() if self.inverse else depths.to(dtype)
        features = (features.to(dtype) - self.mean) / self.deviation
        keys = self.align(features)
        return Prior(
            keys=(keys if self.plain else F.normalize(keys, dim=-1))[None],
            values=torch.cat([features, averaged[:, None]], dim=1)[None],
            hint_keys=split_heads(self.key(features), self.heads),
            hint_values=split_heads(self.value(features), self.heads),
            log_counts=counts.log() if self.clustered else None,
            mean_depth=((self.depths.double() @ self.counts.double()) / self.counts.double().sum()).to(dtype),
        )


class FoldedReferences(nn.Module):
    """The constants that remain of `References` when nothing is trained any more."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        for name, constant in prior._asdict().items():
            self.register_buffer(name, None if constant is None else constant.detach().clone())

    def forward(self) -> Prior:
        return Prior(*(getattr(self, name) for name in Prior._fields))


class Fused(NamedTuple):
    """What the fusion makes of a feature.

    Attributes:
        feature: (B, C, h, w), in place of the one that came in.
        hint_depth: D_c, (B, 1, h, w), in the teacher's units.
    """

    feature: Tensor
    hint_depth: Tensor


class PriorFusion(nn.Module):
    """Prior depth fusion: pixel-wise affinity, depth hint, and a convolution that joins both to the feature.

    Args:
        channels: of the student's feature.
        rectified: the feature is never negative, and shall stay so.
    """

    def __init__(self, channels: int, rectified: bool, config: RPrDepthConfig) -> None:
        super().__init__()
        self.rectified, self.plain, self.heads = rectified, config.plain, config.heads
        self.inverse = config.averaged == "inverse_depth"
        self.attention, self.top = config.attention, config.top
        self.references: References | FoldedReferences = References(config)
        self.align = nn.Conv2d(channels, WIDTH, kernel_size=1)
        if not config.plain:
            self.temperature = nn.Parameter(torch.tensor(config.temperature))
        self.norm = nn.LayerNorm(channels)
        self.query, self.output = nn.Linear(channels, WIDTH), nn.Linear(WIDTH, WIDTH)
        joined = channels + config.reference_channels + 1 + WIDTH
        self.change = nn.Conv2d(joined, channels, kernel_size=3, padding=1)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)

    def forward(self, feature: Tensor) -> Fused:
        """Fuse a feature (B, C, h, w) with the prior.

        The gradient of the result reaches feature, alignments and temperature; so does that of this hint depth.
        """
        prior = self.references()
        size = feature.shape[-2:]
        # (heads, B * h * w, channels) back to (B, heads * channels, h, w)
        matched = _as_map(self._attend(self._queries(feature), prior.keys, prior.values, 1.0, prior), size)
        reference_feature, averaged = matched.split([matched.shape[1] - 1, 1], dim=1)
        hint_depth = self._depth(averaged)
        queries = self._hint_queries(feature)
        scale = 1 / math.sqrt(queries.shape[-1])
        hint = self._attend(queries, prior.hint_keys, prior.hint_values, scale, prior)
        hint = _as_map(self.output(_join_heads(hint))[None], size)
        relative_disparity = prior.mean_depth / hint_depth
        joined = torch.cat([feature, reference_feature, relative_disparity, hint], dim=1)
        fused = feature + self.change(joined)
        return Fused(torch.relu(fused) if self.rectified else fused, hint_depth)

    def affinity_parameters(self) -> list[nn.Parameter]:
        """Those that decide which references a pixel finds: both alignments and the temperature."""
        temperature = [] if self.plain else [self.temperature]
        return [*self.align.parameters(), *self.references.align.parameters(), *temperature]

    def hint_depth_alone(self, feature: Tensor) -> Tensor:
        """D_c, (B, 1, h, w), as `forward` finds it, with a gradient for alignments and temperature alone.

        L_aux is about what the affinity finds. Through the feature it trained the student, too, with 13 times the
        gradient of the view synthesis in the encoder and 55 times in the decoder.
        """
        prior = self.references()
        found = self._attend(self._queries(feature.detach()), prior.keys, prior.values[..., -1:], 1.0, prior)
        return self._depth(_as_map(found, feature.shape[-2:]))

    @torch.no_grad()
    def effective_references(self, feature: Tensor) -> Tensor:
        """How many references count for a pixel of a feature (B, C, h, w) in the pixel-wise affinity, a scalar; see
        `effective_number`. Found at some of the pixels, evenly spaced."""
        prior, queries = self.references(), self._queries(feature)
        spacing = max(1, queries.shape[1] // WATCHED_QUERIES)
        return effective_number(queries[:, ::spacing], prior.keys, 1.0, prior.log_counts)

    @torch.no_grad()
    def mean_weights(self, feature: Tensor) -> Tensor:
        """A + A_MHA, each averaged over the pixels of a feature (B, C, h, w) and the heads: (N,), its sum is 2."""
        prior = self.references()
        queries = self._hint_queries(feature)
        pixelwise = mean_weights(self._queries(feature), prior.keys, 1.0, prior.log_counts)
        return pixelwise + mean_weights(queries, prior.hint_keys, 1 / math.sqrt(queries.shape[-1]), prior.log_counts)

    def _depth(self, averaged: Tensor) -> Tensor:
        return averaged.reciprocal() if self.inverse else averaged

    def _queries(self, feature: Tensor) -> Tensor:
        """F_s with its temperature, (1, B * h * w, 64)."""
        queries = _as_rows(self.align(feature))
        return queries[None] if self.plain else (F.normalize(queries, dim=-1) * self.temperature)[None]

    def _hint_queries(self, feature: Tensor) -> Tensor:
        """(heads, B * h * w, 64 / heads)."""
        return split_heads(self.query(self.norm(_as_rows(feature))), self.heads)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float, prior: Prior) -> Tensor:
        if self.attention == "fused" and torch.compiler.is_exporting():
            # A graph has no fused kernel to call and would hold all weights at once. Its images may be any number.
            return attend(queries, keys, values, scale, "chunked", prior.log_counts, EXPORT_CHUNKS)
        return attend(queries, keys, values, scale, self.attention, prior.log_counts, top=self.top)


class Tapped(nn.Module):
    """A module of a network, with the fusion behind it.

    Attributes:
        seen: while it is a list, what goes through: the features before the fusion, and what it made of them.
    """

    def __init__(self, maker: nn.Module, fusion: PriorFusion) -> None:
        super().__init__()
        self.maker, self.fusion = maker, fusion
        self.seen: list[tuple[Tensor, Fused]] | None = None

    def forward(self, *inputs: object) -> Tensor:
        feature = self.maker(*inputs)
        fused = self.fusion(feature)
        if self.seen is not None:
            self.seen.append((feature, fused))
        return fused.feature


@dataclass(frozen=True)
class HintedFeatures(Features):
    """Features of a network with a prior.

    Attributes:
        hint_depth: D_c, (B, 1, H / 4, W / 4), the depth found in the reference set, in the teacher's units. Its
            gradient reaches the affinity alone.
        effective_references: scalar, how many references count for a pixel in the affinity.
    """

    hint_depth: Tensor
    effective_references: Tensor


class RPrDepth(DisparityNetwork):
    """A student whose feature at stride 4 is fused with a prior.

    Args:
        student: with random or trained weights; it becomes a part of this network.
        module: path of the student's module that gives the feature.
    """

    def __init__(self, student: DisparityNetwork, module: str, fusion: PriorFusion) -> None:
        super().__init__()
        self.min_depth, self.max_depth = student.min_depth, student.max_depth
        self.module = module
        student.set_submodule(module, Tapped(student.get_submodule(module), fusion))
        self.student = student

    @property
    def encoder(self) -> nn.Module:
        return self.student.encoder

    @property
    def fusion(self) -> PriorFusion:
        return self._tapped.fusion

    @property
    def _tapped(self) -> Tapped:
        return self.student.get_submodule(self.module)

    def with_features(self, image: Tensor) -> tuple[tuple[Tensor, ...], HintedFeatures]:
        with self._watched() as seen:
            disparities, features = self.student.with_features(image)
        feature, fused = seen[0]
        hint = self.fusion.hint_depth_alone(feature) if torch.is_grad_enabled() else fused.hint_depth
        effective = self.fusion.effective_references(feature)
        return disparities, HintedFeatures(features.encoder, features.decoder, hint, effective)

    def finest(self, image: Tensor) -> Tensor:
        return self.student.finest(image)

    def load_references(self, references: ReferenceSet) -> None:
        """Take a reference set of the size that the network was built for.

        Raises:
            UserError: it has another size.
        """
        self.fusion.references.load(references)

    def load_first_weights(self, state: Mapping[str, Tensor], source: str) -> None:
        """Start from a trained student without a prior, or from such a network with a prior of any size.

        The reference set stays as it is: it has its own file. From a student, the network starts as the same function.

        Args:
            state: of a network like `student`, or of an `RPrDepth`, not folded.
            source: for messages.

        Raises:
            UserError: the state is of another network.
        """
        own = self.state_dict()
        prefix = f"student.{self.module}."
        references = {f"{prefix}fusion.{REFERENCES}{name}" for name, _ in self.fusion.references.named_buffers()}
        expected = {name: tensor for name, tensor in own.items() if name not in references}
        if not any(name.startswith("student.") for name in state):
            expected = {name: tensor for name, tensor in expected.items() if not name.startswith(f"{prefix}fusion.")}
            state = {self._own_name(name): tensor for name, tensor in state.items()}
        fitting = check_fit(expected, state, source, "Start from a run of the same student.")
        self.load_state_dict(fitting, strict=False)

    @contextmanager
    def only_references(self, places: Tensor | None) -> Iterator[None]:
        """Let the references at `places` (K,) alone take part for a while; None means all."""
        references = self.fusion.references
        before, references.chosen = references.chosen, places
        try:
            yield
        finally:
            references.chosen = before

    @torch.no_grad()
    def reference_weights(self, image: Tensor, stride: int = 1) -> Tensor:
        """W_avg: the mean attention (N,) that each reference gets from images (B, 3, H, W); its sum is 2.

        Args:
            stride: look from every so many pixels of the feature in each direction; 1 is exact.
        """
        # What the fusion gives does not matter here, only what it gets.
        first = torch.zeros(1, dtype=torch.int64, device=image.device)
        with self.only_references(first), self._watched() as seen:
            self.student.finest(image)
        return self.fusion.mean_weights(seen[0][0][..., ::stride, ::stride])

    def thinned(self, count: int) -> "RPrDepth":
        """A copy with `count` evenly spaced references, where there are more: for a release in the midst of training
        on millions."""
        references, network = self.fusion.references, copy.deepcopy(self)
        places = evenly_spaced(len(references.depths), count).to(references.depths.device)
        for name in ("features", "depths", "counts"):
            setattr(network.fusion.references, name, getattr(references, name)[places])
        network.fusion.references.chosen = None
        return network

    @torch.no_grad()
    def folded(self) -> "RPrDepth":
        """A copy for inference, in which all that follows from the prior alone is computed already.

        What it is made of depends on the configuration alone, so a network that was built from the same one and
        folded can load its state.
        """
        network = copy.deepcopy(self).eval()
        network.fusion.references.chosen = None
        network.fusion.references = FoldedReferences(network.fusion.references())
        return network

    def _own_name(self, name: str) -> str:
        """The name that a tensor of the student has in this network."""
        inside = name.removeprefix(f"{self.module}.")
        return f"student.{name}" if inside == name else f"student.{self.module}.maker.{inside}"

    @contextmanager
    def _watched(self) -> Iterator[list[tuple[Tensor, Fused]]]:
        tapped = self._tapped
        tapped.seen = seen = []
        try:
            yield seen
        finally:
            tapped.seen = None


def evenly_spaced(count: int, keep: int) -> Tensor:
    """`keep` places spread evenly over 0 to count - 1, or all: (min(count, keep),) int64."""
    keep = min(count, keep)
    return torch.arange(keep, dtype=torch.int64) * count // keep


def split_heads(rows: Tensor, heads: int) -> Tensor:
    """(heads, R, C / heads) of rows (R, C)."""
    return rows.unflatten(1, (heads, -1)).transpose(0, 1)


def _join_heads(rows: Tensor) -> Tensor:
    """(R, heads * C) of rows (heads, R, C)."""
    return rows.transpose(0, 1).flatten(1)


def _as_rows(feature: Tensor) -> Tensor:
    """(B * h * w, C) of a feature (B, C, h, w)."""
    return feature.permute(0, 2, 3, 1).flatten(0, 2)


def _as_map(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) of rows (1, B * h * w, C)."""
    return rows[0].unflatten(0, (-1, *size)).permute(0, 3, 1, 2)


def build(config: RPrDepthConfig) -> RPrDepth:
    """Raises UserError: the student has no feature at stride 4 that could be fused, or a number makes no sense."""
    if config.references < 1:
        raise UserError(f"references: {config.references}. A prior has at least one.")
    if config.heads < 1 or WIDTH % config.heads:
        raise UserError(f"heads: {config.heads} do not divide {WIDTH} channels. Choose 1, 2, 4 or 8.")
    place = config.student.prior_tap()
    return RPrDepth(config.student.build(), place.module, PriorFusion(place.channels, place.rectified, config))
