"""An evaluation for people: a table on the screen, and reports with pictures."""

from lensequiv.reports._files import check_report, write_report
from lensequiv.reports._tables import table

__all__ = ["check_report", "table", "write_report"]
