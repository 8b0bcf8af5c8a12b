"""What a load leaves behind: the schema of its records, and their table."""
