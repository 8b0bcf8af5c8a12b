"""How many tokens: a number, or a distribution to draw from, the same for the same seed and request wherever it is drawn.

    128                          exactly
    uniform:64-256               every length from 64 to 256 alike
    normal:128,32                mean and standard deviation in tokens
    lognormal:128,64             mean and standard deviation in tokens, not of the logarithm
    lognormal:128,64,16-1024     the same, held between limits
    lognormal:p50=128,p90=512    median and 90th percentile, with limits or without

Draws are rounded, and at least 1. Of outputs alone `asked:128` is another: what the request itself asks for, as a line of an
OpenAI batch may, else any of the above.
"""

from __future__ import annotations

import math
import random
import re
from typing import Annotated

from pydantic import AfterValidator

_NUMBER = r"(\d+(?:\.\d+)?)"
_UNIFORM = re.compile(r"uniform:(\d+)-(\d+)")
_SPREAD = re.compile(rf"(normal|lognormal):{_NUMBER},{_NUMBER}(?:,(\d+)-(\d+))?")
_QUANTILES = re.compile(rf"lognormal:p50={_NUMBER},p90={_NUMBER}(?:,(\d+)-(\d+))?")
_Z90 = 1.2815515655446004  # of the standard normal distribution
_ASKED = "asked:"
_READS = "must be a number, or read like uniform:64-256, normal:128,32 or lognormal:128,64,16-1024"


def check_tokens(tokens: int | str) -> int | str:
    """A plain number as an int. Raises ValueError unless it is a length."""
    if isinstance(tokens, str) and tokens.isdecimal():
        tokens = int(tokens)
    if isinstance(tokens, int):
        if tokens < 1:
            raise ValueError("must be at least 1")
        return tokens
    uniform, spread, quantiles = (each.fullmatch(tokens) for each in (_UNIFORM, _SPREAD, _QUANTILES))
    found = uniform or spread or quantiles
    if not found:
        raise ValueError(f"{tokens!r} {_READS}")
    limits = found.groups()[-2:]
    if limits[0] is not None and not 1 <= int(limits[0]) <= int(limits[1]):
        raise ValueError(f"{tokens!r}: the limits must be at least 1 and rise")
    if spread and float(spread[2]) < 1:
        raise ValueError(f"{tokens!r}: the mean must be at least 1")
    if quantiles and not 1 <= float(quantiles[1]) <= float(quantiles[2]):
        raise ValueError(f"{tokens!r}: p50 must be at least 1, and p90 not below it")
    return tokens


def check_output_tokens(tokens: int | str) -> int | str:
    """As `check_tokens`, or `asked:` and such a length. Raises ValueError unless it is a length of answers."""
    if not leaves_to_requests(tokens):
        return check_tokens(tokens)
    return as_asked(check_tokens(unasked(tokens)))


Tokens = Annotated[int | str, AfterValidator(check_tokens)]
OutputTokens = Annotated[int | str, AfterValidator(check_output_tokens)]


def leaves_to_requests(tokens: int | str) -> bool:
    """Whether a request that asks for a length of its own has that."""
    return isinstance(tokens, str) and tokens.startswith(_ASKED)


def unasked(tokens: int | str) -> int | str:
    """The length of the requests that ask for none."""
    if not isinstance(tokens, str) or not tokens.startswith(_ASKED):
        return tokens
    rest = tokens.removeprefix(_ASKED)
    return int(rest) if rest.isdecimal() else rest


def as_asked(tokens: int | str) -> str:
    """The same length for those requests alone that ask for none."""
    return f"{_ASKED}{unasked(tokens)}"


def draw_tokens(tokens: int | str, key: str) -> int:
    """The length for one request. `key` is all that the draw depends on besides `tokens`."""
    tokens = unasked(tokens)
    if isinstance(tokens, int):
        return tokens
    draw = random.Random(key)
    if uniform := _UNIFORM.fullmatch(tokens):
        return draw.randint(int(uniform[1]), int(uniform[2]))
    if quantiles := _QUANTILES.fullmatch(tokens):
        middle, high = math.log(float(quantiles[1])), math.log(float(quantiles[2]))
        return _held(draw.lognormvariate(middle, (high - middle) / _Z90), quantiles[3], quantiles[4])
    spread = _SPREAD.fullmatch(tokens)
    if spread is None:
        raise ValueError(f"{tokens!r} {_READS}")
    mean, deviation = float(spread[2]), float(spread[3])
    if spread[1] == "normal":
        drawn = draw.gauss(mean, deviation)
    else:
        variance = math.log1p((deviation / mean) ** 2)  # of the logarithm
        drawn = draw.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))
    return _held(drawn, spread[4], spread[5])


def _held(drawn: float, least: str | None, most: str | None) -> int:
    """A draw between the limits."""
    return min(max(round(drawn), int(least or 1)), int(most or 10**9))


def most_tokens(tokens: int | str) -> int | None:
    """The longest that can be drawn; None where there is no limit. What requests ask for themselves is not counted."""
    tokens = unasked(tokens)
    if isinstance(tokens, int):
        return tokens
    limits = re.search(r"(\d+)-(\d+)$", tokens)
    return int(limits[2]) if limits else None
