"""UNet++ segmentation in napari.

The package is a house of layers that import one way: `network` holds the tensors, `models` a
network that a person can use, `inference` turns arrays into the masks of the heads L1 to L4,
`files` reads and writes them, `evaluation` and `training` measure and improve, and `cli` and
`widgets` put all of it into the user's hands. Importing the package itself loads none of them,
so that napari can read the manifest at once.
"""

__version__ = "0.1.0"
