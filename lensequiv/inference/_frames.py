"""Columns of predictions as a data frame of pandas, or a table of astropy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lensequiv.inference._columns import ABOUT

if TYPE_CHECKING:
    import pandas as pd
    from astropy.table import QTable

__all__ = ["as_pandas", "as_table"]


def as_pandas(columns: dict[str, Any]) -> pd.DataFrame:
    """A data frame; see `Prediction.to_pandas`.

    Args:
        columns: By name, in order.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "to_pandas needs pandas: pip install 'lensequiv[pandas]'"
        ) from error
    for name in ("path", "error"):  # None, not NaN, where there is nothing
        columns[name] = pd.Series(columns[name], dtype=object)
    return pd.DataFrame(columns)


def as_table(
    columns: dict[str, Any], *, scored: bool, told: Mapping[str, str]
) -> QTable:
    """An astropy table; see `Prediction.to_table`.

    Args:
        columns: By name, in order.
        scored: Whether the model has a domain, so that `ood_score` means something.
        told: The columns of quantities with their units. What astropy takes for a unit
            becomes the column's, else its description.
    """
    try:
        from astropy.table import MaskedColumn, QTable
        from astropy.units import Unit, UnrecognizedUnit
    except ImportError as error:
        raise ImportError(
            "to_table needs astropy: pip install 'lensequiv[fits]'"
        ) from error
    for name in ("label", *ABOUT[2:], "path"):
        texts = columns[name]
        # Columns of no row have no longest text.
        length = max([1, *(len(text or "") for text in texts)])
        columns[name] = MaskedColumn(
            [text or "" for text in texts],
            mask=[text is None for text in texts],
            dtype=f"U{length}",
        )
    columns["ood_score"] = MaskedColumn(
        columns["ood_score"], mask=np.full(len(columns["label"]), not scored)
    )
    for name, unit in told.items():
        known = Unit(unit, parse_strict="silent")
        columns[name] = MaskedColumn(
            columns[name],
            mask=np.isnan(columns[name]),
            unit=known if unit and not isinstance(known, UnrecognizedUnit) else None,
            description=unit or None,
        )
    return QTable(columns)
