"""Geometry stays in float32 under autocast: half a pixel is what half precision loses at the right edge of a frame."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")


R = TypeVar("R")


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` outside autocast, with its half-precision tensor arguments raised to float32."""

    def raised(value: object) -> object:
        return value.float() if isinstance(value, Tensor) and value.dtype in (torch.half, torch.bfloat16) else value

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next((value.device.type for value in args if isinstance(value, Tensor)), "cpu")
        if not torch.amp.is_autocast_available(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*map(raised, args), **{key: raised(value) for key, value in kwargs.items()})

    return wrapper
