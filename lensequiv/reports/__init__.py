"""An evaluation for people: a table on the screen, and reports with pictures."""

from lensequiv.reports._files import check_report, write_report
from lensequiv.reports._perturbed import (
    check_perturbations,
    perturbations_table,
    write_perturbations,
)
from lensequiv.reports._tables import table

__all__ = [
    "check_perturbations",
    "check_report",
    "perturbations_table",
    "table",
    "write_perturbations",
    "write_report",
]
