"""One head of a model as a file for other programs: ONNX, PyTorch's own, or bioimage.io."""
