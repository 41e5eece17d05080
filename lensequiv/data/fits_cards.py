"""Single keywords of a FITS header, read without parsing the rest of it.

astropy parses every card before it can tell that a keyword is missing, which takes ten
times as long as reading a cut-out whose header is long.
"""

from __future__ import annotations

from typing import IO

Value = str | float | bool
"""Of a card: text, a number or a logical value."""


def read_cards(
    stream: IO[bytes], start: int, stop: int, keywords: frozenset[str]
) -> dict[str, Value]:
    """Look up some keywords.

    Args:
        stream: The file; its position is changed.
        start: Where the header begins, in bytes.
        stop: Where it ends.
        keywords: Upper case, with spaces up to the eight characters that they take in
            the file; longer ones, by the convention HIERARCH, without that word.

    Returns:
        The values of those that are there and have one, numbers as float; of a keyword
        that is repeated, the first.
    """
    stream.seek(start)
    text = stream.read(stop - start).decode("latin-1")
    found: dict[str, Value] = {}
    words = keywords | {"HIERARCH"}
    places = [at for at in range(0, len(text), 80) if text[at : at + 8] in words]
    for at in places:
        name, rest = text[at : at + 8], text[at + 8 : at + 80]
        if name == "HIERARCH":  # of longer names, wherever the sign stands
            name, sign, rest = rest.partition("=")
            name, rest = name.strip().upper(), sign + " " + rest
        if name in keywords and rest[:2] == "= ":
            value = _value(rest[2:])
            if value is not None:
                found.setdefault(name.rstrip(), value)
    return found


def _value(text: str) -> Value | None:
    """The value in a card, without its comment; None if it has none."""
    text = text.strip()
    if text.startswith("'"):
        end = text.find("'", 1)
        while end != -1 and text[end + 1 : end + 2] == "'":  # '' is a quote
            end = text.find("'", end + 2)
        return text[1 : end if end != -1 else None].replace("''", "'").rstrip()
    word = text.split("/")[0].strip()
    if word in ("T", "F"):
        return word == "T"
    try:
        return float(word.upper().replace("D", "E"))
    except ValueError:
        return word or None
