"""Requests a second of YouSync and of two plain stacks, as bars."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot  # after the choice of what draws


def plot(rates: Mapping[str, float], file: Path) -> None:
    """`rates` by "stack, page"; drawn on a logarithmic scale, for they are far apart."""
    names = list(rates)[::-1]
    figure, axes = pyplot.subplots(figsize=(8, 0.55 * len(names) + 1.2))
    ours = ["#c4302b" if name.startswith("YouSync") else "#8a8f98" for name in names]
    bars = axes.barh(names, [rates[name] for name in names], color=ours)
    axes.bar_label(bars, labels=[f"{rates[name]:,.0f}" for name in names], padding=4)
    axes.set_xscale("log")
    axes.set_xlabel("requests a second, one process (logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.15)
    figure.tight_layout()
    # No date and no random ids: the same figures give the same file.
    mpl.rcParams["svg.hashsalt"] = "yousync"
    figure.savefig(file, metadata={"Date": None})
