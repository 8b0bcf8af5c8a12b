"""`prunebench load`: one trial, a sweep, a load through Locust, and the self-test."""
