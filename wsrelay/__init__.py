"""A WebSocket edge on Twisted: one HTTP request in Python, then a raw splice of two connections."""

__version__ = "0.1.0"
