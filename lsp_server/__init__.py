"""The language server: the protocol's methods, the settings and the command line."""

__version__ = "0.1.0"
