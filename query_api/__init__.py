"""Read model -> HTTP: pages of videos, newest first, and single videos."""
