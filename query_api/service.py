"""The API's service: its processes, and what they share."""

import asyncio
import os
import shutil
import tempfile
from typing import Final

from contract.settings import Settings

_FIGURES: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder in which several processes keep their figures, for any of them to add up."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, and leave by `SystemExit`. MongoDB may be away, at the start too.

    Raises:
        SettingsError: an address cannot be listened on, or the connection string cannot be used.
    """
    master, folder = os.getpid(), None
    if settings.api_processes > 1:
        # The metrics' library looks for it once, as it is imported; hence the imports in here.
        folder = os.environ[_FIGURES] = tempfile.mkdtemp(prefix="yousync-api-")
    try:
        from query_api.app import make_app, require_usable_settings  # noqa: PLC0415
        from query_api.server import serve  # noqa: PLC0415

        asyncio.run(require_usable_settings(settings))
        serve(settings, make_app)
    finally:
        # Workers come this way, too, as they end.
        if folder is not None and os.getpid() == master:
            shutil.rmtree(folder, ignore_errors=True)
