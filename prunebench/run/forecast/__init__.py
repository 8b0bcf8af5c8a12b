"""What a run would do, how long it would take and how much disk it would use (`--dry-run`)."""
