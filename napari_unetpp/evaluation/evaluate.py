"""How good the heads of a model are on images with labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_unetpp.errors import UserError
from napari_unetpp.evaluation.depths import ENSEMBLE, by_name, costs_of, device_for
from napari_unetpp.evaluation.metrics import InstanceCounts, PixelCounts
from napari_unetpp.evaluation.scores import Counts, Evaluation, HeadResult
from napari_unetpp.files import read_image
from napari_unetpp.inference.heads import Heads, mask_of
from napari_unetpp.inference.instances import separate
from napari_unetpp.inference.layout import Layout
from napari_unetpp.inference.options import SegmentOptions, pixel_size_along
from napari_unetpp.inference.predict import segment
from napari_unetpp.models.file import Model

UNLISTED = "not listed"


def evaluate(
    pairs: Sequence[tuple[Path, Path]],
    model: Model,
    *,
    options: SegmentOptions | None = None,
    threshold: float = 0.5,
    groups: Mapping[str, str] | None = None,
    progress: Callable[[int, int], object] = lambda done, count: None,
) -> Evaluation:
    """Segment images and compare the masks of each head and of the ensemble with the labels.

    Labels of a model with one class are instances (above 0 is the class); if they have just one
    value, connected pieces are the instances. With more classes the label is the number of the
    class, pieces are the instances, and the counts of all classes are added up.

    Parameters
    ----------
    pairs : sequence of (image file, label file)
        As `find_pairs` gives them.
    model : Model
        One of 2D takes stacks plane by plane.
    options : SegmentOptions, optional
        How to segment; the depth is the last head that is looked at.
    threshold : float
        In (0, 1].
    groups : mapping of str to str, optional
        The group of each image, by its file name without the ending; by default "colour" and
        "grey".
    progress : callable
        Called after each image with the number done and the number of all.

    Raises
    ------
    UserError
        If a file can't be read, an image doesn't fit the model, or labels don't fit their image.
    """
    options = options or SegmentOptions()
    totals: dict[tuple[str, str], Counts] = defaultdict(Counts)  # by head and group
    for number, (image_path, label_path) in enumerate(pairs, start=1):
        heads, labels = _segment_pair(image_path, label_path, model, options)
        group = "colour" if heads.layout.is_colour else "grey"
        if groups is not None:
            group = groups.get(image_path.stem, UNLISTED)
        for head, values in _named(heads, model).items():
            totals[head, group] += count(mask_of(values, threshold), labels, heads)
        progress(number, len(pairs))

    device = device_for(model, options.device)
    costs = by_name(model, costs_of(model, device, depth=options.depth))
    names = sorted({group for _, group in totals})
    results = tuple(
        HeadResult(
            head,
            _total(totals[head, group] for group in names).scores,
            {group: totals[head, group].scores for group in names},
            cost,
        )
        for head, cost in costs.items()
    )
    return Evaluation(model.spec.name, model.digest, device.label, threshold, results)


def count(mask: NDArray[np.uint8], labels: NDArray[Any], heads: Heads) -> Counts:
    """Count one image, piece by piece and class by class.

    Parameters
    ----------
    mask : uint8 array
        Class numbers, of the shape of `labels`.
    labels : int array
        The truth.
    heads : Heads
        What `mask` was made of.
    """
    classes = heads.values.shape[1]
    total = Counts(images=1)
    for index in heads.layout.indices():
        predicted, true = (heads.layout.result_part(whole, index) for whole in (mask, labels))
        for number in range(1, classes + 1):
            truth = true if classes == 1 else true == number
            found = predicted == number
            total += Counts(
                0,
                PixelCounts.of(found, truth),
                InstanceCounts.of(separate(found, heads.layout.dims), _instances(truth)),
            )
    return total


def _segment_pair(
    image_path: Path, label_path: Path, model: Model, options: SegmentOptions
) -> tuple[Heads, NDArray[Any]]:
    image, labels = read_image(image_path), read_image(label_path).data
    dims = model.spec.dims
    needed = Layout.of(image.data, image.axes, dims=dims).result_shape
    if labels.shape != needed:
        raise UserError(
            f"{label_path.name} has shape {labels.shape}, but its image needs labels of shape "
            f"{needed}."
        )
    try:
        size = options.pixel_size or pixel_size_along(image.pixel_size.lengths, dims)
        options = replace(options, pixel_size=size)
        return segment(image.data, model, axes=image.axes, options=options), labels
    except UserError as error:
        raise UserError(f"{image_path.name}: {error}") from error


def _named(heads: Heads, model: Model) -> dict[str, NDArray[Any]]:
    """The probabilities ``(class, *spatial)`` of each head and, if it has several, of all."""
    named = {f"L{k}": values for k, values in zip(heads.numbers, heads.values, strict=True)}
    return {**named, ENSEMBLE: heads.ensemble()} if len(model.spec.heads) > 1 else named


def _total(counts: Iterable[Counts]) -> Counts:
    return sum(counts, Counts())


def _instances(truth: NDArray[Any]) -> NDArray[Any]:
    """The labels as instances: where they tell none apart, connected pieces."""
    values = np.unique(truth)
    if np.count_nonzero(values) > 1:
        return truth
    pieces, _ = ndimage.label(truth != 0)
    return np.asarray(pieces)
