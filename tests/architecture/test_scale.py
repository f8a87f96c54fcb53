"""The tables of the scale guide are what its measured costs come to, and the costs are those that are published."""

from pathlib import Path

import pytest

from bench.scale import COSTS, reads, storage, tables

ROOT = Path(__file__).parents[2]


def test_the_guide_has_the_tables_that_are_computed() -> None:
    guide = (ROOT / "docs/scale.md").read_text()
    shown = guide.partition("<!-- tables: python -m bench.scale -->\n")[2].partition("\n<!-- /tables -->")[0]

    assert shown == tables(), "run python -m bench.scale, and read what the text says about the tables again"


@pytest.mark.parametrize(
    "figure", [COSTS.hot_pages, COSTS.stored_pages, COSTS.processed, COSTS.replayed], ids=lambda figure: f"{figure:,}"
)
def test_the_costs_are_the_readmes_figures(figure: float) -> None:
    assert f"{figure:,}" in (ROOT / "README.md").read_text()


def test_more_of_anything_needs_no_less() -> None:
    assert reads(1).processes == 2
    assert reads(100_000).processes > reads(10_000).processes > reads(100).processes - 1
    assert reads(10_000, searching=0.1).processes > reads(10_000).processes
    assert storage(2_000_000).disk == 2 * storage(1_000_000).disk
