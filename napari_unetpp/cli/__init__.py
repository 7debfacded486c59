"""The command line; works with no Qt installed, and loads torch only when there is work to do."""

from napari_unetpp.cli.app import app, main

__all__ = ["app", "main"]
