from labelled_sets import folder, model, pictures

__all__ = ["folder", "model", "pictures"]
