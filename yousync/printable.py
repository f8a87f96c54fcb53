"""What strangers wrote, as it may reach a terminal."""


def printable(text: str, *, instead: str = " ") -> str:
    """Without control characters: `instead` stands for each."""
    return "".join(character if character.isprintable() else instead for character in text)
