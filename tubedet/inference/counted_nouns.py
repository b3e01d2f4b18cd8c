"""Numbers of things in messages."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 person", "2 persons".

    Args:
        number: how many.
        noun: the name of one.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
