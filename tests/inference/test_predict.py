import warnings

import numpy as np
import pytest
import torch
from astropy.io import fits

import lensequiv
from lensequiv.data import ImageError, read_image, sample_paths
from lensequiv.domain import OutOfDomainWarning

NOISE = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    return lensequiv.from_pretrained("c8-modelF")


@pytest.fixture(scope="module")
def images():
    return np.stack([read_image(p)[0] for p in sample_paths("modelF")])


@pytest.mark.slow
def test_every_form_of_the_same_images_gives_the_same_answer(model, images, tmp_path):
    paths = []
    for i, image in enumerate(images):
        paths.append(tmp_path / f"{i}.npy")
        np.save(paths[-1], image)
    reference = model.predict(images).logits
    forms = [
        torch.from_numpy(images),
        images[:, None],
        images.astype(">f8"),
        images.astype(np.int32),
        paths,
        [str(p) for p in paths],
        tmp_path,
        str(tmp_path),
    ]
    for form in forms:
        assert torch.equal(model.predict(form).logits, reference)


def test_result(model, images):
    result = model.predict(images)
    n = len(images)
    assert len(result) == n and result.paths is None
    for tensor in (result.logits, result.probabilities):
        assert tensor.shape == (n, 3) and tensor.dtype == torch.float32
        assert np.asarray(tensor).shape == (n, 3)
    np.testing.assert_allclose(result.probabilities.sum(1), 1, rtol=1e-6)
    assert result.classes == ("no", "sphere", "vort")
    best = result.probabilities.argmax(1)
    assert result.labels == [result.classes[i] for i in best]
    expected = (result.logits / model.temperature).softmax(1)
    assert torch.equal(expected, result.probabilities)
    assert result.ood_score.shape == (n,) and result.ood_score.dtype == torch.float32


@pytest.mark.parametrize("batch_size", [1, 4, 5, 100])
def test_batch_size_does_not_matter(model, images, batch_size):
    result = model.predict(images, batch_size=batch_size)
    torch.testing.assert_close(
        result.logits, model.predict(images).logits, rtol=1e-5, atol=1e-5
    )


def test_one_image_of_each_rank(model, images):
    reference = model.predict(images[:1]).logits
    for one in (images[0], images[0][..., None], images[:1], images[:1, None]):
        assert torch.equal(model.predict(one).logits, reference)


def test_gain_and_offset_do_not_matter(model, images):
    reference = model.predict(images).logits
    scaled = model.predict(images.astype(np.float64) * 3.7e-4 - 12.5).logits
    torch.testing.assert_close(scaled, reference, rtol=1e-3, atol=1e-3)


def test_images_at_the_networks_size_are_not_cropped_again(model, images):
    cropped = images[:, 10:139, 10:139]
    assert torch.equal(model.predict(cropped).logits, model.predict(images).logits)


def test_sizes_may_be_mixed(model, images, tmp_path):
    np.save(tmp_path / "a.npy", images[0])
    np.save(tmp_path / "b.npy", images[1][27:124, 27:124])
    np.save(tmp_path / "c.npy", images[2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        result = model.predict(tmp_path)
        alone = model.predict(images[[0, 2]])
    torch.testing.assert_close(result.logits[[0, 2]], alone.logits)


def test_mode_is_kept(model, images):
    model.train()
    try:
        training = model.predict(images).logits
        assert model.training
    finally:
        model.eval()
    assert torch.equal(training, model.predict(images).logits)
    assert not model.training


def test_fits(model, images, tmp_path):
    path = tmp_path / "two.fits"
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(images[0], name="SCI"),
        fits.ImageHDU(images[1], name="OTHER"),
    ]
    fits.HDUList(hdus).writeto(path)
    assert torch.equal(model.predict(path).logits, model.predict(images[0]).logits)
    other = model.predict(path, hdu="OTHER")
    assert torch.equal(other.logits, model.predict(images[1]).logits)


def test_simulated_samples_raise_no_warning(model, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error", OutOfDomainWarning)
        result = model.predict(images)
    assert result.notes == [[]] * len(images)


def test_real_images_are_flagged(model, telescope_images):
    with pytest.warns(OutOfDomainWarning, match="2 of 2 images are unlike"):
        result = model.predict(telescope_images)
    assert all(result.notes) and result.paths == list(map(str, telescope_images))


def test_light_in_the_centre_is_flagged(model, images):
    y, x = np.mgrid[:150, :150] - 74.5
    with_lens = images[0] + 2000 * np.exp(-(x**2 + y**2) / 18)
    with pytest.warns(OutOfDomainWarning, match=r"x\[0\]: centre"):
        model.predict(with_lens)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.full((150, 150), np.nan), ImageError, "NaN"),
        (np.ones((150, 150)), ImageError, "constant"),
        (np.zeros((0, 150, 150)), ImageError, "empty|holds no"),
        (
            NOISE.normal(size=(20, 20)),
            ValueError,
            r"x\[0\].*20 x 20.*expected at least 97",
        ),
        (NOISE.normal(size=(1, 2, 150, 150)), ValueError, r"x\[0\] has 2 channels; c8"),
        ("nowhere.npy", FileNotFoundError, "nowhere.npy"),
        ([], ValueError, "empty list"),
    ],
)
def test_bad_input_is_named(model, bad, error, message):
    with pytest.raises(error, match=message):
        model.predict(bad)


def test_bad_batch_size(model, images):
    with pytest.raises(ValueError, match="batch_size=0"):
        model.predict(images, batch_size=0)


@pytest.mark.parametrize("shape", [(3, 1, 150, 150), (6, 150, 150), (20, 150, 150)])
def test_a_stack_in_one_npy_file_is_told_where_to_go(model, tmp_path, shape):
    np.save(tmp_path / "lenses.npy", NOISE.normal(size=shape))
    with pytest.raises(ValueError, match="pass the array"):
        model.predict(tmp_path / "lenses.npy")
