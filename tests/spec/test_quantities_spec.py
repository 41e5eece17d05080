"""Which quantities a network tells, in the record."""

from dataclasses import replace

import pytest

from lensequiv.spec import LEVELS, QuantitiesSpec, Quantity, migrated

ONE = Quantity("einstein_radius_arcsec", "arcsec", 1.3, 0.2, classes=("no", "vort"))
SPEC = QuantitiesSpec(32, 64, 4, (ONE, Quantity("shear", "", 0.1, 0.05)))


def test_written_and_read():
    assert QuantitiesSpec.from_config(SPEC.to_config()) == SPEC
    assert SPEC.names == ("einstein_radius_arcsec", "shear")
    assert SPEC.shape == (32, 64, 4, 2)
    assert ONE.levels == LEVELS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": 0}, "'inputs' is 0"),
        ({"hidden": 1.5}, "'hidden' is 1.5"),
        ({"components": 100}, "'components' is 100"),
        ({"quantities": []}, "'quantities' has 0"),
        ({"quantities": {}}, "'quantities' is {}"),
        ({"quantities": [3]}, "entry 0: it is 3"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        QuantitiesSpec.from_config({**SPEC.to_config(), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Shear"}, "'name' is 'Shear'"),
        ({"name": "a,b"}, "'name' is 'a,b'"),
        ({"unit": 3}, "'unit' is 3"),
        ({"mean": float("nan")}, "'mean' is nan"),
        ({"scale": 0}, "'scale' is 0"),
        ({"whole": 1}, "'whole' is 1"),
        ({"classes": "no"}, "'classes' is 'no'; expected a list"),
        ({"classes": [1]}, "'classes' is"),
        ({"levels": [0.1, 0.5]}, "'levels' is"),
        ({"levels": [0.1, 0.2, 0.2, 0.8, 0.9]}, "'levels' is"),
        ({"levels": [0.0, 0.2, 0.5, 0.8, 0.9]}, "'levels' is"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_a_quantity_that_cannot_be_is_refused(change, message):
    config = SPEC.to_config()
    config["quantities"][1] |= change
    with pytest.raises(ValueError, match=f"entry 1: .*{message}"):
        QuantitiesSpec.from_config(config)


def test_a_missing_key_and_a_name_twice_are_named():
    config = SPEC.to_config()
    del config["quantities"][0]["unit"]
    with pytest.raises(ValueError, match="entry 0: key 'unit' is missing"):
        QuantitiesSpec.from_config(config)
    with pytest.raises(ValueError, match="'einstein_radius_arcsec' twice"):
        replace(SPEC, quantities=(ONE, ONE))


def test_formats_before_quantities_have_none(plain_config):
    config = {**plain_config, "format": 3}
    assert migrated(config)["format"] == 3
    with pytest.raises(ValueError, match="unknown key 'quantities'"):
        migrated({**config, "quantities": SPEC.to_config()})
    assert "quantities" in migrated(
        {**config, "format": 4, "quantities": SPEC.to_config()}
    )
    with pytest.raises(ValueError, match="'quantities' is a list; expected an obj"):
        migrated({**config, "format": 4, "quantities": []})
