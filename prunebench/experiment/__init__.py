"""The experiment file, the configurations it names, and the forecast of `--dry-run`."""
