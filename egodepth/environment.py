"""Numbers from environment variables, which are a user's input like any other."""

import math
import os

from egodepth.errors import UserError


def number_said(variable: str, usual: float, least: float = 0, largest: float = math.inf) -> float:
    """What a variable says, from `least` to `largest` and finite; `usual` where it is not set, or empty.

    Raises:
        UserError: it says something else.
    """
    said = os.environ.get(variable, "").strip()
    if not said:
        return usual
    try:
        number = float(said)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and least <= number <= largest):
        limits = f"from {least:g} to {largest:g}" if math.isfinite(largest) else f"of {least:g} or more"
        raise UserError(f"{variable}={said}: expected a number {limits}. Correct the variable, or unset it.")
    return number


def whole_number_said(variable: str, usual: int, least: int = 0, largest: int = 2**31) -> int:
    """`number_said`, of whole numbers.

    Raises:
        UserError: it says something else.
    """
    number = number_said(variable, usual, least, largest)
    if number != int(number):
        raise UserError(f"{variable}={number:g}: expected a whole number. Correct the variable, or unset it.")
    return int(number)
