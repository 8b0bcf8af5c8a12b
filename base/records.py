"""The base of everything that is written to disk or sent over HTTP."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Frozen fields; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
