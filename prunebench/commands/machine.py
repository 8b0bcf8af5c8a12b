"""The command about this machine."""

from __future__ import annotations

from prunebench.commands.options import Json, out


def doctor(as_json: Json = False) -> None:
    """Say what this machine can serve and measure, what is missing, and how to get it."""
    from prunebench.commands.doctor import doctor_command

    doctor_command(as_json=as_json, console=out)
