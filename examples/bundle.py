"""Puts trained weights into the package, under the name of their model and recipe.

    python examples/bundle.py runs/c8-modelJ/weights ... --changes "trained on modelJ@2"

Copies the folders that `examples/train.py` wrote to `lensequiv/weights/bundled`,
enters them in the catalogue, and their logits of three fixed images in
`tests/pretrained/golden.json`. A weight that was published before gets a new version;
the files of the old one stay as they are. The tables in the docs are made of the cards.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import lensequiv
from lensequiv.data import sample_paths
from lensequiv.weights import model_card

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lensequiv" / "weights"
GOLDEN = ROOT / "tests" / "pretrained" / "golden.json"
SAMPLES = 3


def golden_logits(folder: Path, recipe: str) -> list[list[float]]:
    """The first samples' logits, rounded; of Model J where a recipe has no samples."""
    model = lensequiv.from_pretrained(folder)
    if not any(path.name.startswith(f"{recipe}-") for path in sample_paths()):
        recipe = "modelJ"
    logits = model.predict(sample_paths(recipe)[:SAMPLES]).logits
    return [[round(value, 5) for value in row] for row in logits.tolist()]


def latest(info: dict[str, Any]) -> str:
    """Date of the last training: of the network, or of a head that came later."""
    trainings = ("training", "map_training", "quantities_training")
    return max(str(info[name]["date"]) for name in trainings if name in info)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Sorted by key."""
    path.write_text(json.dumps(dict(sorted(content.items())), indent=2) + "\n")


def main() -> None:
    """Bundles the folders that the command line names."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    p.add_argument(
        "--changes", required=True, help="what is new, in a line, for the catalogue"
    )
    p.add_argument(
        "--suffix", default="", help="of the name, for weights with other options"
    )
    args = p.parse_args()
    catalogue = json.loads((PACKAGE / "catalogue.json").read_text())
    golden = json.loads(GOLDEN.read_text())
    for folder in args.folders:
        model = lensequiv.from_pretrained(folder)  # checks everything
        recipe, _, _ = model.weights_info["trained_on"]["recipe"].partition("@")
        name = f"{model.name}-{recipe}{args.suffix}"
        config = json.loads((folder / "config.json").read_text())
        versions = catalogue.setdefault(name, [])
        if any(known["sha256"] == config["sha256"] for known in versions):
            raise SystemExit(f"{folder}: these weights are in the catalogue already")
        entry = {
            "version": len(versions) + 1,
            "date": latest(config["info"]),
            "sha256": config["sha256"],
            "folder": f"{name}@{len(versions) + 1}",
            "changes": args.changes,
        }
        place = PACKAGE / "bundled" / entry["folder"]
        shutil.copytree(folder, place)
        (place / "README.md").write_text(model_card(config, name))
        versions.append(entry)
        golden[name] = golden_logits(place, recipe)
        print(f"{folder}: bundled as {name}, version {entry['version']}")
    write_json(PACKAGE / "catalogue.json", catalogue)
    write_json(GOLDEN, golden)


if __name__ == "__main__":
    main()
