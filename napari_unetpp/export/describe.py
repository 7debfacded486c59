"""What an export says about itself, in words and as JSON."""

from __future__ import annotations

import json

from napari_unetpp import __version__
from napari_unetpp.export.check import Agreement
from napari_unetpp.export.options import ExportOptions
from napari_unetpp.export.sample import SAMPLES, smallest
from napari_unetpp.models.file import Model
from napari_unetpp.models.spec import ModelSpec, Normalisation

PAPER = (
    "Zhou et al., UNet++: A Nested U-Net Architecture for Medical Image Segmentation, DLMIA 2018"
)
PAPER_DOI = "10.1007/978-3-030-00889-5_1"


def in_short(spec: ModelSpec) -> str:
    """What a model is for, as a sentence."""
    return (spec.description or f"Finds {', '.join(spec.classes)}").rstrip(".")[:900] + "."


def as_json(model: Model, options: ExportOptions) -> str:
    """Facts for the metadata of a file."""
    spec, normalisation = model.spec, model.spec.normalisation
    facts = {
        "model": spec.name,
        "sha256": model.digest,
        "head": options.depth,
        "version": __version__,
        "licence": spec.licence,
        "classes": spec.classes,
        "axes": f"batch, channel, {', '.join('ZYX'[-spec.dims :].lower())}",
        "input": input_in_words(normalisation),
        "graph": graph_in_words(normalisation, tiled=options.tiled),
        "output": "the probability of each class, 0 to 1; a mask is what is 0.5 or more",
        "normalisation": normalisation.model_dump(),
        "voxel_size": spec.voxel_size,
        "smallest_side": smallest(spec, options.depth, tiled=options.tiled),
    }
    return json.dumps(facts)


def input_in_words(normalisation: Normalisation) -> str:
    """What has to be done to an image before the graph sees it."""
    return (
        f"float32; of each channel of the whole plane (volume), percentile {normalisation.low:g} "
        f"is brought to 0 and percentile {normalisation.high:g} to 1, and what is beyond is clipped"
    )


def graph_in_words(normalisation: Normalisation, *, tiled: bool) -> str:
    """What the graph itself does to intensities, and what is left out."""
    does: list[str] = []
    left_out: list[str] = []
    if normalisation.background == "bright":
        does.append("inverts the image, as its background is bright")
    if normalisation.background == "auto":
        (left_out if tiled else does).append("inverts the image if most of it is bright")
    if normalisation.gamma == "otsu":
        (left_out if tiled else does).append("brings Otsu's threshold to 0.5 by a power (gamma)")
    words = f"the graph {' and '.join(does)}" if does else "the graph takes them as they are"
    if left_out:
        words += f"; what is left out is that napari-unetpp {' and '.join(left_out)}"
    return words


def use_in_words(normalisation: Normalisation, *, tiled: bool) -> str:
    """How an image may be cut for the graph."""
    finds_background = normalisation.background == "auto"
    if tiled:
        words = "It may be cut into tiles, which have to overlap by the halo."
        dark = " Objects on a bright background have to be inverted before."
        return words + dark if finds_background else words
    if finds_background or normalisation.gamma == "otsu":
        return (
            "Give it whole planes (volumes): choose a tile as large as the image. The graph tells "
            "background and contrast from all it is given, and a small tile would mislead it."
        )
    return "Give it whole planes (volumes), or tiles that overlap."


def documentation(model: Model, options: ExportOptions, agreement: Agreement) -> str:
    """The README of a bioimage.io package, in Markdown."""
    spec = model.spec
    lines = [
        f"Finds: {', '.join(spec.classes)}; one channel of probabilities for each. A mask is what "
        "is 0.5 or more.",
        f"Takes: {input_in_words(spec.normalisation)}.",
        f"Then {graph_in_words(spec.normalisation, tiled=options.tiled)}.",
        use_in_words(spec.normalisation, tiled=options.tiled),
        f"Licence of the weights: {spec.licence or 'not stated'}. "
        f"Data: {spec.origin or 'not stated'}.",
        f"Network: {PAPER}, https://doi.org/{PAPER_DOI}.",
    ]
    if spec.voxel_size is not None:
        lengths = " × ".join(f"{length:g}" for length in spec.voxel_size)
        lines.insert(2, f"Voxels (z, y, x) of {lengths} µm: bring the volume to them before.")
    listed = "\n".join(f"- {line}" for line in lines)
    return f"""# {spec.name}, head L{options.depth} of UNet++

{in_short(spec)} Exported by napari-unetpp {__version__} from its model
`{spec.name}` (SHA-256 `{model.digest}`).

{listed}

## Validation

On the sample `{SAMPLES[spec.dims]}` of napari-unetpp, the masks and those of napari-unetpp itself
have an IoU of {agreement.iou:.3f}; the probabilities differ by {agreement.from_package:.2g} at
most. `test_input.npy` is that image, `test_output.npy` what the head gives for it. To validate the
model on your own images, label some and take `napari-unetpp evaluate IMAGES LABELS`.
"""
