"""The house: folders, the direction of imports, the plug-in rule."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgewright.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
# From the front door down; each may import those below it.
FLOORS = ("edgewright", "devices", "runtimes", "export", "compress", "train")
# The ground in edgewright/ that every floor stands on.
GROUND = ("errors", "plugins", "figures", "files", "held", "children", "warm", "lazy")
PLUGIN_FOLDERS = {
    "train": "ARCHITECTURE",
    "compress": "TECHNIQUE",
    "export": "EXPORTER",
    "runtimes": "RUNTIME",
}


def _package_imports(path: Path) -> set[str]:
    """Return the modules of edgewright that a file imports, as dotted paths below the package."""
    folder = path.parent.relative_to(ROOT).parts
    here = folder[1:] if folder[0] == "edgewright" else folder
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - (node.level - 1)]
            if node.module:
                found.add(".".join((*base, node.module)))
            else:
                found |= {".".join((*base, alias.name)) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "edgewright":
            found |= {f"{node.module}.{alias.name}".removeprefix("edgewright.") for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("edgewright.") for alias in node.names if "edgewright" in alias.name}
    return {module for module in found if module}


@pytest.mark.parametrize("floor", FLOORS)
def test_a_folder_imports_only_the_folders_below_it_and_the_ground(floor):
    """Imports run down the list edgewright, devices, runtimes, export, compress, train only."""
    above = FLOORS[: FLOORS.index(floor)]
    front_door = {path.stem for path in (ROOT / "edgewright").glob("*.py")} - set(GROUND)
    for path in (ROOT / floor).rglob("*.py"):
        for module in _package_imports(path):
            first = module.split(".")[0]
            assert first not in above, f"{path.relative_to(ROOT)} imports {module}"
            if floor != "edgewright":
                assert first not in front_door, f"{path.relative_to(ROOT)} imports {module} of the front door"


def test_the_ground_imports_nothing_but_ground():
    """The modules that every folder stands on import no other module of the package."""
    for name in GROUND:
        for module in _package_imports(ROOT / "edgewright" / f"{name}.py"):
            assert module.split(".")[0] in GROUND, f"{name} imports {module}"


@pytest.mark.parametrize("folder", ["edgewright", "edgewright.devices", "edgewright.export", "edgewright.runtimes"])
def test_a_name_that_is_imported_when_it_is_asked_for_is_there(folder):
    """Each public name of a folder that imports lazily can be had and is listed; another is no attribute."""
    package = importlib.import_module(folder)
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="'nothing'"):
        _ = package.nothing


def test_deploying_needs_no_predictor_before_there_is_a_choice():
    """What a deploy of one artifact imports is neither the predictor nor TensorFlow: each takes longer than it does."""
    script = "import sys, edgewright.deploying; print(*(each for each in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "edgewright.deploying" in imported
    assert not imported & {"edgewright.inspecting", "edgewright.devices._speeds", "tensorflow", "keras"}


@pytest.mark.parametrize("folder", PLUGIN_FOLDERS)
def test_each_public_module_is_one_plugin(folder):
    """A public module of a plug-in folder exports the folder's conventional name, and its name is the module's."""
    package = importlib.import_module(f"edgewright.{folder}")
    public = [module.name for module in pkgutil.iter_modules(package.__path__) if module.name[0] != "_"]
    public = [name for name in public if not (ROOT / folder / name).is_dir()]
    assert set(public) <= set(package.names())
    for name in package.names():
        plugin = package.get(name)
        assert plugin.name == name
        assert plugin.title
        module = importlib.import_module(f"edgewright.{folder}.{name}")
        assert getattr(module, PLUGIN_FOLDERS[folder]) is plugin
        assert (module.__doc__ or "").strip()


@pytest.mark.parametrize("folder", [*PLUGIN_FOLDERS, "devices"])
def test_an_unknown_plugin_is_refused_with_the_nearest_name(folder):
    """Asking for a misspelt plug-in raises an error that names the nearest one."""
    package = importlib.import_module(f"edgewright.{folder}")
    name = package.names()[0]
    with pytest.raises(InputError, match=f"Did you mean '{name}'"):
        package.get(name[:-1])


def test_another_distribution_adds_a_technique_by_entry_point(tmp_path):
    """A technique of another distribution is found by its entry point and used like one of ours."""
    (tmp_path / "their_technique.py").write_text(
        "from edgewright.compress import Parameters, Result, Technique\n"
        "TECHNIQUE = Technique('theirs', 'theirs', Parameters, lambda work, parameters: Result(work.model))\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgewright.compress]\ntheirs = their_technique\n")
    code = (
        "from edgewright.compress import names, get, parse_recipe\n"
        "assert 'theirs' in names(); assert get('theirs').title == 'theirs'\n"
        "print(parse_recipe('[[steps]]\\ntechnique = \"theirs\"').steps[0].technique)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}, check=False
    )
    assert done.stdout.strip() == "theirs", done.stderr


def test_the_front_door_opens_without_the_frameworks():
    """Importing edgewright and its command line imports no framework, converter or runtime, NumPy or pydantic."""
    heavy = (
        *("tensorflow", "keras", "onnx", "onnxruntime", "openvino", "nncf", "tf2onnx", "ai_edge_litert", "scipy"),
        *("numpy", "pydantic", "rich"),
    )
    code = f"import sys, edgewright, edgewright.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_functions_are_at_the_front_door():
    """``edgewright.compress``, ``.export`` and ``.validate`` are functions, and the folders are importable too."""
    import edgewright
    from edgewright.compress import load_recipe
    from edgewright.export import names

    assert callable(edgewright.compress) and callable(edgewright.export) and callable(edgewright.validate)
    assert load_recipe("int8").name == "int8"
    assert names()


@pytest.mark.parametrize("order", ["folder first", "function first"])
def test_a_folder_never_takes_the_place_of_the_function_of_its_name(order):
    """``edgewright.compress`` is the function, and the folder's names import, in either order, in a fresh process."""
    steps = ["from edgewright.compress import load_recipe", "import edgewright; edgewright.compress.__code__"]
    code = "; ".join(steps if order == "folder first" else reversed(steps))
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; edgewright.compress.__code__"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_at_the_front_door_is_an_attribute_error():
    """A name that edgewright does not offer is an AttributeError that tells the name."""
    import edgewright

    with pytest.raises(AttributeError, match="no attribute 'decompress'"):
        edgewright.decompress  # noqa: B018
    assert {"compress", "export", "validate"} <= set(dir(edgewright))


def test_no_file_names_this_machine_or_a_registry():
    """No tracked file holds an absolute path of a build machine or a package registry's host."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    forbidden = ["/" + "work/", "/" + "root/", "pypi" + ".org", "python" + "hosted", "deb.debian" + ".org"]
    for name in tracked:
        path = ROOT / name
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".cfg", ".sh", ""):
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not [word for word in forbidden if word in text], name
