"""What holds for the package as a whole: it loads quickly, and its manifest says the truth."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import npe2
import pytest
import yaml

import napari_unetpp

PACKAGE = Path(napari_unetpp.__file__).parent
MANIFEST = npe2.PluginManifest.from_file(PACKAGE / "napari.yaml")
COMMANDS = {command.id: command for command in MANIFEST.contributions.commands}
COMPUTE = ("network", "models", "inference", "evaluation", "files", "training", "cluster", "export")


def command_modules() -> list[str]:
    return sorted({command.python_name.split(":")[0] for command in COMMANDS.values()})


def exists(module: str) -> bool:
    parent = module.rpartition(".")[0]
    return (not parent or exists(parent)) and importlib.util.find_spec(module) is not None


def modules_of(package: str) -> list[str]:
    return [
        ".".join(("napari_unetpp", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in sorted((PACKAGE / package).rglob("*.py"))
    ]


def python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["napari_unetpp", "napari_unetpp.models", *command_modules()])
def test_torch_comes_later(module):
    if not exists(module):
        pytest.skip(f"{module} isn't there")
    python(f"import sys, {module}; assert 'torch' not in sys.modules, 'torch is loaded'")


def test_the_dock_is_opened_before_what_takes_long_is_imported():
    """Which would hold up the window; a thread imports it then."""
    slow = "torch", "zarr", "scipy.optimize", "scipy.ndimage", "pyqtgraph"
    python(
        "import sys, napari, napari.viewer\nbefore = set(sys.modules)\n"
        "import napari_unetpp.widgets\n"
        f"slow = {set(slow)} & (set(sys.modules) - before)\nassert not slow, slow"
    )


def test_compute_needs_no_qt_and_no_napari():
    names = [name for package in COMPUTE for name in modules_of(package)]
    assert len(names) > 20
    blocked = "napari", "qtpy", "PyQt6", "PyQt5", "PySide6", "magicgui", "superqt", "vispy"
    python(f"import sys\nsys.modules |= dict.fromkeys({blocked})\nimport {', '.join(names)}")


def test_the_manifest_is_sound():
    assert MANIFEST.name == "napari-unetpp"
    contributions = MANIFEST.contributions
    menus = [item.command for items in contributions.menus.values() for item in items]
    widgets = [widget.command for widget in contributions.widgets]
    samples = [sample.command for sample in contributions.sample_data]
    assert widgets
    assert samples
    assert menus
    assert {*menus, *widgets, *samples} <= set(COMMANDS)


def test_menus_are_those_of_napari():
    from napari._app_model.constants import MenuId

    assert set(MANIFEST.contributions.menus) <= set(MenuId.contributables())


@pytest.mark.skipif(not all(map(exists, command_modules())), reason="a command's module is missing")
def test_every_command_can_be_imported():
    MANIFEST.validate_imports()


def test_napari_finds_the_manifest_where_the_package_is_installed():
    found = {result.manifest.name for result in npe2.PluginManifest.discover() if result.manifest}
    assert "napari-unetpp" in found


def test_configured_defaults_are_those_of_the_code():
    from napari_unetpp.inference.devices import DEVICE_NAMES
    from napari_unetpp.inference.options import SMALLEST_TILE, SegmentOptions

    manifest = yaml.safe_load((PACKAGE / "napari.yaml").read_text(encoding="utf-8"))
    segment = manifest["contributions"]["configurations"]["segment"]["properties"]
    assert segment["device"]["default"] == SegmentOptions().device
    assert set(segment["device"]["enum"]) == set(DEVICE_NAMES)
    assert segment["tile"]["default"] == (SegmentOptions().tile or 0)
    assert min(set(segment["tile"]["enum"]) - {0}) >= SMALLEST_TILE[2]


def test_samples_and_their_truth_travel_with_the_package():
    names = {path.name for path in (PACKAGE / "sample_data").glob("*.tif")}
    for sample in MANIFEST.contributions.sample_data:
        name = sample.key.removesuffix("_truth")
        assert {f"{name}.tif", f"{name}_labels.tif"} <= names


def test_the_manifest_is_one_file():
    beside = PACKAGE.parent / "napari.yaml"
    if beside.exists():  # in a checkout
        assert (PACKAGE / "napari.yaml").read_bytes() == beside.read_bytes()
