"""What every service shows its operators: logs, metrics, and a private server for health and metrics."""
