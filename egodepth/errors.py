"""Errors that the user can put right: one clear line, no traceback, exit code 2."""


class UserError(Exception):
    """Something in the input or the call that the user can put right.

    The message is one line that names the thing (file, option, recipe), says what was found and what was
    expected, and ends with what to do about it.
    """


def first_line(error: Exception) -> str:
    """What an error of another program says, short enough for one line of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
