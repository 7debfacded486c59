"""Keys of the viewer that are the dock's while it is on screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from napari.components import ViewerModel
from napari.utils.key_bindings import coerce_keybinding


class Shortcuts:
    """Bind keys that nobody has bound, and give them back.

    Parameters
    ----------
    viewer : ViewerModel
        Whose keys.
    actions : mapping of str to callable
        From keys like "Alt-1" to what they do.
    """

    def __init__(self, viewer: ViewerModel, actions: Mapping[str, Callable[[], None]]) -> None:
        self._viewer = viewer
        self._actions = actions
        self._bound: list[str] = []

    @property
    def bound(self) -> tuple[str, ...]:
        """The keys that are the dock's now."""
        return tuple(self._bound)

    def bind(self) -> None:
        """Take the keys; one that the user or another plugin has bound is left to them."""
        for key, action in self._actions.items():
            binding = coerce_keybinding(key)
            taken = binding in self._viewer.keymap or binding in self._viewer.class_keymap
            if key not in self._bound and not taken:
                self._viewer.bind_key(key, _ignoring_the_viewer(action))
                self._bound.append(key)

    def release(self) -> None:
        """Give the keys back."""
        for key in self._bound:
            self._viewer.bind_key(key, None)
        self._bound = []


def _ignoring_the_viewer(action: Callable[[], None]) -> Callable[[ViewerModel], None]:
    def act(viewer: ViewerModel) -> None:
        action()

    return act
