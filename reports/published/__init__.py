"""The published study: its figures, its claims, and what our checks find in them."""
