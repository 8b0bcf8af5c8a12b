"""The claims of the study, each judged by the facts found in it."""
