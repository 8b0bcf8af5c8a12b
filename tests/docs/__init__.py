"""The docs, held against the code: generated pages are current, links and paths exist, the map draws the real imports.

`python -P -m tests.docs` writes every generated page anew.
"""
