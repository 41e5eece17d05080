import numpy as np
import pytest
import torch
from ramps import ramp

from lensequiv.data import ImageError, as_images


class TestAsImages:
    @pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
    @pytest.mark.parametrize(
        ("shape", "expected"),
        [
            ((6, 5), (1, 1, 6, 5)),
            ((6, 5, 1), (1, 1, 6, 5)),
            ((1, 6, 5), (1, 1, 6, 5)),
            ((1, 6, 1), (1, 1, 6, 1)),
            ((7, 6, 5), (7, 1, 6, 5)),
            ((7, 1, 6, 5), (7, 1, 6, 5)),
            ((7, 4, 6, 5), (7, 4, 6, 5)),
        ],
    )
    def test_layouts(self, convert, shape, expected):
        images = as_images(convert(ramp(shape)))
        assert images.dtype == torch.float32
        assert images.shape == expected
        np.testing.assert_array_equal(images.numpy(), ramp(shape).reshape(expected))

    @pytest.mark.parametrize(
        "dtype",
        [
            "u1",
            "i1",
            "<u2",
            ">u2",
            "<i4",
            ">i4",
            "<u8",
            ">i8",
            "<f2",
            ">f2",
            "<f4",
            ">f4",
            "<f8",
            ">f8",
            "g",
        ],
    )
    def test_array_types(self, dtype):
        images = as_images(ramp((3, 6, 5)).astype(dtype))
        np.testing.assert_array_equal(images.numpy()[:, 0], ramp((3, 6, 5)))

    @pytest.mark.parametrize(
        "dtype",
        [
            "uint8",
            "int8",
            "int16",
            "uint16",
            "int32",
            "int64",
            "float16",
            "bfloat16",
            "float32",
            "float64",
        ],
    )
    def test_tensor_types(self, dtype):
        images = as_images(torch.as_tensor(ramp()).to(getattr(torch, dtype)))
        assert images.dtype == torch.float32
        np.testing.assert_array_equal(images.numpy()[0, 0], ramp())

    def test_strides(self):
        stack = ramp((4, 6, 5), np.float32)
        single = stack[:1]
        for view in (
            stack[::-1],
            single[::-1],
            stack[:, ::2, ::-1],
            stack.transpose(2, 1, 0),
            np.asfortranarray(stack),
            np.broadcast_to(stack[:1], (3, 6, 5)),
        ):
            images = as_images(view)
            np.testing.assert_array_equal(images.numpy()[:, 0], view)

    def test_read_only_array_is_not_written_to(self):
        array = ramp(dtype=np.float32)
        array.flags.writeable = False
        images = as_images(array)
        images += 1
        np.testing.assert_array_equal(array, ramp())

    def test_no_copy_without_need(self):
        array = ramp((2, 6, 5), np.float32)
        assert np.shares_memory(as_images(array).numpy(), array)

    def test_array_protocol(self):
        class Image:
            def __array__(self, dtype=None, copy=None):
                return ramp()

        np.testing.assert_array_equal(as_images(Image()).numpy()[0, 0], ramp())

    def test_gradient_flows(self, refuse):
        x = torch.as_tensor(ramp()).requires_grad_()
        as_images(x).sum().backward()
        assert x.grad is not None and (x.grad == 1).all()

    @staticmethod
    def refuse(x, *parts, name="x"):
        with pytest.raises(ImageError) as caught:
            as_images(x, name=name)
        message = str(caught.value)
        assert message.startswith(name) and "; expected " in message
        for part in parts:
            assert part in message

    @pytest.mark.filterwarnings("error")  # no RuntimeWarning beside the error
    @pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
    def test_not_finite(self, convert):
        stack = ramp((5, 6, 5))
        stack[3, 0, :2] = np.nan, -np.inf
        stack[4] = np.nan
        self.refuse(convert(stack), "x[3] holds 2 NaN or infinite pixels")
        self.refuse(convert(stack[3]), "x holds 2 NaN or infinite pixels")
        self.refuse(convert(stack[3][..., None]), "x holds 2 NaN")
        self.refuse(convert(ramp() * 1e39), "x holds 29 NaN or infinite pixels")
        self.refuse(convert(stack), "images[3] holds", name="images")

    def test_not_finite_in_second_channel(self):
        stack = ramp((3, 2, 6, 5))
        stack[1, 1, 2, 2] = np.inf
        self.refuse(stack, "x[1] holds 1 NaN or infinite pixel ")

    @pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
    def test_constant(self, convert):
        stack = ramp((3, 6, 5))
        stack[2] = 4
        self.refuse(convert(stack), "x[2] holds a constant image", "is 4 ")
        self.refuse(convert(stack[2]), "x holds a constant image")

    @pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
    @pytest.mark.parametrize("shape", [(0, 6, 5), (0, 0), (2, 1, 0, 5), (6, 0, 1)])
    def test_empty(self, convert, shape):
        self.refuse(convert(np.ones(shape)), "is empty", str(shape))

    @pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
    @pytest.mark.parametrize("shape", [(), (6,), (1, 1, 1, 6, 5)])
    def test_rank(self, convert, shape):
        self.refuse(convert(np.ones(shape)), f"{len(shape)}-D", str(shape), "(N, H, W)")

    def test_too_many_channels(self):
        self.refuse(ramp((2, 17, 5, 9)), "17 channels", "(N, C, H, W)", "(H, W, C)")

    @pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
    @pytest.mark.parametrize(
        ("shape", "expected"),
        [
            ((40, 33, 3), (1, 3, 40, 33)),
            ((2, 40, 33, 5), (2, 5, 40, 33)),
            ((2, 6, 5, 1), (2, 1, 6, 5)),
            ((2, 16, 40, 33), (2, 16, 40, 33)),
        ],
    )
    def test_channels_last(self, convert, shape, expected):
        array = ramp(shape)
        images = as_images(convert(array)).numpy()
        assert images.shape == expected
        last = shape[1:] != expected[1:]
        right = np.moveaxis(array, -1, -3) if last else array
        np.testing.assert_array_equal(images, right.reshape(expected))

    @pytest.mark.parametrize("dtype", ["?", "c8", "O", "U3", "M8[s]"])
    def test_array_type(self, dtype):
        array = ramp().astype("i8").astype(dtype)
        self.refuse(array, "object array" if dtype == "O" else str(np.dtype(dtype)))

    @pytest.mark.parametrize("dtype", [torch.bool, torch.complex64])
    def test_tensor_type(self, dtype):
        self.refuse(torch.as_tensor(ramp()).to(dtype), str(dtype))

    def test_sparse_tensor(self):
        self.refuse(torch.as_tensor(ramp()).to_sparse(), "sparse", "dense")

    def test_masked_array(self):
        masked = np.ma.masked_greater(ramp(), 26)
        self.refuse(masked, "holds 3 masked pixels")
        unmasked = np.ma.masked_array(ramp())
        np.testing.assert_array_equal(as_images(unmasked).numpy()[0, 0], ramp())

    @pytest.mark.parametrize(
        "kind", ["CCDData", "NDData", "NDDataArray", "Masked", "MaskedQuantity"]
    )
    @pytest.mark.parametrize("masked", [0, 1, 3])
    def test_containers(self, kind, masked):
        """Those of astropy, of which `numpy.asarray` drops the mask."""
        nddata = pytest.importorskip("astropy.nddata")
        mask = np.zeros((6, 5), bool)
        mask[0, :masked] = True
        if kind.startswith("Masked"):
            from astropy.units import Jy
            from astropy.utils.masked import Masked

            x = Masked(ramp() * Jy if "Quantity" in kind else ramp(), mask=mask)
        elif kind == "CCDData":
            x = nddata.CCDData(ramp(), mask=mask, unit="adu")
        else:
            x = getattr(nddata, kind)(ramp(), mask=mask if masked else None)
        if masked:
            pixels = "pixel;" if masked == 1 else "pixels;"
            self.refuse(x, f"holds {masked} masked {pixels}", "fill those pixels first")
        else:
            np.testing.assert_array_equal(as_images(x).numpy()[0, 0], ramp())

    @pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
    def test_masked_tensor(self):
        mask = torch.ones(6, 5, dtype=torch.bool)
        mask[1, :2] = False
        tensor = torch.masked.masked_tensor(torch.as_tensor(ramp()), mask)
        self.refuse(tensor, "holds 2 masked pixels")

    def test_mask_of_another_shape(self):
        class Container:
            data, mask = ramp(), np.ones((3, 3), bool)

        self.refuse(Container(), "has a mask of shape (3, 3)", "(6, 5)")

    @pytest.mark.parametrize("x", [[[1.0, 2.0]], "a.npy", None, 3.0])
    def test_neither_array_nor_tensor(self, x):
        with pytest.raises(TypeError, match=f"x is of type {type(x).__name__}; exp"):
            as_images(x)


@pytest.mark.parametrize("kind", [list, tuple])
def test_lists_are_stacked(kind):
    parts = [ramp() + i for i in range(3)]
    np.testing.assert_array_equal(as_images(kind(parts)), as_images(np.stack(parts)))
    tensors = kind(torch.from_numpy(part)[None] for part in parts)
    assert torch.equal(as_images(tensors), as_images(np.stack(parts)))


def test_masks_within_a_list():
    masked = np.ma.masked_array(ramp(), ramp() < 3)
    with pytest.raises(ImageError, match=r"x\[1\] holds 3 masked pixels"):
        as_images([ramp(), masked])


def test_shapes_within_a_list():
    with pytest.raises(ImageError, match=r"x\[0\]: \(6, 5\), x\[2\]: \(4, 4\)"):
        as_images([np.eye(6, 5), np.eye(6, 5), np.eye(4)])


def test_objects_with_an_array_in_data():
    cutout = pytest.importorskip("astropy.nddata").Cutout2D(ramp(), (2, 2), 3)
    with pytest.raises(TypeError, match=r"Cutout2D; .*: give its array, x\.data"):
        as_images(cutout)
