"""The same load through Locust's users, for several machines and its web page."""
