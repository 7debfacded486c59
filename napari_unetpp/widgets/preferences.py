"""What a new dock starts with: napari's Preferences where it has a page for plugins (0.9)."""

from __future__ import annotations

from dataclasses import dataclass

from napari import settings


@dataclass(frozen=True)
class Preferences:
    """The user's choices, as `napari.yaml` declares them.

    Attributes
    ----------
    device, tile, depth, threshold
        First values of the fields in the dock; a tile of 0 is what fits into memory.
    shortcuts : bool
        Whether the dock binds keys of the viewer.
    """

    device: str = "auto"
    tile: int = 0
    depth: int = 4
    threshold: float = 0.5
    shortcuts: bool = True


def read_preferences() -> Preferences:
    """The preferences, or the defaults in a napari without plugin settings (below 0.9)."""
    get_plugin_settings = getattr(settings, "get_plugin_settings", None)
    if get_plugin_settings is None:
        return Preferences()
    try:
        page = get_plugin_settings("napari-unetpp")
    except KeyError:  # the manifest isn't known, as where the dock is used without the plugin
        return Preferences()
    segment = page.segment
    return Preferences(
        segment.device, segment.tile, segment.depth, segment.threshold, page.viewer.shortcuts
    )
