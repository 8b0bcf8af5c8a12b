class ReportError(Exception):
    """A run that cannot be read or a report that cannot be written; one line that names the path."""
