"""The project itself: its packaging, its pins, its private names, and which tests a change concerns."""
