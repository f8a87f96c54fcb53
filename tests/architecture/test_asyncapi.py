"""`docs/asyncapi.yaml` is AsyncAPI, says the specification's own parser; its locked packages are installed once."""

import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from tests.programs import required_program

DOCS: Final = Path(__file__).parents[2] / "docs"
PACKAGE: Final = Path(__file__).parents[1] / "asyncapi"

Validate = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def packages() -> Path:
    """`node_modules` in the user's cache folder, one for each content of the lock file."""
    npm = required_program("npm", "Debian's npm")
    lock = PACKAGE / "package-lock.json"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yousync"
    folder = cache / f"asyncapi-{sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in (lock, PACKAGE / "package.json"):
            shutil.copy(file, folder)
        ci = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        installed = subprocess.run(ci, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
        if installed.returncode != 0:
            required = os.environ.get("YOUSYNC_REQUIRE_TOOLS") == "1"
            (pytest.fail if required else pytest.skip)(f"npm cannot install @asyncapi/parser:\n{installed.stderr}")
        (folder / "complete").touch()
    return folder / "node_modules"


def validate(document: Path, packages: Path) -> Validate:
    return subprocess.run(
        [required_program("node", "Debian's nodejs"), PACKAGE / "validate.cjs", document],
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(packages)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_document_is_valid_and_every_reference_leads_somewhere(packages: Path, tmp_path: Path) -> None:
    said = validate(DOCS / "asyncapi.yaml", packages)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")

    # The parser does look: at Kafka's bindings, and into the files that are referred to.
    shutil.copytree(DOCS / "streams", tmp_path / "streams")
    broken = (DOCS / "asyncapi.yaml").read_text().replace("partitions: 4", "partitions: four", 1)
    (tmp_path / "asyncapi.yaml").write_text(broken)
    said = validate(tmp_path / "asyncapi.yaml", packages)
    assert said.returncode == 1
    assert "channels.videos.bindings.kafka.partitions" in said.stdout

    (tmp_path / "streams/schemas/video.v1.schema.json").unlink()
    said = validate(tmp_path / "asyncapi.yaml", packages)
    assert said.returncode == 1
    assert "video.v1.schema.json" in said.stdout
