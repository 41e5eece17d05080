import pytest

import lensequiv.domain
import lensequiv.evaluation
import lensequiv.inference
import lensequiv.models
import lensequiv.prediction
import lensequiv.reports
import lensequiv.streaming
import lensequiv.trust


@pytest.mark.parametrize(
    ("old", "name", "new", "called"),
    [
        (lensequiv.domain, "describe", lensequiv.domain, "image_features"),
        (lensequiv.domain, "outside", lensequiv.domain, "statistics_out_of_range"),
        (lensequiv.inference, "Images", lensequiv.inference, "ImagesOrPaths"),
        (lensequiv.models, "LensModel", lensequiv.models, "LensNetwork"),
        (lensequiv.prediction, "Images", lensequiv.inference, "ImagesOrPaths"),
        (lensequiv.prediction, "predict", lensequiv.inference, "predict"),
        (
            lensequiv.streaming,
            "predict_to_file",
            lensequiv.inference,
            "predict_to_file",
        ),
        (lensequiv.evaluation, "check_report", lensequiv.reports, "check_report"),
        (lensequiv.evaluation, "table", lensequiv.reports, "table"),
        (lensequiv.evaluation, "write_report", lensequiv.reports, "write_report"),
    ],
)
def test_former_names_work_and_say_where_they_went(old, name, new, called):
    expected = f"{old.__name__}.{name} is {new.__name__}.{called} now"
    with pytest.warns(DeprecationWarning, match=f"^{expected}$") as warned:
        found = getattr(old, name)
    assert warned[0].filename == __file__
    assert found is getattr(new, called)


def test_other_names_do_not_exist():
    with pytest.raises(AttributeError, match="no attribute 'x'"):
        lensequiv.domain.x  # noqa: B018


def test_trust_holds_what_it_held():
    assert lensequiv.trust.calibrate is lensequiv.inference.calibrate
    assert lensequiv.trust.Domain is lensequiv.domain.Domain
