"""Programs that some tests need and a machine may lack: skipped with the reason, demanded where CI installs them."""

import os
import shutil

import pytest


def required_program(name: str, package: str) -> str:
    """Where the program is; without it the test is skipped, or fails with YOUSYNC_REQUIRE_TOOLS=1."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/go/bin")
    if found is None:
        required = os.environ.get("YOUSYNC_REQUIRE_TOOLS") == "1"
        (pytest.fail if required else pytest.skip)(f"no `{name}` on the PATH: install {package}")
    return found
