"""Formulas of the specifications written out plainly in float64, for the numbers that golden steps are compared with.

Nothing here calls the package: windows are sums over shifted copies, sampling is four gathers, rotations are Rodrigues'
formula. Slow, and meant to be read beside the specification of Monodepth2 (sections 3 to 5, 13).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tests.golden.steps import Step


def seed_of_step(seed: int, step: int) -> int:
    """The seed of all that chance decides in a step, on the first device."""
    return int(np.random.SeedSequence([seed, step, 0]).generate_state(1, np.uint64)[0] >> 1)


def finished_step(networks: Mapping[str, nn.Module], total: Tensor, logged: Mapping[str, Tensor]) -> Step:
    """The figures of a step, after one backward pass of its whole loss."""
    for network in networks.values():
        network.zero_grad()
    total.backward()
    norms = {
        name: math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in network.parameters() if p.grad is not None))
        for name, network in networks.items()
    }
    values = {name: float(value.detach()) for name, value in {**logged, "loss": total}.items()}
    return Step(values["loss"], values, norms)


# --- photometric error -----------------------------------------------------------------------------------------


def window_mean(image: Tensor) -> Tensor:
    """Mean of the 3x3 window around each pixel of (B, C, H, W), the border reflected."""
    height, width = image.shape[-2:]
    rows = [1, *range(height), height - 2]
    columns = [1, *range(width), width - 2]
    padded = image[..., rows, :][..., columns]
    total = torch.zeros_like(image)
    for down in range(3):
        for right in range(3):
            total = total + padded[..., down : down + height, right : right + width]
    return total / 9


def dissimilarity(first: Tensor, second: Tensor) -> Tensor:
    """(1 - SSIM) / 2 of (B, C, H, W), cut to [0, 1]."""
    mean_1, mean_2 = window_mean(first), window_mean(second)
    variance_1 = window_mean(first**2) - mean_1**2
    variance_2 = window_mean(second**2) - mean_2**2
    covariance = window_mean(first * second) - mean_1 * mean_2
    above = (2 * mean_1 * mean_2 + 0.0001) * (2 * covariance + 0.0009)
    below = (mean_1**2 + mean_2**2 + 0.0001) * (variance_1 + variance_2 + 0.0009)
    return torch.clamp((1 - above / below) / 2, 0, 1)


def photometric(image: Tensor, target: Tensor) -> Tensor:
    """pe, (B, H, W): 0.85 of the structural and 0.15 of the absolute difference, mean over the channels."""
    return 0.85 * dissimilarity(image, target).mean(1) + 0.15 * (image - target).abs().mean(1)


# --- smoothness ------------------------------------------------------------------------------------------------


def pooled(image: Tensor, size: Sequence[int]) -> Tensor:
    """The mean over the pixels of (B, C, H, W) that each pixel of a smaller size covers, be it in part."""
    for axis, length in ((2, size[0]), (3, size[1])):
        own = image.shape[axis]
        windows = [(i * own // length, -(-(i + 1) * own // length)) for i in range(length)]
        image = torch.stack([image.narrow(axis, start, end - start).mean(axis) for start, end in windows], axis)
    return image


def smoothness(disparity: Tensor, image: Tensor) -> Tensor:
    """Edge-aware smoothness of the mean-normalised disparity (B, 1, h, w); the image is pooled to its size."""
    colour = pooled(image, disparity.shape[-2:])
    disparity = disparity / (disparity.mean((2, 3), keepdim=True) + 1e-7)
    across = (disparity[..., 1:] - disparity[..., :-1]).abs()
    down = (disparity[..., 1:, :] - disparity[..., :-1, :]).abs()
    edge_across = (colour[..., 1:] - colour[..., :-1]).abs().mean(1, keepdim=True)
    edge_down = (colour[..., 1:, :] - colour[..., :-1, :]).abs().mean(1, keepdim=True)
    return (across * torch.exp(-edge_across)).mean() + (down * torch.exp(-edge_down)).mean()


# --- geometry --------------------------------------------------------------------------------------------------


def depth_of(sigmoid: Tensor) -> Tensor:
    """Depth between 0.1 and 100 from a sigmoid disparity."""
    return 1 / (0.01 + (10 - 0.01) * sigmoid)


def enlarged(values: Tensor, size: Sequence[int]) -> Tensor:
    """(B, 1, h, w) resized bilinearly, pixel centres at half places, without anti-aliasing."""
    for axis, length in ((-2, size[0]), (-1, size[1])):
        own = values.shape[axis]
        place = ((torch.arange(length, dtype=torch.float64) + 0.5) * own / length - 0.5).clamp(min=0)
        low = place.floor().long().clamp(max=own - 1)
        high = (low + 1).clamp(max=own - 1)
        share = (place - low).reshape((-1, 1) if axis == -2 else (-1,))
        values = values.index_select(axis, low) * (1 - share) + values.index_select(axis, high) * share
    return values


def rotation(axis_angle: Tensor) -> Tensor:
    """(3, 3) of an axis-angle vector (3,)."""
    angle = (axis_angle**2).sum().sqrt()
    x, y, z = axis_angle / (angle + 1e-7)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    axis = torch.stack([x, y, z])
    identity = torch.eye(3, dtype=torch.float64)
    return angle.cos() * identity + angle.sin() * cross + (1 - angle.cos()) * torch.outer(axis, axis)


def motion(axis_angle: Tensor, translation: Tensor, inverted: bool) -> Tensor:
    """(B, 4, 4) of axis-angle and translation (B, 3); inverted by the inverse of the matrix."""
    matrices = []
    for angle, shift in zip(axis_angle.double(), translation.double(), strict=True):
        upper = torch.cat([rotation(angle), shift[:, None]], 1)
        matrix = torch.cat([upper, torch.tensor([[0.0, 0, 0, 1]], dtype=torch.float64)])
        matrices.append(torch.linalg.inv(matrix) if inverted else matrix)
    return torch.stack(matrices)


def bilinear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(C, H, W) sampled at places (H', W') in pixels, border pixels repeated outside."""
    height, width = image.shape[-2:]
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.detach().floor().long(), y.detach().floor().long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    a, b = x - left, y - top
    above = image[:, top, left] * (1 - a) + image[:, top, right] * a
    below = image[:, bottom, left] * (1 - a) + image[:, bottom, right] * a
    return above * (1 - b) + below * b


def warped(source: Tensor, depth: Tensor, intrinsics: Tensor, transform: Tensor) -> Tensor:
    """The target view (B, 3, H, W) painted with a source's colours: back-project, move, project, sample."""
    height, width = depth.shape[-2:]
    v, u = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    pixels = torch.stack([u, v, torch.ones_like(u)]).reshape(3, -1)
    views = []
    for image, own, camera, move in zip(source, depth, intrinsics, transform, strict=True):
        points = own.reshape(1, -1) * (torch.linalg.inv(camera) @ pixels)
        seen = camera @ (move[:3, :3] @ points + move[:3, 3:])
        x, y = seen[0] / (seen[2] + 1e-7), seen[1] / (seen[2] + 1e-7)
        views.append(bilinear(image, x.reshape(height, width), y.reshape(height, width)))
    return torch.stack(views)
