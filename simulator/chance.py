"""Chance that repeats: the same seed and names give the same number in every process and after every restart."""

from hashlib import blake2b


def fraction(*parts: object) -> float:
    """A number strictly between 0 and 1, evenly spread over different `parts`."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=6).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**48
