"""How good a network is: metrics with intervals.

`detection` is about its maps, `quantities` about what it measures of lenses.

`lensequiv.reports` writes them down.
"""

from lensequiv._moved import moved
from lensequiv.evaluation import detection, quantities
from lensequiv.evaluation._changes import perturbations
from lensequiv.evaluation._evaluate import ModelEvaluation, evaluate
from lensequiv.evaluation._metrics import Reliability, reliability, roc_auc, roc_curve
from lensequiv.evaluation._perturb import Perturbations, Perturbed, perturb
from lensequiv.evaluation._score import Evaluation, score

__all__ = [
    "Evaluation",
    "ModelEvaluation",
    "Perturbations",
    "Perturbed",
    "Reliability",
    "detection",
    "evaluate",
    "perturb",
    "perturbations",
    "quantities",
    "reliability",
    "roc_auc",
    "roc_curve",
    "score",
]

__getattr__ = moved(
    __name__,
    {
        "check_report": "lensequiv.reports.check_report",
        "table": "lensequiv.reports.table",
        "write_report": "lensequiv.reports.write_report",
    },
)
