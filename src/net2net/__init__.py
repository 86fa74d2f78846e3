"""net2net: make a trained neural network bigger without losing what it has learned."""

__version__ = "0.1.0"
