"""The pixel scale of images: compared with the weights', and brought to it."""

import json
import warnings
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits

import lensequiv
from lensequiv.data import sample_paths
from lensequiv.domain import OutOfDomainWarning
from lensequiv.simulation import model_j, simulate, write_class_folders, write_hdf5
from lensequiv.transforms import resample

NOTE = "pixel scale 0.06 arcsec (training 0.05: resample=True brings the image to it)"
COARSE = replace(model_j, name="coarse", pixel_scale=0.06)

pytestmark = pytest.mark.filterwarnings("ignore::lensequiv.domain.OutOfDomainWarning")


@pytest.fixture(scope="module")
def model():
    return lensequiv.from_pretrained("c8-modelJ")


@pytest.fixture(scope="module")
def images():
    return np.stack([np.load(p) for p in sample_paths("modelJ")])


def write_fits(path, image, scale):
    hdu = fits.PrimaryHDU(image)
    if scale is not None:
        hdu.header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
        hdu.header.update({"CDELT1": -scale / 3600, "CDELT2": scale / 3600})
    hdu.writeto(path)
    return str(path)


def test_a_header_with_another_scale_is_noted(model, images, tmp_path):
    scales = [None, 0.05, 0.0503, 0.06, 0.04]
    files = [
        write_fits(tmp_path / f"{i}.fits", images[0], scale)
        for i, scale in enumerate(scales)
    ]
    with pytest.warns(OutOfDomainWarning, match="2 of 5 images .*\n.*3.fits: pixel"):
        result = model.predict(files)
    found = [
        [note for note in notes if "pixel scale" in note] for notes in result.notes
    ]
    assert found == [[], [], [], [NOTE], [NOTE.replace("0.06", "0.04")]]
    assert result.unlike_training.tolist() == [False, False, False, True, True]
    # The pixels are the same, and so are the answers: nothing was resampled.
    for row in result.logits:
        torch.testing.assert_close(row, result.logits[0], rtol=1e-5, atol=1e-5)


def test_what_the_caller_says_goes_before_the_header(model, images, tmp_path):
    path = write_fits(tmp_path / "a.fits", images[0], 0.06)
    assert not model.predict(path, pixel_scale=0.05).notes[0]
    assert NOTE in model.predict(images, pixel_scale=0.06).notes[0]
    for scale in (0.0505, 0.0495, np.float32(0.05)):
        assert not model.predict(images[0], pixel_scale=scale).notes[0]


@pytest.mark.slow
def test_resampling_is_that_of_the_transform(model, images, tmp_path):
    stack = torch.from_numpy(images)[:, None]
    expected = model.predict(resample(stack, 0.06, 0.05)).logits
    found = model.predict(images, pixel_scale=0.06, resample=True)
    assert torch.equal(found.logits, expected)
    assert not any("pixel scale" in note for notes in found.notes for note in notes)
    path = write_fits(tmp_path / "a.fits", images[0], 0.06)
    one = model.predict(path, resample=True).logits
    torch.testing.assert_close(one, expected[:1])
    (batch,) = lensequiv.iter_predict(model, path, resample=True)
    assert torch.equal(batch.logits, one)
    # Of the right scale already: as they are, to the bit.
    same = model.predict(images, pixel_scale=0.0502, resample=True)
    assert torch.equal(same.logits, model.predict(images).logits)


@pytest.mark.slow
def test_resampled_lenses_get_the_answers_of_those_rendered_at_the_scale(model):
    def rendered(scale, pixels):
        recipe = replace(COARSE, pixel_scale=scale, pixels=pixels)
        return simulate(recipe, 30, seed=5, noise=False)

    right = rendered(0.05, 150)
    expected = model.predict(right.images).logits
    spread = float(expected.std())
    for scale, pixels in ((0.06, 126), (0.04, 188)):
        images = rendered(scale, pixels).images
        found = model.predict(images, pixel_scale=scale, resample=True).logits
        as_it_is = model.predict(images).logits
        error = float((found - expected).square().mean().sqrt())
        assert error < 0.35 * float((as_it_is - expected).square().mean().sqrt())
        assert error < 0.4 * spread
        agree = (found.argmax(1) == expected.argmax(1)).float().mean()
        assert float(agree) >= 0.9


def test_scales_that_cannot_be_known_are_refused(model, images, tmp_path):
    with pytest.raises(ValueError, match=r"images is not known: give pixel_scale="):
        model.predict(images, resample=True)
    np.save(tmp_path / "a.npy", images[0])
    with pytest.raises(
        ValueError, match=r"a\.npy: nothing says its pixel scale.*pixel_"
    ):
        model.predict(tmp_path / "a.npy", resample=True)
    for bad in (0, -0.05, float("nan"), float("inf"), "0.05", True):
        with pytest.raises(ValueError, match=r"pixel_scale=.*a positive number"):
            model.predict(images, pixel_scale=bad)


def test_a_model_without_a_scale_says_so(images):
    model = lensequiv.create_model("c4", stem_fields=2, stem_kernel=5, stages=((2,),))
    assert model.pixel_scale is None
    with pytest.raises(ValueError, match=r"c4 was trained on .*set model\.pixel_scale"):
        model.predict(images, pixel_scale=0.05, resample=True)
    with pytest.warns(UserWarning, match="pixel_scale=0.06 is compared with nothing"):
        model.predict(images, pixel_scale=0.06)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(images)
    model.pixel_scale = 0.05
    assert model.predict(images, pixel_scale=0.06).notes[0] == [NOTE]


def test_frames_too_small_after_resampling_name_both_sizes(model, images):
    message = (
        r"x\[0\].*30 x 30 pixels; expected at least 97 x 97.*"
        r"resampled from 150 x 150 pixels of 0\.01 arcsec to 30 x 30 of 0\.05"
    )
    with pytest.raises(ValueError, match=message):
        model.predict(images, pixel_scale=0.01, resample=True)
    with pytest.warns(OutOfDomainWarning, match="only 74 x 74 pixels"):
        model.predict(images, pixel_scale=0.025, resample=True)
    with pytest.raises(ValueError, match=r"x\[0\]: images of 150 x 150 pixels of 50"):
        model.predict(images, pixel_scale=50.0, resample=True)


@pytest.mark.slow
def test_simulated_sets_know_their_scale(model, tmp_path):
    folder = write_class_folders(COARSE, 6, tmp_path / "set", seed=1, progress=False)
    file = write_hdf5(COARSE, 6, tmp_path / "set.h5", seed=1, progress=False)
    for x in (folder, folder / "vort", folder / "no" / "0.npy", file):
        result = model.predict(x)
        assert all(NOTE in notes for notes in result.notes), x
    expected = model.predict(folder, resample=True)
    assert not any("pixel scale" in n for notes in expected.notes for n in notes)
    torch.testing.assert_close(
        model.predict(file, resample=True).logits, expected.logits
    )
    (folder / "manifest.json").write_text(json.dumps({"recipe": {"pixel_scale": -1}}))
    assert not any(NOTE in notes for notes in model.predict(folder).notes)


@pytest.mark.slow
def test_stacks_are_predicted_image_by_image(model, images, tmp_path):
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["images"] = images
    np.savez(tmp_path / "stack.npz", images=images)
    np.save(tmp_path / "one.npy", images[2])
    expected = model.predict(images).logits
    for name in ("stack.h5", "stack.npz"):
        result = model.predict(tmp_path / name)
        torch.testing.assert_close(result.logits, expected)
        assert result.paths == [f"{tmp_path / name}[{i}]" for i in range(len(images))]
    both = model.predict([tmp_path / "one.npy", tmp_path / "stack.h5"])
    assert len(both) == 1 + len(images)
    torch.testing.assert_close(both.logits[[0, 3]], expected[[2, 2]])
    rest = list(lensequiv.iter_predict(model, tmp_path / "stack.h5", 2, start=3))
    torch.testing.assert_close(rest[0].logits, expected[3:5])


def test_to_file(model, images, tmp_path):
    path = write_fits(tmp_path / "a.fits", images[0], 0.06)
    write_fits(tmp_path / "b.fits", images[1], None)
    noted = lensequiv.predict_to_file(model, path, tmp_path / "a.csv", progress=False)
    assert NOTE in noted.read_text()
    for out, options in (
        ("b.csv", {"resample": True}),
        ("c.csv", {"pixel_scale": 0.06}),
    ):
        whole = tmp_path / out
        lensequiv.predict_to_file(model, path, whole, progress=False, **options)
        assert (NOTE in whole.read_text()) == ("resample" not in options)
    skipped = lensequiv.predict_to_file(
        model,
        [path, tmp_path / "b.fits"],
        tmp_path / "d.csv",
        progress=False,
        resample=True,
        on_error="skip",
    )
    assert "b.fits: nothing says its pixel scale" in skipped.read_text()
    with pytest.raises(ValueError, match="pixel_scale=-1"):
        lensequiv.predict_to_file(model, path, tmp_path / "e.csv", pixel_scale=-1)
    assert not list(tmp_path.glob(".e.csv*"))
