import pytest


@pytest.fixture
def plain_config():
    """What every `config.json` has, but for its format: of no further head."""
    return {
        "model": "c4",
        "options": {},
        "classes": ["a"],
        "input_size": 97,
        "preprocess": {},
        "info": {},
    }
