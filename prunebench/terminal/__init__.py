"""Progress and the live view on a terminal, plain lines elsewhere."""
