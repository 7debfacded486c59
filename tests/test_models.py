"""Model files and the store: what is saved comes back, and what was tampered with is refused."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from napari_unetpp.atomic import write_atomically
from napari_unetpp.errors import UserError
from napari_unetpp.models import DEFAULT_MODEL, HistoryEntry, ModelSpec, Store, load_model
from napari_unetpp.models.file import _digest, build_network, read_model, save_model
from napari_unetpp.models.header import DIGEST_KEY, SPEC_KEY, read_spec
from napari_unetpp.models.spec import FORMAT


@pytest.fixture
def path(tmp_path, tiny_model) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_model(tiny_model.network, tiny_model.spec, path)
    return path


def forge(path: Path, *, spec=None, tensors=None, honest=True) -> None:
    """Change what a file holds; `honest` gives it a checksum that fits, as anybody can."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        old = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    new = {**old, **(tensors or {})}
    if spec is not None:
        metadata[SPEC_KEY] = spec if isinstance(spec, str) else json.dumps(spec)
    if honest:
        metadata[DIGEST_KEY] = _digest(metadata[SPEC_KEY], new)
    save_file(new, path, metadata)


def described(path: Path) -> dict:
    return read_spec(path).model_dump(mode="json")


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_model(path)
    sentence = str(caught.value)
    assert path.name in sentence
    assert "\n" not in sentence
    return sentence


SPECS = st.builds(
    ModelSpec,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,20}", fullmatch=True),
    description=st.text(st.characters(codec="utf-8"), max_size=30),
    in_channels=st.integers(1, 3),
    classes=st.lists(st.text("abc", min_size=1), min_size=1, max_size=3).map(tuple),
    dims=st.sampled_from([2, 3]),
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=4).map(tuple),
    norm=st.sampled_from([None, "batch"]),
)


@settings(max_examples=15)
@given(SPECS, st.booleans())
def test_what_is_saved_comes_back(tmp_path_factory, spec, half):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    saved = save_model(build_network(spec).eval(), spec, path, half=half)
    loaded = read_model(path)
    assert loaded.spec == spec == read_spec(path)
    assert loaded.digest == saved.digest
    assert not loaded.network.training
    x = torch.randn(1, spec.in_channels, *(9, 12, 5)[: spec.dims])
    with torch.no_grad():
        for new, old in zip(loaded.network(x), saved.network(x), strict=True):
            torch.testing.assert_close(new, old, atol=0.02 if half else 0, rtol=0.02 if half else 0)
    assert all(
        p.dtype == torch.float32 and not p.requires_grad for p in loaded.network.parameters()
    )


def test_half_is_half_the_size(tmp_path, make_model):
    model = make_model(widths=(16, 32, 64))
    sizes = []
    for half in (False, True):
        save_model(model.network, model.spec, tmp_path / "m.safetensors", half=half)
        sizes.append((tmp_path / "m.safetensors").stat().st_size)
    assert 0.45 < sizes[1] / sizes[0] < 0.6


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="it can't be seen here")
def test_a_model_that_was_read_does_not_hold_its_file(path):
    model = read_model(path)  # Windows could neither replace nor remove it
    assert str(path) not in Path("/proc/self/maps").read_text()
    assert model.spec.name


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    assert "truncated" in refused(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip", b"\x80\x02 a pickle", b"\xff" * 64])
def test_another_kind_of_file_is_refused(path, content):
    path.write_bytes(content)
    refused(path)
    with pytest.raises(UserError):
        read_spec(path)


def test_weights_of_another_program_are_refused(path):
    save_file({"weight": torch.zeros(3)}, path)
    assert "not a model of napari-unetpp" in refused(path)
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})
    assert "not a model of napari-unetpp" in refused(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "nothing.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    refused(tmp_path / "folder.safetensors")


@settings(max_examples=40)
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_a_single_changed_bit_is_noticed(tmp_path_factory, tiny_model, place, bit):
    path = tmp_path_factory.mktemp("bits") / "tiny.safetensors"
    save_model(tiny_model.network, tiny_model.spec, path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        model = read_model(path)
    except UserError:
        return
    assert model.digest == tiny_model.digest  # e.g. in the blanks that fill the header up
    torch.testing.assert_close(
        dict(model.network.state_dict()), dict(tiny_model.network.state_dict()), rtol=0, atol=0
    )


def test_changed_weights_are_refused(path):
    forge(path, tensors={"classifiers.L1.bias": torch.ones(1)}, honest=False)
    assert "checksum" in refused(path)


def test_a_changed_spec_is_refused(path):
    forge(path, spec={**described(path), "name": "better"}, honest=False)
    assert "checksum" in refused(path)


def test_a_newer_file_is_refused(path):
    forge(path, spec={"format": FORMAT + 1, "anything": "else"})
    assert "newer napari-unetpp" in refused(path)


@pytest.mark.parametrize(
    "spec",
    ["", "{", "[]", "null", "3", "[" * 100_000, '{"name": "../x"}', '{"name": "x", "widths": []}'],
)
def test_a_damaged_spec_is_refused(path, spec):
    forge(path, spec=spec)
    assert "damaged" in refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"widths": [10**12, 10**12]},
        {"widths": [8] * 1000},
        {"widths": [0, 4]},
        {"in_channels": -1},
        {"dims": 4},
        {"norm": "layer"},
        {"classes": []},
        {"unknown": 1},
        {"name": "a/b"},
        {"normalisation": {"low": 50, "high": 5}},
    ],
)
def test_a_spec_out_of_range_is_refused(path, change):
    forge(path, spec={**described(path), **change})
    assert "damaged" in refused(path)


@pytest.mark.parametrize("change", [{"widths": [8192] * 9}, {"in_channels": 2}, {"norm": None}])
def test_weights_that_do_not_fit_the_spec_are_refused_before_memory_is_taken(path, change):
    forge(path, spec={**described(path), **change})  # the first would be hundreds of gigabytes
    started = time.monotonic()
    assert "don't fit" in refused(path)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(2),
        torch.zeros(1, dtype=torch.int32),
        torch.zeros(1, dtype=torch.complex64),
        torch.zeros(1, dtype=torch.bool),
    ],
)
def test_weights_of_another_form_are_refused(path, tensor):
    forge(path, tensors={"classifiers.L1.bias": tensor})
    assert "don't fit" in refused(path)


def test_weights_too_many_are_refused(path):
    forge(path, tensors={"classifiers.L9.bias": torch.zeros(1)})
    assert "don't fit" in refused(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(path, value):
    forge(path, tensors={"classifiers.L1.bias": torch.tensor([value])})
    assert "not numbers" in refused(path)


def test_a_save_that_fails_leaves_the_old_file(path, tiny_model, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="No space left on device"):
        save_model(tiny_model.network, tiny_model.spec, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("moment", ["os.fsync", "pathlib.Path.replace"])
def test_a_save_that_is_killed_leaves_the_old_file(path, moment):
    before = path.read_bytes()
    module, _, name = moment.rpartition(".")
    code = f"""
import os, pathlib
from napari_unetpp.atomic import write_atomically
setattr({module}, {name!r}, lambda *_: os._exit(9))
write_atomically(pathlib.Path({str(path)!r}), b"new" * 1000)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert path.read_bytes() == before
    assert Store(path.parent).names()[-1] == "tiny"  # what the killed save left is no model


def appearing(path: Path, content: bytes):
    """In place of `os.fsync`: just then another program takes the name."""

    def fsync(descriptor):
        if not path.exists():
            path.write_bytes(content)

    return fsync


@pytest.fixture(params=[True, False], ids=["links", "no links"])
def links(request, monkeypatch):
    """Whether the file system has hard links."""

    def none(self, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not request.param:
        monkeypatch.setattr(Path, "hardlink_to", none)


def test_what_has_to_be_new_never_replaces_a_file(tmp_path, links, monkeypatch):
    path = tmp_path / "new" / "model"
    write_atomically(path, b"first", new=True)
    assert path.read_bytes() == b"first"
    with pytest.raises(FileExistsError):
        write_atomically(path, b"second", new=True)
    raced = tmp_path / "new" / "raced"
    monkeypatch.setattr(os, "fsync", appearing(raced, b"theirs"))
    with pytest.raises(FileExistsError):
        write_atomically(raced, b"mine", new=True)
    assert raced.read_bytes() == b"theirs"
    assert sorted(p.name for p in path.parent.iterdir()) == ["model", "raced"]
    write_atomically(path, b"third")
    assert path.read_bytes() == b"third"


def test_a_new_file_that_cannot_be_written_is_told(tmp_path, links, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_atomically(tmp_path / "model", b"new", new=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_others_may_read_a_model(path, tiny_model):
    reference = path.with_name("reference")
    reference.touch()
    assert path.stat().st_mode == reference.stat().st_mode


def test_a_name_or_a_file_loads(tiny_store, path):
    digest = tiny_store.load("tiny").digest
    assert load_model("tiny").digest == load_model(path).digest == digest
    assert load_model(str(path)).spec.name == "tiny"
    with pytest.raises(UserError, match=r"no model 'cells': choose one of .*tiny"):
        load_model("cells")


def test_models_are_added_renamed_exported_and_removed(tiny_store, path, tmp_path):
    assert tiny_store.add(path, "cells 2") == "cells 2"
    assert tiny_store.names()[-2:] == ["cells 2", "tiny"]
    assert tiny_store.spec("cells 2").name == tiny_store.load("cells 2").spec.name == "cells 2"

    target = tmp_path / "given" / "away.safetensors"
    tiny_store.export("tiny", target)
    assert target.read_bytes() == tiny_store.path("tiny").read_bytes()
    with pytest.raises(UserError, match="exists and is kept"):
        tiny_store.export("cells 2", target)
    tiny_store.export("cells 2", target, force=True)
    assert read_spec(target).name == "cells 2"

    tiny_store.remove("tiny")
    assert "tiny" not in tiny_store.names()
    assert tiny_store.add(path) == "tiny"
    assert tiny_store.load("tiny").digest == read_model(path).digest


@pytest.mark.parametrize("name", ["tiny", "Tiny", "TINY"])
def test_a_name_that_is_taken_is_refused(tiny_store, path, name):
    # Where "Tiny" and "tiny" are one file, the old model would be lost.
    before = tiny_store.path("tiny").read_bytes()
    with pytest.raises(UserError, match="already"):
        tiny_store.add(path, name)
    assert tiny_store.path("tiny").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", "", " x", ".x", "x\n", "x:y", "é", "a" * 81, "-x"]
)
def test_a_name_that_can_be_none_is_refused(tiny_store, path, name):
    with pytest.raises(UserError, match="can't be the name"):
        tiny_store.add(path, name)
    for action in (tiny_store.load, tiny_store.spec, tiny_store.remove):
        with pytest.raises(UserError, match="There is no model"):
            action(name)


def test_versions_are_numbered(tiny_store, path):
    before = path.read_bytes()
    assert [tiny_store.add_version(path, "tiny") for _ in range(2)] == ["tiny+1", "tiny+2"]
    assert tiny_store.add_version(path, "tiny+1") == "tiny+3"
    assert tiny_store.add_version(path, "cells 2+9") == "cells 2+1"
    assert tiny_store.load("tiny+3").spec.name == "tiny+3"
    assert path.read_bytes() == before
    tiny_store.remove("tiny+2")
    assert tiny_store.add_version(path, "tiny") == "tiny+4"  # gaps are left …
    tiny_store.add(path, "TINY+7")
    assert tiny_store.add_version(path, "tiny") == "tiny+8"  # … in whatever case


def test_two_programs_never_get_the_same_version(tiny_store, path, links, monkeypatch):
    theirs = tiny_store.folder / "tiny+1.safetensors"
    monkeypatch.setattr(os, "fsync", appearing(theirs, b"theirs"))
    assert tiny_store.add_version(path, "tiny") == "tiny+2"
    assert theirs.read_bytes() == b"theirs"


@pytest.mark.parametrize("name", [None, "cells"])
def test_a_name_that_is_taken_meanwhile_is_refused(tmp_path, path, monkeypatch, name):
    store = Store(tmp_path / "store")
    theirs = store.folder / f"{name or 'tiny'}.safetensors"
    monkeypatch.setattr(os, "fsync", appearing(theirs, b"theirs"))
    with pytest.raises(UserError, match="already"):
        store.add(path, name)
    assert theirs.read_bytes() == b"theirs"


def test_versions_of_a_long_name_can_be_read(tiny_store, path):
    long = "a" * 80
    tiny_store.add(path, long)
    names = [tiny_store.add_version(path, long) for _ in range(2)]
    assert [tiny_store.load(name).spec.name for name in names] == names
    assert tiny_store.add_version(path, names[0])[-2:] == "+3"


def test_a_damaged_version_is_not_added(tiny_store, path):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError):
        tiny_store.add_version(path, "tiny")
    assert tiny_store.names()[-1] == "tiny"


def test_a_free_name_can_be_asked_for(tiny_store):
    assert tiny_store.free_path("cells 2").parent == tiny_store.folder
    with pytest.raises(UserError, match="already"):
        tiny_store.free_path("TINY")


def test_a_family_shares_its_corrections(tiny_store, tiny_model):
    folder = tiny_store.corrections_folder(tiny_model.spec.lineage(tiny_model.digest))
    assert folder.is_relative_to(tiny_store.folder)
    entries = [
        HistoryEntry(action="trained"),
        HistoryEntry(action="fine-tuned", parent=tiny_model.digest, parent_name="tiny"),
        HistoryEntry(action="fine-tuned", parent="f" * 64, parent_name="tiny+1"),
    ]
    for count, parent in ((1, None), (2, "tiny"), (3, "tiny+1")):
        spec = tiny_model.spec.model_copy(update={"history": tuple(entries[:count])})
        same = tiny_store.corrections_folder(spec.lineage("e" * 64)) == folder
        assert same == (count > 1)
        assert spec.parent_name == parent


def test_a_damaged_file_is_not_added(tiny_store, path):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError):
        tiny_store.add(path, "cells")
    assert "cells" not in tiny_store.names()


def test_a_shipped_model_is_neither_removed_nor_replaced(tmp_path, path):
    store = Store(tmp_path / "user")
    store.shipped_folder = path.parent
    assert store.is_shipped("tiny")
    assert store.names() == ["tiny"]
    with pytest.raises(UserError, match="comes with napari-unetpp"):
        store.remove("tiny")
    with pytest.raises(UserError, match="already"):
        store.add(path)
    assert path.exists()


def test_an_empty_store_says_so(tmp_path):
    store = Store(tmp_path / "not there")
    store.shipped_folder = tmp_path
    assert store.names() == []
    with pytest.raises(UserError, match="choose one of none"):
        store.path("tiny")


def test_every_shipped_model_loads(tmp_path):
    store = Store(tmp_path)
    if not store.names():
        pytest.skip("no weights here")
    assert store.names()[0] == DEFAULT_MODEL
    for name in store.names():
        spec = store.load(name).spec
        assert spec.name == name
        assert spec.licence
        assert spec.history
        assert store.path(name).stat().st_size <= 20e6


def test_a_spec_cannot_be_changed(tiny_model):
    with pytest.raises(ValueError, match="frozen"):
        tiny_model.spec.name = "other"
