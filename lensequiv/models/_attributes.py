"""The record of a network as its attributes, checked when they are set."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from lensequiv._checks import check_class_names, check_count
from lensequiv.models._by_hand import noting_layers
from lensequiv.models._call import Call
from lensequiv.models._fitting import check_quantities, check_sides, neutral_classes
from lensequiv.models.sizes import InputSizes
from lensequiv.plain import QuantityHead
from lensequiv.spec import MapSpec, QuantitiesSpec, Spec, as_json, checked_info
from lensequiv.transforms import CropAndScale, Preprocessing

if TYPE_CHECKING:
    from lensequiv.domain import Domain
    from lensequiv.spec import Origin

__all__ = ["RecordAttributes"]

# Far beyond any use; what is larger is an error, and would fill the memory.
MAX_IN_CHANNELS = 1024
MAX_CLASSES = 65_536

STUDY_CLASSES = ("no", "sphere", "vort")


class RecordAttributes(nn.Module):
    """A module whose `spec` says everything that it is besides its tensors."""

    registered: ClassVar[str | None] = None
    _default_size: ClassVar[int] = 129

    in_channels: int
    num_classes: int
    input_sizes: InputSizes
    _spec: Spec
    _origin: Origin | None
    map_head: nn.Module | None
    """Draws the substructure; None in a network that does not."""
    quantity_head: QuantityHead | None
    """Tells the quantities of the record; None in a network that tells none."""
    call: Call
    recipe: str | None
    """Name for `create_model`, which takes the spec's options; None: unknown to it."""

    def __init_subclass__(cls, *, registered: str | None = None, **kwargs: Any) -> None:
        """Takes the name under which the registry builds the class itself.

        Args:
            registered: May hold arguments of the class: `"singh2021-{group}"`.
            **kwargs: Of other base classes.
        """
        super().__init_subclass__(**kwargs)
        cls.registered = registered
        if init := vars(cls).get("__init__"):
            cls.__init__ = noting_layers(init)  # type: ignore[method-assign]
        # `input_size = 33` in a class is the size that its networks start with.
        if isinstance(size := vars(cls).get("input_size"), int):
            del cls.input_size
            cls._default_size = size

    def __new__(cls, *args: Any, **kwargs: Any) -> RecordAttributes:
        """Notes the arguments, so that the network can be built again."""
        module = super().__new__(cls)
        vars(module)["call"] = Call.of(cls, args, kwargs)
        return module

    def __init__(
        self, in_channels: int, num_classes: int, input_sizes: InputSizes
    ) -> None:
        super().__init__()
        check_count("in_channels", in_channels, high=MAX_IN_CHANNELS)
        check_count("num_classes", num_classes, high=MAX_CLASSES)
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.input_sizes = input_sizes
        size = self._default_size
        if size not in input_sizes:
            size = input_sizes.nearest(size)[0]
        template = type(self).registered
        options = dict(self.call.arguments)
        name = (template or type(self).__name__).format(**options)
        for _, argument, _, _ in string.Formatter().parse(template or ""):
            options.pop(argument or "", None)
        # The study's names are the default of three classes; whoever asks for a number
        # of classes has classes of their own.
        neutral = num_classes != 3 or "num_classes" in self.call.given
        self._origin = None
        self.map_head = None
        self.quantity_head = None
        self.recipe = None if template is None else name
        self._spec = Spec(
            model=name,
            options=_lists(options),
            classes=neutral_classes(num_classes) if neutral else STUDY_CLASSES,
            input_size=size,
            preprocess=self._preprocess_for(size),
        )

    def _preprocess_for(self, size: int) -> Preprocessing:
        # Smaller valid sizes are taken as they are down to three quarters.
        keep = [s for s in self.input_sizes.range if 0.75 <= s / size < 1]
        return CropAndScale(size, tuple(keep))

    def __setattr__(self, name: str, value: Any) -> None:
        """Lets properties be set to modules, which torch would register instead."""
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def identify(self, name: str, options: Mapping[str, Any]) -> None:
        """Notes under which name, with which options, the registry built it."""
        self.recipe = name
        self._spec = replace(self._spec, model=name, options=_lists(options))

    # What the record says, as attributes

    @property
    def spec(self) -> Spec:
        """The record: everything that the network is besides its tensors."""
        return self._spec

    @spec.setter
    def spec(self, spec: Spec) -> None:
        ours = self._spec
        if (spec.model, spec.options) != (ours.model, ours.options):
            raise ValueError(
                f"the record of {spec.model} with {dict(spec.options)}; expected one "
                f"of {ours.model} with {dict(ours.options)}"
            )
        self._set(spec)

    def _set(self, spec: Spec) -> None:
        """Takes a record that fits the network.

        Raises:
            ValueError: Not as many classes as logits, or a size that the network does
                not take.
        """
        try:
            check_class_names(spec.classes, self.num_classes)
        except ValueError as error:
            raise ValueError(f"'classes': {error}") from None
        if spec.input_size not in self.input_sizes:
            raise ValueError(
                f"'input_size' is {spec.input_size}; {self.name} takes "
                f"{self.input_sizes}"
            )
        check_sides(self.name, self.input_sizes, spec.preprocess)
        if spec.map is not None and self.map_head is None:
            raise ValueError(
                f"'map' is of a network that maps substructure; this {self.name} has "
                "no such head (see LensNetwork.with_map)"
            )
        check_quantities(self.name, self.quantity_head, spec.quantities)
        self._spec = spec

    @property
    def name(self) -> str:
        """Name under which the registry builds it."""
        return self._spec.model

    @name.setter
    def name(self, name: str) -> None:
        self.identify(name, self.config)

    @property
    def config(self) -> Mapping[str, Any]:
        """Every keyword of its builder with its value: what rebuilds it."""
        return self._spec.options

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self._spec.classes

    @classes.setter
    def classes(self, names: Sequence[str]) -> None:
        if isinstance(names, str):
            raise ValueError(f"classes={names!r}: expected a list of names")
        checked = check_class_names(names, self.num_classes)
        self._set(replace(self._spec, classes=checked))

    @property
    def input_size(self) -> int:
        """The side in pixels that it was made or trained for; see `set_input_size`."""
        return self._spec.input_size

    @input_size.setter
    def input_size(self, size: int) -> None:
        self._set(replace(self._spec, input_size=size))

    @property
    def preprocess(self) -> Preprocessing:
        """Turns images in any flux unit into the network's input."""
        found = self._spec.preprocess
        if isinstance(found, CropAndScale):  # its messages name a size that fits
            found.sides = self.input_sizes.range
        return found

    @preprocess.setter
    def preprocess(self, preprocess: Preprocessing) -> None:
        self._set(replace(self._spec, preprocess=preprocess))

    @property
    def pixel_scale(self) -> float | None:
        """Of the training images, in arcsec per pixel; None if unknown."""
        return self._spec.pixel_scale

    @pixel_scale.setter
    def pixel_scale(self, scale: float | None) -> None:
        value = None if scale is None else as_json(scale, "pixel_scale")
        value = float(value) if type(value) is int else value
        self._set(replace(self._spec, pixel_scale=value))

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax.

        1 until `lensequiv.inference.calibrate` fits it.
        """
        return self._spec.temperature

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        value = as_json(temperature, "temperature")
        value = float(value) if type(value) is int else value
        self._set(replace(self._spec, temperature=value))

    @property
    def domain(self) -> Domain | None:
        """Where the training images lie among the network's features.

        None until `lensequiv.inference.calibrate` measures it.
        """
        return self._spec.domain

    @domain.setter
    def domain(self, domain: Domain | None) -> None:
        self._set(replace(self._spec, domain=domain))

    @property
    def map_spec(self) -> MapSpec | None:
        """What the map of the substructure means; None without a trained map head."""
        return self._spec.map

    @map_spec.setter
    def map_spec(self, spec: MapSpec | None) -> None:
        self._set(replace(self._spec, map=spec))

    @property
    def quantities_spec(self) -> QuantitiesSpec | None:
        """Which quantities the network tells; None if none.

        Settable to another of the same head, calibrated, for instance; see
        `LensNetwork.with_quantities` for another head.
        """
        return self._spec.quantities

    @quantities_spec.setter
    def quantities_spec(self, spec: QuantitiesSpec | None) -> None:
        self._set(replace(self._spec, quantities=spec))

    @property
    def weights_info(self) -> Mapping[str, Any]:
        """What is known about the weights (data, metrics, versions), JSON-able.

        Empty for an untrained model; `spec.information` is the same with types.
        """
        return self._spec.info

    @weights_info.setter
    def weights_info(self, info: Mapping[str, Any]) -> None:
        self._set(replace(self._spec, info=checked_info(info)))

    @property
    def origin(self) -> Origin | None:
        """Where the weights were loaded from, with their checksum, or None."""
        return self._origin

    @origin.setter
    def origin(self, origin: Origin | None) -> None:
        vars(self)["_origin"] = origin


def _lists(value: Any) -> Any:
    """Options as JSON holds them, but for values that it cannot hold."""
    if isinstance(value, Mapping):
        return {key: _lists(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_lists(inner) for inner in value]
    return value
