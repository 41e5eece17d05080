"""What a map means, in the record."""

from dataclasses import replace

import pytest

import lensequiv
from lensequiv.spec import MapSpec, migrated

SPEC = MapSpec(4, 0.2, 0.25, 0.0405, 1e9, {"0.1": 0.3, "0.01": 0.8})


def test_written_and_read():
    assert MapSpec.from_config(SPEC.to_config()) == SPEC
    assert (SPEC.threshold(0.1), SPEC.threshold(0.01)) == (0.3, 0.8)
    with pytest.raises(ValueError, match=r"false_alarms=0.05.*measured are 0.1, 0.01"):
        SPEC.threshold(0.05)
    with pytest.raises(ValueError, match="measured are none"):
        replace(SPEC, thresholds={}).threshold(0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 4.0}, "'stride' is 4.0"),
        ({"stride": 0}, "'stride' is 0"),
        ({"radius": 0}, "'radius' is 0"),
        ({"mass": float("inf")}, "'mass' is inf"),
        ({"smoothing": "0.2"}, "'smoothing' is '0.2'"),
        ({"thresholds": [0.1]}, "'thresholds' is"),
        ({"thresholds": {"1.5": 0.2}}, "key '1.5'"),
        ({"thresholds": {"few": 0.2}}, "key 'few'"),
        ({"thresholds": {"0.1": 2}}, "has 2 for '0.1'"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MapSpec.from_config({**SPEC.to_config(), **change})


def test_a_missing_key_is_named():
    config = SPEC.to_config()
    del config["radius"]
    with pytest.raises(ValueError, match="key 'radius' is missing"):
        MapSpec.from_config(config)


def test_formats_before_maps_have_none(plain_config):
    config = {**plain_config, "format": 2}
    assert migrated(config)["format"] == 2
    with pytest.raises(ValueError, match="unknown key 'map'"):
        migrated({**config, "map": SPEC.to_config()})
    new = migrated({**config, "format": 3, "map": SPEC.to_config()})
    assert new["format"] == 3
    # A steerable network of those formats draws none, whatever the default is today.
    old = {**config, "options": {"stem_fields": 8}}
    before = {"stem_fields": 8, "map_fields": 0, "own_noise": False}
    assert migrated(old)["options"] == before


def test_a_network_without_a_map_is_written_for_older_versions():
    small = {"stem_fields": 2, "stages": ((2,), (2,))}
    written = lensequiv.create_model("c4", **small).spec.to_config()
    assert written["format"] == 2 and "map_fields" not in written["options"]
    untrained = lensequiv.create_model("c4", **small, map_fields=2).spec.to_config()
    assert untrained["format"] == 3 and untrained["options"]["map_fields"] == 2
    assert "own_noise" not in untrained["options"]


def test_an_option_of_a_later_format_is_written_in_it(plain_config):
    small = {"stem_fields": 2, "stages": ((2,), (2,)), "own_noise": True}
    written = lensequiv.create_model("c4", **small).spec.to_config()
    assert written["format"] == 5
    assert written["options"]["own_noise"] is True
    assert written["options"]["map_fields"] == 0
    # Older files stand for its absence, whatever they say.
    older = {**plain_config, "format": 4, "options": written["options"]}
    assert migrated(older)["options"]["own_noise"] is False
