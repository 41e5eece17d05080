"""How good a classifier is: metrics with intervals, and reports."""

from lensequiv.evaluation._evaluate import ModelEvaluation, evaluate
from lensequiv.evaluation._metrics import Reliability, reliability, roc_auc, roc_curve
from lensequiv.evaluation._perturb import Perturbed, perturb, perturbations
from lensequiv.evaluation._report import check_report, write_report
from lensequiv.evaluation._score import Evaluation, score
from lensequiv.evaluation._tables import table

__all__ = [
    "Evaluation",
    "ModelEvaluation",
    "Perturbed",
    "Reliability",
    "check_report",
    "evaluate",
    "perturb",
    "perturbations",
    "reliability",
    "roc_auc",
    "roc_curve",
    "score",
    "table",
    "write_report",
]
