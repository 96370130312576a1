"""The mathematics, on matrices alone: SVDs of thin factors, phi and its nulls, what dW does to W, ranks."""
