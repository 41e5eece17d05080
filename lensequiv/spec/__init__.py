"""What travels with a network: its record, and where its weights came from."""

from lensequiv.spec._fingerprint import DOMAIN, fingerprint, stored_tensors
from lensequiv.spec._formats import FORMAT, migrated
from lensequiv.spec._information import (
    Converted,
    Cost,
    FineTuned,
    ImageSet,
    Information,
    MapScores,
    MapTraining,
    Metrics,
    QuantitiesTraining,
    QuantityScores,
    Scores,
    StartedFrom,
    TrainedOn,
    Training,
    read_information,
)
from lensequiv.spec._json import as_json
from lensequiv.spec._map import MapSpec
from lensequiv.spec._network import Network
from lensequiv.spec._origin import Origin
from lensequiv.spec._quantities import LEVELS, QuantitiesSpec, Quantity
from lensequiv.spec._spec import Spec, checked_info

__all__ = [
    "DOMAIN",
    "FORMAT",
    "LEVELS",
    "Converted",
    "Cost",
    "FineTuned",
    "ImageSet",
    "Information",
    "MapScores",
    "MapSpec",
    "MapTraining",
    "Metrics",
    "Network",
    "Origin",
    "QuantitiesSpec",
    "QuantitiesTraining",
    "Quantity",
    "QuantityScores",
    "Scores",
    "Spec",
    "StartedFrom",
    "TrainedOn",
    "Training",
    "as_json",
    "checked_info",
    "fingerprint",
    "migrated",
    "read_information",
    "stored_tensors",
]
