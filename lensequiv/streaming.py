"""The former place of predictions written to files: its names say where they are."""

from lensequiv._moved import moved

__getattr__ = moved(
    __name__, {"predict_to_file": "lensequiv.inference.predict_to_file"}
)
