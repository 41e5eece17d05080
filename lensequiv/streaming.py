"""The former place of `lensequiv.inference`: predictions written to files."""

from lensequiv.inference import predict_to_file

__all__ = ["predict_to_file"]
