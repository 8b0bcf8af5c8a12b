"""A finished trial: how its records are gathered as requests end, and its folder."""
