"""The house rules that a machine can check: floors, file sizes, and what may import TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cmask_tf"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Data flows one way: a floor imports its own and lower ones only.
FLOORS = [
    ("errors", "faults", "beam", "dataclass_values", "config", "metrics", "geometry", "imageio", "overview"),
    ("locks", "photo_files", "shapes", "config_document"),
    ("vocabulary",),
    ("outputs", "journal"),
    ("coco_file",),
    ("data",),
    ("models", "losses", "overlap"),
    ("presets", "model_directory"),
    ("training",),
    ("detectors",),
    ("segmenter",),
    ("evaluation",),
    ("export",),
    ("serving",),
    ("reproduce",),
    ("web",),
    ("cli",),
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
# The metrics need NumPy and OpenCV only; they are shared by validation during training and by evaluation.


def room(module: Path) -> str:
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(module: Path) -> set[str]:
    """Rooms of this package that a module imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {n.split(".")[1] for n in names if n.startswith("cmask_tf.")}
    return found & set(FLOOR)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_lower_floors_never_import_higher_ones(module):
    if room(module) == "__init__":
        return
    assert room(module) in FLOOR, "a room that FLOORS does not know"
    above = {name for name in imports(module) if FLOOR[name] > FLOOR[room(module)]}
    assert not above


def test_no_python_file_is_longer_than_400_lines():
    files = [
        f
        for folder in ("cmask_tf", "trainers", "export", "serving", "benchmarks", "tests")
        for f in (ROOT / folder).rglob("*.py")
    ]
    long = {str(f.relative_to(ROOT)): n for f in files if (n := len(f.read_text().splitlines())) > 400}
    assert not long


def test_no_function_is_longer_than_60_lines():
    long = []
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:
                long.append(f"{module.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not long


def test_every_module_says_what_it_is():
    silent = [str(m.relative_to(ROOT)) for m in MODULES if not ast.get_docstring(ast.parse(m.read_text()))]
    assert not silent


def test_importing_the_package_and_the_command_does_not_import_tensorflow():
    names = "cmask_tf.Vocabulary, cmask_tf.lite"
    code = f"import sys, cmask_tf, cmask_tf.cli; {names}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_readers_functions_on_records_do_not_import_tensorflow():
    """A worker of a distributed conversion starts with them alone."""
    modules = ", ".join(
        f"cmask_tf.data.{name}" for name in ("coco", "open_images", "visual_genome", "filling")
    )
    heavy = "{'tensorflow', 'pandas', 'matplotlib', 'PIL', 'cv2'}"
    code = f"import sys, {modules}; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
