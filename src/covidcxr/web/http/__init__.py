"""What every request passes: errors, access, logs, health, metrics, timeouts."""
