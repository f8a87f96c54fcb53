"""The README's table of settings is the one of `contract.settings`."""

import re
from pathlib import Path
from typing import Final

from pydantic import AliasChoices, SecretStr

from contract.settings import Settings, environment_name

README: Final = Path(__file__).parents[2] / "README.md"
BEGIN: Final = "<!-- settings -->"
END: Final = "<!-- /settings -->"


def settings_table() -> str:
    """Every setting with its default and description, as Markdown."""
    rows = [_row(field) for field in Settings.model_fields]
    return "\n".join(["| setting | default | what it is |", "|---|---|---|", *rows])


def _row(field: str) -> str:
    info = Settings.model_fields[field]
    default = info.default.get_secret_value() if isinstance(info.default, SecretStr) else info.default
    shown = "none" if default in (None, (), "") else f"`{str(default).removesuffix('.0')}`"
    names = info.validation_alias.choices if isinstance(info.validation_alias, AliasChoices) else [field]
    also = "".join(f" (also `{name}`)" for name in names[1:])
    return f"| `{environment_name(field)}`{also} | {shown} | {_cell(str(info.description))} |"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def test_the_readme_shows_every_setting_with_its_default_and_description() -> None:
    expected = settings_table()

    found = re.findall(f"{BEGIN}\n(.*?)\n{END}", README.read_text(), re.DOTALL) if README.exists() else []
    assert [table.strip() for table in found] == [expected], (
        f"between {BEGIN} and {END}, README.md must show:\n\n{expected}\n"
    )


def test_the_table_names_every_variable_once_and_no_secret() -> None:
    table = settings_table()

    for field in Settings.model_fields:
        assert table.count(f"| `{environment_name(field)}`") == 1
    assert "| `YOUTUBE_API_KEY` (also `YOUTUBE_KEY`) | none |" in table
    assert "| `YOUSYNC_OVERLAP_SECONDS` | `21600` |" in table
    assert "| `YOUSYNC_POLL_SECONDS` | `10` |" in table
    assert "| `MONGODB_URI` | `mongodb://127.0.0.1:27017` |" in table
