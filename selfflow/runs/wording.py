"""How numbers of things are said."""


def counted(count: int, thing: str) -> str:
    """Return "1 pair", "2 pairs": a number and a noun whose plural ends in s."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
