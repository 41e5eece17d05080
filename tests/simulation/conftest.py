from functools import cache

import pytest

from lensequiv.simulation import simulate


@pytest.fixture(scope="session")
def simulated():
    """Simulate 64 images a class once per recipe, noise and rotation."""

    @cache
    def run(recipe, noise=True, rotation=0.0):
        return simulate(recipe, 192, seed=1, noise=noise, rotation=rotation)

    return run
