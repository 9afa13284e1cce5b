"""The floors of the package: what may import what, read from every import statement of every file.

Imports inside functions and under TYPE_CHECKING count: what a file needs to be understood is its dependency, whenever
it is loaded. What a file starts as a process (`-m verl_vaopd.trainer.main`) is not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "verl_vaopd"

# From the top. A folder, or a module beside them, imports from lower floors and from itself, never from its own floor.
FLOORS = (
    ("cli",),
    ("commands",),
    ("trainer", "analysis", "evaluation"),
    ("rollout", "actor", "planning"),
    ("teacher",),
    ("engine", "runs", "model_weights"),
    ("config",),
    ("data",),
    ("stats", "answers", "images", "image_files", "image_sizes", "parquet", "hub", "limited_process", "alarms"),
    ("algorithms",),
    ("provenance",),
    ("platform",),
    ("files",),
    ("disk", "progress"),
)

# Downwards, and refused all the same: (importer, what it must not import, what to do instead).
BY_PROCESS = "start it as a process (commands/supervisor.py): it holds Ray, verl and the GPUs"
ANY_MODEL = "measure by what lies on disk (runs/): results and models from elsewhere are measured too"
NO_GPU = "read the configuration: a plan is made where no model can be loaded"
PURE = "pass it in as an argument: the equations are pure torch and import nothing of the project"
REFUSED = (
    (("cli", "commands"), ("trainer", "actor", "teacher", "engine"), BY_PROCESS),
    (("planning",), ("teacher", "engine"), NO_GPU),
    (("analysis", "evaluation"), ("rollout", "actor", "teacher", "engine"), ANY_MODEL),
    (("algorithms",), ("provenance", "platform", "files", "disk"), PURE),
)

TRAINING = ("actor", "teacher", "engine", "rollout", "trainer", "platform")
HOMES = {
    "verl": TRAINING,
    "ray": TRAINING,
    "tensordict": TRAINING,
    "transfer_queue": TRAINING,
    "transformers": TRAINING,
    "vllm": ("platform",),
}
# (file, package): why it is there. A folder stands for its files.
EXCEPTIONS = {
    ("runs/export.py", "verl"): "verl's own merger of sharded checkpoints",
    ("runs/export.py", "transformers"): "the processor beside the exported weights",
    ("image_sizes.py", "transformers"): "which sizes a model reads is in its image processor",
    ("commands/doctor.py", "verl"): "`vaopd doctor --imports` shows whether it can be imported",
    ("data/tinygeo", "transformers"): "the tiny models are Qwen3-VL",
    ("evaluation/sources/local_vllm.py", "vllm"): "responses of a local model",
    ("rollout/collect.py", "vllm"): "responses of the teacher, without a trainer around it",
}


@dataclass(frozen=True)
class Import:
    """One import statement's target: a file of the package, or a package of others."""

    importer: str
    imported: str

    @property
    def folders(self) -> tuple[str, str]:
        return folder_of(self.importer), folder_of(self.imported)


def folder_of(file: str) -> str:
    """The folder, or the module beside the folders, that a file belongs to: what has a floor."""
    return file.partition("/")[0].removesuffix(".py")


def floor_of(folder: str) -> int:
    """Counted from the top, from 1; 0 for a folder without a floor, which a test of its own reports."""
    return next((number for number, floor in enumerate(FLOORS, 1) if folder in floor), 0)


def read_imports(package: Path) -> tuple[list[Import], list[Import]]:
    """Imports of the package's own files, and of others' packages. Files are named relative to the package."""
    own: dict[Import, None] = {}
    others: dict[Import, None] = {}
    for path in sorted(package.rglob("*.py")):
        importer = path.relative_to(package).as_posix()
        for name in names_imported(ast.parse(path.read_text(encoding="utf-8")), importer):
            top, _, rest = name.partition(".")
            if top != "verl_vaopd":
                others[Import(importer, top)] = None
            elif (target := file_of(package, rest.split("."))) != "__init__.py":  # that one holds the version alone
                own[Import(importer, target)] = None
    return list(own), list(others)


def names_imported(tree: ast.Module, importer: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{importer}:{node.lineno} imports by dots; write verl_vaopd.… in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(package: Path, names: list[str]) -> str:
    """The file behind a dotted name, whose last part may be a name in the file."""
    for parts in (names, names[:-1]):
        path = package.joinpath(*parts)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file.relative_to(package).as_posix()
    return "__init__.py"


def wrong_arrows(imports: list[Import]) -> list[str]:
    """Arrows that do not lead downwards, or lead down to where they must not."""
    found = []
    for each in imports:
        above, below = each.folders
        if above == below:
            continue
        arrow = f"{each.importer} imports {each.imported}"
        if floor_of(below) <= floor_of(above):
            floors = f"{above} is on floor {floor_of(above)} from the top, {below} on {floor_of(below)}"
            found.append(f"{arrow}: {floors}; move what both need to a lower one, or pass it in as an argument")
        for importers, refused, instead in REFUSED:
            if above in importers and below in refused:
                found.append(f"{arrow}: {above} must not import {below}; {instead}")
    return found


def mutual_folders(imports: list[Import]) -> list[str]:
    """Pairs of folders that import each other, with a file of either side."""
    arrows = {each.folders: each for each in imports if each.folders[0] != each.folders[1]}
    return [
        f"{above} and {below} import each other: {arrows[above, below].importer} and {arrows[below, above].importer}; "
        "give one of them what it needs of the other, or a home below both"
        for above, below in sorted(arrows)
        if above < below and (below, above) in arrows
    ]


def circles(imports: list[Import]) -> list[str]:
    """For every circle of files, one shortest way around it."""
    targets: dict[str, set[str]] = {}
    for each in imports:
        targets.setdefault(each.importer, set()).add(each.imported)
    ways = (way_around(targets, file) for file in sorted(targets))
    # A circle is found from each of its files: told from the first in the alphabet.
    return [
        f"{' -> '.join(way)} is a circle; move what both need into a file of its own"
        for way in ways
        if way and way[0] == min(way)
    ]


def way_around(targets: dict[str, set[str]], start: str) -> list[str] | None:
    """The shortest chain of imports from a file back to itself."""
    ways = [[start]]
    seen = set()
    for way in ways:  # breadth first: grows while it is walked
        for target in sorted(targets.get(way[-1], ())):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return None


def allowance(each: Import) -> tuple[str, str] | None:
    """The exception that covers an import of a heavy package."""
    return next(
        (key for key in EXCEPTIONS if key[1] == each.imported and f"{each.importer}/".startswith(f"{key[0]}/")), None
    )


def misplaced(imports: list[Import]) -> list[str]:
    """Heavy packages where they do not belong."""
    return [
        f"{each.importer} imports {each.imported}, which belongs to {', '.join(HOMES[each.imported])}; "
        "move the code there, or name the file and the reason in EXCEPTIONS"
        for each in imports
        if each.imported in HOMES and folder_of(each.importer) not in HOMES[each.imported] and not allowance(each)
    ]


def must_be_none(problems: list[str]) -> None:
    """Fail with the problems themselves, one a line."""
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


OWN, OTHERS = read_imports(PACKAGE)


def test_every_folder_has_a_floor():
    folders = {folder_of(path.relative_to(PACKAGE).as_posix()) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    placed = {folder for floor in FLOORS for folder in floor}
    must_be_none([f"{folder} has no floor: give it one in FLOORS" for folder in sorted(folders - placed)])
    must_be_none([f"there is no {folder}: take it out of FLOORS" for folder in sorted(placed - folders)])


def test_arrows_lead_downwards():
    must_be_none(wrong_arrows(OWN))


def test_no_two_folders_import_each_other():
    must_be_none(mutual_folders(OWN))


def test_no_circle_of_files():
    must_be_none(circles(OWN))


def test_heavy_packages_stay_where_they_belong():
    must_be_none(misplaced(OTHERS))


def test_every_exception_is_needed():
    used = {allowance(each) for each in OTHERS if folder_of(each.importer) not in HOMES.get(each.imported, ())}
    must_be_none(
        [
            f"{file} imports no {package}: take it out of EXCEPTIONS"
            for file, package in sorted(EXCEPTIONS.keys() - used)
        ]
    )


class TestTheTest:
    """On packages of a few lines, each of which breaks one rule."""

    @pytest.fixture
    def imports(self, tmp_path):
        """imports({file: source}): of a package that consists of these files."""

        def write(files: dict[str, str]) -> tuple[list[Import], list[Import]]:
            for name, source in files.items():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(source)
            return read_imports(tmp_path)

        return write

    @pytest.mark.parametrize(
        "source",
        [
            "from verl_vaopd.commands.jobs import Job",
            "from verl_vaopd.commands import jobs",
            "import verl_vaopd.commands.jobs",
            "def later():\n    from verl_vaopd.commands.jobs import Job",
            "if TYPE_CHECKING:\n    from verl_vaopd.commands.jobs import Job",
        ],
    )
    def test_every_form_of_an_upward_arrow(self, imports, source):
        own, _ = imports({"runs/export.py": source, "commands/jobs.py": ""})
        (problem,) = wrong_arrows(own)
        assert problem.startswith(
            "runs/export.py imports commands/jobs.py: runs is on floor 6 from the top, commands on 2"
        )

    def test_neighbours_on_a_floor_and_refused_arrows(self, imports):
        files = {
            "rollout/prompts.py": "from verl_vaopd.actor import loss",
            "commands/jobs.py": "import verl_vaopd.trainer.main",
            "algorithms/papo.py": "from verl_vaopd.files import write",
            **dict.fromkeys(("actor/loss.py", "trainer/main.py", "files.py"), ""),
        }
        found = wrong_arrows(imports(files)[0])
        assert [problem.partition(":")[0] for problem in found] == [
            "algorithms/papo.py imports files.py",
            "commands/jobs.py imports trainer/main.py",
            "rollout/prompts.py imports actor/loss.py",
        ]

    def test_the_way_down_is_free(self, imports):
        files = {"trainer/main.py": "import verl_vaopd\nfrom verl_vaopd.trainer import rows\nimport verl_vaopd.files"}
        own, _ = imports({**files, "trainer/rows.py": "", "files.py": "", "__init__.py": ""})
        assert len(own) == 2
        assert wrong_arrows(own) == mutual_folders(own) == circles(own) == []

    def test_circles_of_files_and_folders(self, imports):
        a, b, c = (f"from verl_vaopd.{module} import x" for module in ("runs.a", "runs.b", "data.c"))
        own, _ = imports({"runs/a.py": b, "runs/b.py": c, "data/c.py": a, "data/d.py": c})
        assert circles(own) == [
            "data/c.py -> runs/a.py -> runs/b.py -> data/c.py is a circle; move what both need into a file of its own"
        ]
        (problem,) = mutual_folders(own)
        assert problem.startswith("data and runs import each other: data/c.py and runs/b.py")

    def test_heavy_packages(self, imports):
        _, others = imports(
            {
                "config/schema.py": "import torch\ndef f():\n    import ray.util",
                "runs/export.py": "from verl.model_merger import x\nimport vllm",
                "data/tinygeo/models.py": "import transformers",
                "trainer/main.py": "import verl, ray, transformers",
            }
        )
        found = misplaced(others)
        assert [problem.partition(",")[0] for problem in found] == [
            "config/schema.py imports ray",
            "runs/export.py imports vllm",
        ]
