"""What a load leaves behind: the schema of records, how they are written as requests end, and the summary."""
