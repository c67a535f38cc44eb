"""Attention from the pixels of an image to a fixed set of references, in forms that agree.

Source: RPrDepth (ECCV 2024), the pixel-wise affinity and the depth-hint attention of its prior depth fusion, and the
mean attention by which it selects references; specification sections 4, 6 and 7. At 640x192 and 25,000 references the
matrix of weights has 192 million entries for each image and head, so only the naive form, which the tests measure
the others by, ever holds it.

The references are the same for all images, therefore there is no axis of the batch: its queries stand in one row.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from egodepth.networks.configurations import TOP, Form

Chunks = tuple[int | None, int]
"""How many queries (none: all) and references meet at a time."""

CPU_CHUNKS, GPU_CHUNKS = (1024, 1024), (4096, 8192)
"""4 MB of weights for each head, which a processor's cache holds, and 134 MB, which keep a GPU busy."""


KERNEL_MULTIPLE = 8
"""Fused kernels want widths that are multiples of this, and one width for queries, keys and values."""


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: float = 1.0,
    form: Form = "fused",
    log_counts: Tensor | None = None,
    chunks: Chunks | None = None,
    top: int = TOP,
) -> Tensor:
    """For each query the mean of the values (heads, Q, V), weighted by the softmax of its products with the keys.

    Args:
        queries: (heads, Q, C).
        keys: (heads, N, C).
        values: (heads, N, V).
        scale: factor of the products.
        form: see `Form`.
        log_counts: (N,), the logarithm of how many equal references each one stands for; none means one each.
        chunks: for the forms that work in chunks; none chooses by the device.
        top: references that each query keeps, for `top-k`.
    """
    if form == "fused":
        return _fused(queries, keys, values, scale, log_counts)
    if form == "naive":
        return _mixed(_logits(queries, keys, scale, log_counts).softmax(-1), values)
    chunks = chunks or _chunks(queries)
    step = _streamed if form == "chunked" else _best
    rest = (keys, values, scale, log_counts, chunks[1] if form == "chunked" else top)
    split = (queries,) if chunks[0] is None else queries.split(chunks[0], dim=1)
    if torch.is_grad_enabled() and any(x.requires_grad for x in (queries, keys, values)):
        # The weights of each chunk are made anew in the backward pass; kept, they would be the whole matrix.
        parts = [checkpoint(step, part, *rest, use_reentrant=False) for part in split]
    else:
        parts = [step(part, *rest) for part in split]
    return torch.cat(parts, dim=1)


@torch.no_grad()
def mean_weights(
    queries: Tensor,
    keys: Tensor,
    scale: float = 1.0,
    log_counts: Tensor | None = None,
    chunks: Chunks | None = None,
) -> Tensor:
    """The weight that each reference has on average over heads and queries: (N,) float64, its sum is 1.

    Exact for sets of any size, in two passes over them: the first finds each query's denominator, the second adds up
    the columns. The same input gives the same bits on one machine.

    Args:
        queries: (heads, Q, C).
        keys: (heads, N, C).
    """
    chunks = chunks or _chunks(queries)
    sums = torch.zeros(keys.shape[1], dtype=torch.float64, device=keys.device)
    for part in queries.split(chunks[0] or queries.shape[1], dim=1):
        denominators = [
            _logits(part, keys[:, places], scale, _at(log_counts, places)).logsumexp(-1, keepdim=True)
            for places in _places(keys.shape[1], chunks[1])
        ]
        denominator = torch.cat(denominators, dim=-1).logsumexp(-1, keepdim=True)
        for places in _places(keys.shape[1], chunks[1]):
            weights = (_logits(part, keys[:, places], scale, _at(log_counts, places)) - denominator).exp()
            sums[places] += weights.sum((0, 1), dtype=torch.float64)
    return sums / (queries.shape[0] * queries.shape[1])


@torch.no_grad()
def effective_number(queries: Tensor, keys: Tensor, scale: float = 1.0, log_counts: Tensor | None = None) -> Tensor:
    """How many references count for a query: the exponential of its weights' entropy, mean over queries, a scalar.

    N where all weights are equal, 1 where one reference has all weight. It holds all weights at once.

    Args:
        queries: (heads, Q, C).
        keys: (heads, N, C).
        log_counts: see `attend`; a reference that stands for many counts as many.
    """
    log_weights = _logits(queries, keys, scale, log_counts).log_softmax(-1)
    of_each = log_weights if log_counts is None else log_weights - log_counts
    return (-(log_weights.exp() * of_each).sum(-1)).exp().mean()


def best_references(scores: Tensor, keep: int) -> Tensor:
    """The places (keep,) of the highest scores (N,), the highest first; among equals the lower place first."""
    return scores.sort(descending=True, stable=True).indices[:keep]


def _fused(queries: Tensor, keys: Tensor, values: Tensor, scale: float, log_counts: Tensor | None) -> Tensor:
    """By a kernel that never holds the weights, where PyTorch has one."""
    wanted = max(queries.shape[-1], values.shape[-1])
    wanted += -wanted % KERNEL_MULTIPLE
    # Columns of zeros change neither the products nor the columns that are kept.
    padded = [F.pad(x, (0, wanted - x.shape[-1]))[None] for x in (queries, keys, values)]
    mask = None
    if log_counts is not None:
        mask = log_counts.to(padded[0].dtype).expand(1, 1, queries.shape[1], -1)
    return F.scaled_dot_product_attention(*padded, attn_mask=mask, scale=scale)[0, ..., : values.shape[-1]]


def _streamed(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, log_counts: Tensor | None, key_chunk: int
) -> Tensor:
    """The references in turn, against the highest product so far."""
    peak = total = mixed = None
    for places in _places(keys.shape[1], key_chunk):
        logits = _logits(queries, keys[:, places], scale, _at(log_counts, places))
        # What is subtracted cancels in the quotient, so it needs no gradient.
        highest = logits.detach().amax(-1, keepdim=True)
        if peak is not None:
            highest = torch.maximum(peak, highest)
        weights = (logits - highest).exp()
        part, share = _mixed(weights, values[:, places]), weights.sum(-1, keepdim=True)
        if peak is not None:
            shrink = (peak - highest).exp()
            part, share = part + mixed * shrink, share + total * shrink
        peak, total, mixed = highest, share, part
    return mixed / total


def _best(queries: Tensor, keys: Tensor, values: Tensor, scale: float, log_counts: Tensor | None, top: int) -> Tensor:
    """Each query attends to its `top` references alone."""
    logits, places = _logits(queries, keys, scale, log_counts).topk(min(top, keys.shape[1]), dim=-1)
    weights = logits.softmax(-1)
    chosen = torch.stack([of_head[where] for of_head, where in zip(values, places, strict=True)])
    return (weights[..., None, :].to(chosen.dtype) @ chosen)[..., 0, :]


def _chunks(queries: Tensor) -> Chunks:
    return CPU_CHUNKS if queries.device.type == "cpu" else GPU_CHUNKS


def _logits(queries: Tensor, keys: Tensor, scale: float, log_counts: Tensor | None) -> Tensor:
    """(heads, Q, N), at least float32: 25,000 exponentials are added up."""
    products = queries @ keys.transpose(1, 2)
    products = (products if products.dtype == torch.float64 else products.float()) * scale
    return products if log_counts is None else products + log_counts


def _mixed(weights: Tensor, values: Tensor) -> Tensor:
    return weights.to(values.dtype) @ values


def _places(count: int, chunk: int) -> Iterator[slice]:
    return (slice(start, start + chunk) for start in range(0, count, chunk))


def _at(log_counts: Tensor | None, places: slice) -> Tensor | None:
    return None if log_counts is None else log_counts[places]
