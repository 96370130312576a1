"""What a run trains: each file registers one method."""

from experiments.methods.method import METHODS, Method, lookup, train_only

__all__ = ["METHODS", "Method", "lookup", "train_only"]
