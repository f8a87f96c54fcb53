"""One page, as SVG: how fast a replay is and how much memory it takes as its topic grows."""

import math
import statistics
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 720
PANEL: Final = 250
LEFT, RIGHT, TOP, GAP = 90, 30, 60, 70


class Point(NamedTuple):
    """One size of the topic, with the figures of its rounds."""

    messages: int
    rates: Sequence[float]
    peaks_mib: Sequence[float]


def growth_plot(points: Sequence[Point], measured: str) -> str:
    """Two panels over the number of messages (logarithmic): median and, as a bar, minimum to maximum."""
    height = TOP + 2 * PANEL + 2 * GAP
    panels = [
        _panel(TOP, "messages a second while loading", points, [point.rates for point in points]),
        _panel(
            TOP + PANEL + GAP, "peak memory of all its processes, MiB", points, [point.peaks_mib for point in points]
        ),
    ]
    head = _text(LEFT, 25, f"yousync replay as the topic grows ({measured})", "start", 15)
    foot = _text((LEFT + WIDTH - RIGHT) / 2, height - 20, "raw messages in the topic, two of each video", "middle")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join([head, *panels, foot]) + "\n</svg>\n"
    )


def _panel(top: float, title: str, points: Sequence[Point], figures: Sequence[Sequence[float]]) -> str:
    highest = _round_up(max(max(one) for one in figures))
    sizes = [math.log10(point.messages) for point in points]
    span = (sizes[-1] - sizes[0]) or 1

    def x(size: float) -> float:
        return LEFT + 20 + (size - sizes[0]) / span * (WIDTH - LEFT - RIGHT - 40)

    def y(figure: float) -> float:
        return top + PANEL * (1 - figure / highest)

    lines = [_text(LEFT, top - 8, title, "start", 13)]
    for part in range(5):
        figure = highest * part / 4
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(figure):.1f}" y2="{y(figure):.1f}" stroke="#ccc"/>'
        )
        lines.append(_text(LEFT - 8, y(figure) + 4, f"{figure:,.0f}", "end"))
    medians = [statistics.median(one) for one in figures]
    path = " ".join(f"{x(size):.1f},{y(figure):.1f}" for size, figure in zip(sizes, medians, strict=True))
    lines.append(f'<polyline points="{path}" fill="none" stroke="#06c" stroke-width="2"/>')
    for point, size, median, one in zip(points, sizes, medians, figures, strict=True):
        lines.append(
            f'<line x1="{x(size):.1f}" x2="{x(size):.1f}" y1="{y(min(one)):.1f}" y2="{y(max(one)):.1f}" stroke="#06c"/>'
        )
        lines.append(f'<circle cx="{x(size):.1f}" cy="{y(median):.1f}" r="4" fill="#06c"/>')
        lines.append(_text(x(size), y(median) - 10, f"{median:,.0f}", "middle"))
        lines.append(_text(x(size), top + PANEL + 18, f"{point.messages:,}", "middle"))
    return "\n".join(lines)


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _round_up(figure: float) -> float:
    """The next of 1, 2, 4, 5, 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(figure * 1.1))
    return next(step * power for step in (1, 2, 4, 5, 8, 10, 20) if step * power >= figure * 1.1)
