from heads import x

__all__ = ["x"]
