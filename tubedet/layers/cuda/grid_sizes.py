"""Whole numbers for dividing work among programs.

Triton's ``cdiv`` and ``next_power_of_2`` are made for kernels: on the host a call takes more than a
microsecond, and a training step has 1,500.
"""


def ceil_div(number: int, size: int) -> int:
    """Return how many pieces of a size hold a number of things.

    Args:
        number: 0 or more.
        size: of a piece, above 0.
    """
    return -(-number // size)


def next_power_of_2(number: int) -> int:
    """Return the least power of two that is not below a number.

    Args:
        number: above 0.
    """
    return 1 << (number - 1).bit_length()
