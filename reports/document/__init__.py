"""What a report is made of: blocks, charts, wording, and their HTML, Markdown and console forms."""
