import numpy as np
import pytest

from lensequiv.data import ImageError, read_image


@pytest.fixture
def refuse():
    """Assert that reading fails with a message naming the file and each part."""

    def check(path, *parts, **kwargs):
        with pytest.raises(ImageError) as caught:
            read_image(path, **kwargs)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert "; expected " in message
        for part in parts:
            assert part in message

    return check


@pytest.fixture
def assert_is():
    """Assert values, shape and the promised memory properties of a read image."""

    def check(image, expected):
        assert image.dtype == np.dtype("=f4") and image.dtype.isnative
        assert image.flags.c_contiguous and image.flags.writeable
        assert image.shape == expected.shape
        np.testing.assert_array_equal(image, expected)

    return check
