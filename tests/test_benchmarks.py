"""The benchmarks against other packages do without what isn't installed, and say so."""

import sys

import pytest

from benchmarks import openvino, peers


def test_a_peer_that_is_missing_is_left_out_in_a_sentence(monkeypatch):
    for package in ("monai.networks.nets", "segmentation_models_pytorch"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    sizes, missing = peers.there(32, 64)
    assert list(sizes) == [peers.OURS]
    assert len(missing) == 2  # MONAI is in the table twice, and is missed once
    assert all("requirements.txt" in sentence for sentence in missing)


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_without_openvino_a_sentence_says_what_is_needed(monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert "requirements.txt" in openvino.problem_with(tmp_path)
