"""`from_pretrained`: a name or a folder to a model that is ready to predict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from lensequiv._checks import ordered_names
from lensequiv._devices import resolve_device
from lensequiv._neutral import neutral
from lensequiv._suggestions import did_you_mean, explains_keywords
from lensequiv.models import LensNetwork, create_model, list_models
from lensequiv.models._heads import attach_heads
from lensequiv.pretrained._body import with_body_of
from lensequiv.spec import Origin, Spec
from lensequiv.weights._catalogue import Release, find_release, list_pretrained
from lensequiv.weights._format import (
    CONFIG,
    WEIGHTS,
    WeightsError,
    short,
)
from lensequiv.weights._hub import HubOptions, fetch, is_repo_id
from lensequiv.weights._organisation import (
    fetch_published,
    is_published_name,
    organisation,
)
from lensequiv.weights._provenance import read_provenance
from lensequiv.weights._reading import read_folder
from lensequiv.weights._tensors import check_tensors

__all__ = ["from_pretrained", "locate"]


# Of timm, torchvision, transformers and torch.load.
_OTHER_WORDS = {
    **dict.fromkeys(
        ("in_chans", "in_chan", "num_channels", "n_channels", "channels"),
        "in_channels=",
    ),
    **dict.fromkeys(
        ("n_classes", "nb_classes", "num_labels", "num_class"), "num_classes="
    ),
    **dict.fromkeys(("class_names", "labels", "id2label"), "classes=[...]"),
    **dict.fromkeys(("map_location", "device_map"), "device="),
    **dict.fromkeys(("dtype", "torch_dtype"), ".to(dtype) afterwards"),
    **dict.fromkeys(
        ("input_size", "img_size", "image_size"),
        "model.set_input_size(size) afterwards",
    ),
    **dict.fromkeys(("use_auth_token", "auth_token", "api_key"), "token="),
    **dict.fromkeys(("cache", "cache_folder"), "cache_dir="),
    **dict.fromkeys(("offline", "local_only"), "local_files_only=True"),
    **dict.fromkeys(
        ("pretrained", "weights", "checkpoint", "checkpoint_path", "path", "model"),
        "the first argument: a weight's name, a folder or owner/name",
    ),
    "strict": "nothing: weights are always loaded strictly",
    "trust_remote_code": "nothing: no code of others is ever run",
    "pixel_scale": "model.pixel_scale = ... afterwards",
    "temperature": "model.temperature = ... afterwards",
}


@explains_keywords(_OTHER_WORDS)
@neutral()
def from_pretrained(
    name: str | Path,
    *,
    num_classes: int | None = None,
    classes: list[str] | tuple[str, ...] | None = None,
    in_channels: int | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    device: str | torch.device = "cpu",
) -> LensNetwork:
    """Loads trained weights, strictly.

    Args:
        name: One of `list_pretrained()` (bundled, no network), which stands for the
            newest version of that weight, or with a version, `"c8-modelF@1"`; else a
            folder written by `save_pretrained` or `lensequiv download`; else a
            repository of the Hugging Face Hub, `owner/name`; else, if the environment
            variable `LENSEQUIV_HUB` names an owner there, that owner's repository of
            this name, a version being its tag (`v2`), from the cache if it is there. A
            `Path` is always a folder.
        num_classes: For fine-tuning: keeps the trained body and puts a new, randomly
            initialised head on it, even where the number is the trained one. What was
            fitted to the old classes and images goes with the old head: temperature,
            domain, `weights_info` (see `lensequiv.trust.calibrate`) and heads that
            map substructure or tell quantities, which another body would mislead. The
            classes are called `class0`, `class1` and so on unless `classes` names them.
        classes: Names for the new head's classes; implies `num_classes`. The very names
            that the weight was trained with, in its order, keep its head and change
            nothing; give `num_classes` as well to start that head anew.
        in_channels: For fine-tuning on images with another number of channels: the
            first layer's weights, summed over its channels, are shared out equally, so
            that equal channels give what one did. What was fitted to the old images
            goes, as with a new head. The trained number changes nothing.
        revision: Branch, tag or commit of the repository. Only a full commit names
            the same weights for ever; `model.origin.commit` is the one loaded.
        cache_dir: Where the Hub's client keeps its files, instead of `HF_HOME`.
        token: For private repositories; True takes the saved one, False none.
        local_files_only: Use the cache, not the network.
        force_download: Fetch the files again, even if they are in the cache. Nothing
            else does: a damaged file in the cache is an error, every time.
        device: Where the model is to be: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`, or
            `"auto"` for CUDA if there is any, else MPS, else the CPU.

    Returns:
        The model in evaluation mode, in float32, whatever torch's settings;
        `model.origin` says where it came from.

    Raises:
        ValueError: `name` is none of the three, a keyword of the Hub is given for a
            bundled weight or a folder, `classes` does not fit `num_classes`, or the
            device is not there.
        HubError: The files could not be had from the Hub; the message says why and
            what to do.
        FileNotFoundError: The folder lacks a file.
        WeightsError: Checksum, config or a tensor's name, shape, dtype or value is
            not what it should be; the message names it.
    """
    place = resolve_device(device)
    classes = None if classes is None else ordered_names(classes)
    hub = HubOptions(revision, cache_dir, token, local_files_only, force_download)
    directory, origin = locate(name, hub)
    try:
        model = _load(directory, origin)
    except WeightsError as error:
        if origin.source != "hub":
            raise
        raise WeightsError(
            f"{error} [{origin}; if force_download=True does not mend it, the "
            "repository itself is wrong: tell its owner]"
        ) from error
    if (num_classes, classes, in_channels) != (None, None, None):
        model = with_body_of(model, num_classes, classes, in_channels)
    return model.eval().to(place)


def locate(
    name: str | Path, hub: HubOptions, *, card: bool = False
) -> tuple[Path, Origin]:
    """The folder with a weight's files, fetched if need be.

    Args:
        name: As `from_pretrained`.
        hub: Keywords for the Hub.
        card: Fetch the card, too.

    Returns:
        The folder, and the origin; its checksum is the catalogue's for a bundled
        weight, else empty until the config is read.

    Raises:
        ValueError: As `from_pretrained`.
        HubError: As `from_pretrained`.
        WeightsError: As `from_pretrained`.
    """
    if not isinstance(name, str | Path):
        raise TypeError(
            f"name is {name!r:.60}; expected the name of a weight, a folder or "
            "owner/name"
        )
    owner = organisation()
    release = _release(name, owner) if isinstance(name, str) else None
    if release is not None and (release.folder is not None or owner is None):
        _refuse(hub, f"{name!r} is bundled with lensequiv")
        return release.directory, Origin("bundled", str(name), release.sha256)
    if release is not None and owner is not None:
        full = f"{release.name}@{release.version}"
        return fetch_published(owner, full, hub, sha256=release.sha256, card=card)
    if name != "" and Path(name).is_dir():
        _refuse(hub, f"{str(name)!r} is a folder here, which goes before the Hub")
        return Path(name), Origin("folder", str(name), "")
    if name != "" and Path(name).is_file():
        raise ValueError(
            f"{str(name)!r} is a file; expected the folder that holds {CONFIG} and "
            f"{WEIGHTS}, as save_pretrained writes them; a state dict goes into a "
            "network by load_state_dict"
        )
    if isinstance(name, str) and is_repo_id(name):
        directory = fetch(name, hub, card=card)
        commit = directory.name
        return directory, Origin("hub", name, "", hub.revision, commit)
    if isinstance(name, str) and owner is not None and is_published_name(name):
        return fetch_published(owner, name, hub, card=card)
    hint = did_you_mean(str(name), list_pretrained())
    if (wanted := str(name).lower()) in list_models():
        hint += f"create_model({wanted!r}) builds the network without weights; "
    raise ValueError(
        f"{str(name)!r} is neither a weight of the package "
        f"({', '.join(list_pretrained())}), nor an existing folder, nor of the form "
        f"owner/name of the Hugging Face Hub; {hint}"
        "see lensequiv.list_pretrained()"
    )


def _release(name: str, owner: str | None) -> Release | None:
    """The bundled weight of this name, if there is one.

    Raises:
        ValueError: There is no such version, nor anybody who may have published it.
    """
    try:
        return find_release(name)
    except ValueError:
        if owner is None:
            raise
        return None


def _refuse(hub: HubOptions, what: str) -> None:
    if given := hub.given():
        raise ValueError(f"{given[0]}= is for the Hugging Face Hub only, but {what}")


def _load(directory: Path, origin: Origin) -> LensNetwork:
    stored = read_folder(directory, origin.sha256)
    model = _build(directory / CONFIG, stored.spec)
    check_tensors(stored.tensors, model.tensors(), directory / WEIGHTS)
    model.load_tensors(stored.tensors)
    origin = replace(origin, sha256=stored.config["sha256"])
    if origin.source == "folder":
        origin = read_provenance(directory, origin)
    model.origin = origin
    return model


def _build(path: Path, spec: Spec) -> LensNetwork:
    """Builds the model that a record describes, without initialising it."""
    try:
        model = create_model(spec.model, **spec.options, initialize=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: cannot build the model: {short(error)}") from error
    attach_heads(model, spec)
    try:
        model.spec = replace(spec, options=model.spec.options)
    except ValueError as error:
        raise WeightsError(f"{path}: {short(error)}") from None
    return model
