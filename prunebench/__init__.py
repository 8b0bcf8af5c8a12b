"""prunebench: what a width-pruned language model really costs to serve."""

from importlib.metadata import version

__version__ = version("prunebench")
