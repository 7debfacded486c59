"""A network a person can use: weights with a spec, in one file without pickle, by name."""

from napari_unetpp.models.spec import HistoryEntry, ModelSpec, Normalisation
from napari_unetpp.models.store import DEFAULT_MODEL, Store, load_model, model_file

__all__ = [
    "DEFAULT_MODEL",
    "HistoryEntry",
    "ModelSpec",
    "Normalisation",
    "Store",
    "load_model",
    "model_file",
]
