"""The budgets of the design, as gates; a waiver states its reason. Medians are printed, to look at."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "micro"

MODULE_LINES = 300
BODY_LINES = 50
BRANCHES = 10
PARAMETERS = 6
PORT_METHODS = 4
SERVICE_LINES = 800
TESTS_PER_LINE = 1.2

WAIVERS = {
    # name of the check, place -> reason
    ("parameters", "micro/service.py:Resources.call"): "method and path stand where everyone expects them",
    ("parameters", "micro/testing/fakes.py:FakeCaller.answer"): "the order of Resources.call, which it plays",
    ("parameters", "micro/runtime/inprocess.py:ask"): "the order of Resources.call, which it serves",
    ("parameters", "micro/telemetry/metrics.py:Metrics.counter"): "the order of Prometheus's own clients",
    ("parameters", "micro/telemetry/metrics.py:Metrics.gauge"): "the order of Prometheus's own clients",
    ("parameters", "micro/telemetry/metrics.py:Metrics.histogram"): "the order of Prometheus's own clients",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHING = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def file(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def name(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    def definitions(self):
        """Every class and function with its dotted name inside the module, and its parent."""
        waiting = [(node, "", self.tree) for node in self.tree.body]
        while waiting:
            node, prefix, parent = waiting.pop()
            if isinstance(node, Function | ast.ClassDef):
                name = f"{prefix}{node.name}"
                yield name, node, parent
                waiting += [(inner, f"{name}.", node) for inner in node.body]
            else:
                waiting += [(inner, prefix, parent) for inner in ast.iter_child_nodes(node)]

    def functions(self):
        for name, node, parent in self.definitions():
            if isinstance(node, Function):
                yield f"{self.file}:{name}", node, parent


MODULES = [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]
FUNCTIONS = [function for module in MODULES for function in module.functions()]


def is_port(base):
    """Whether a base class is `typing.Protocol`, with type parameters or without; `asyncio.Protocol` is another thing."""
    return ast.unparse(base).partition("[")[0] == "Protocol"


def too_much(check, found):
    """What exceeds a budget and has no waiver."""
    return [f"{place}: {what}" for place, what in found if (check, place) not in WAIVERS]


def body_of(function):
    """The statements after the docstring."""
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def body_lines(function):
    body = body_of(function)
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def branches(function):
    """Ways through the function itself; functions and classes inside it answer for their own."""
    count, waiting = 0, list(function.body)
    while waiting:
        node = waiting.pop()
        count += isinstance(node, BRANCHING)
        if not isinstance(node, Function | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return count


def parameters(function, parent):
    """Names of the positional and of the keyword-only parameters, without `self`."""
    positional = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    decorators = {getattr(decorator, "id", "") for decorator in function.decorator_list}
    if isinstance(parent, ast.ClassDef) and "staticmethod" not in decorators:
        positional = positional[1:]
    return positional, [argument.arg for argument in function.args.kwonlyargs]


def positional_options(function, parent):
    """What should be keyword-only: options after the second parameter, and, of more than four, all after the second."""
    positional, named = parameters(function, parent)
    optional = positional[len(positional) - len(function.args.defaults) :] if function.args.defaults else []
    return [name for name in positional[2:] if name in optional or len(positional) + len(named) > 4]


# -- size --------------------------------------------------------------------------------------------------------------


def test_no_module_is_longer_than_its_budget():
    found = [(module.file, f"{module.lines} lines") for module in MODULES if module.lines > MODULE_LINES]
    assert too_much("module", found) == []


def test_no_function_body_is_longer_than_its_budget():
    found = [
        (place, f"{body_lines(node)} lines") for place, node, _ in FUNCTIONS if body_lines(node) > BODY_LINES
    ]
    assert too_much("body", found) == []


def test_no_function_has_more_branches_than_its_budget():
    found = [
        (place, f"{branches(node)} branches") for place, node, _ in FUNCTIONS if branches(node) > BRANCHES
    ]
    assert too_much("branches", found) == []


def test_no_function_takes_more_parameters_than_its_budget():
    found = []
    for place, node, parent in FUNCTIONS:
        positional, named = parameters(node, parent)
        if len(positional) + len(named) > PARAMETERS:
            found.append((place, f"{len(positional) + len(named)} parameters"))
    assert too_much("parameters", found) == []


def test_options_are_given_by_name():
    found = [
        (place, options) for place, node, parent in FUNCTIONS if (options := positional_options(node, parent))
    ]
    assert too_much("parameters", found) == []


def test_no_port_has_more_methods_than_its_budget():
    found = []
    for module in MODULES:
        for name, node, _ in module.definitions():
            if isinstance(node, ast.ClassDef) and any(is_port(base) for base in node.bases):
                methods = sum(isinstance(inner, Function) for inner in node.body)
                if methods > PORT_METHODS:
                    found.append((f"{module.file}:{name}", f"{methods} methods"))
    assert too_much("port", found) == []


@pytest.mark.parametrize("service", ["user", "task", "notification"])
def test_a_built_in_service_is_small_enough_to_read(service):
    folder = PACKAGE / "services" / service
    lines = sum(module.lines for module in MODULES if module.path.is_relative_to(folder))
    assert 0 < lines <= SERVICE_LINES


def test_there_are_enough_tests_for_the_code():
    """The contract suites in `micro.testing` are tests that are shipped."""
    suites = sum(module.lines for module in MODULES if module.path.is_relative_to(PACKAGE / "testing"))
    code = sum(module.lines for module in MODULES) - suites
    tests = suites + sum(path.read_text().count("\n") for path in (ROOT / "tests").rglob("*.py"))
    assert tests / code >= TESTS_PER_LINE, f"{tests} lines of tests for {code} of code: {tests / code:.2f}"


def test_the_medians_are_printed(capsys):
    modules = [module.lines for module in MODULES if module.lines > 5]
    bodies = [body_lines(node) for _, node, _ in FUNCTIONS if body_lines(node)]
    with capsys.disabled():
        print(
            f"\nmedian module {statistics.median(modules):.0f} lines (aim 130), "
            f"median function {statistics.median(bodies):.0f} (aim 6), {len(modules)} modules, {len(bodies)} functions"
        )


def test_every_waiver_is_needed():
    """A waiver whose function was mended or is gone must go too."""
    places = {place: (node, parent) for place, node, parent in FUNCTIONS}
    for check, place in WAIVERS:
        assert place in places, place
        node, parent = places[place]
        over = sum(map(len, parameters(node, parent))) > PARAMETERS or positional_options(node, parent)
        needed = {
            "parameters": over,
            "body": body_lines(node) > BODY_LINES,
            "branches": branches(node) > BRANCHES,
        }
        assert needed[check], place


# -- direction ---------------------------------------------------------------------------------------------------------


def contracts():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def test_imports_keep_the_direction_of_the_design():
    """In a process of its own: import-linter configures logging for the whole process that it runs in."""
    lint = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_every_module_stands_in_a_row_or_aside():
    """A new module must be placed in the contracts before anything imports it."""
    by_name = {contract["name"]: contract for contract in contracts()}
    placed = {name.strip() for layer in by_name["rows"]["layers"] for name in re.split(r"[:|]", layer)}
    placed |= set(by_name["backends stand aside"]["protected_modules"])
    placed |= {"micro.store.journal", "micro.testing"}
    folders = {
        ".".join(name.split(".")[:depth]) for name in placed for depth in range(1, name.count(".") + 1)
    }
    lost = [
        module.name
        for module in MODULES
        if module.name not in folders and not any(f"{module.name}.".startswith(f"{name}.") for name in placed)
    ]
    assert lost == []


def imported_by(module):
    """The modules that a file imports, those for types only included, wherever the import stands."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize("service", ["user", "task", "notification"])
def test_the_domain_of_a_service_knows_the_standard_library_and_its_events_only(service):
    domain = [module for module in MODULES if f"micro.services.{service}.domain" in module.name]
    assert domain
    known = {*sys.stdlib_module_names, f"micro.services.{service}.events", f"micro.services.{service}.domain"}
    names = {name for module in domain for name in imported_by(module)}
    assert {name for name in names if name not in known and name.split(".")[0] not in known} == set()


# -- documentation -----------------------------------------------------------------------------------------------------

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") if (ROOT / name).exists()),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
OURS = re.compile(r"`((?:micro|tests|docs|examples|benchmarks|requirements|\.ci)/[\w./*-]*)`")
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:|#|//)([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page):
    text = FENCED.sub("", page.read_text())
    named = [
        path for path in OURS.findall(text) if "NNNN" not in path and not list(ROOT.glob(path.rstrip("/")))
    ]
    linked = [path for path in LINK.findall(text) if not (page.parent / path).exists()]
    assert named + linked == []


def is_public(name):
    return not any(part.startswith("_") for part in name.split("."))


def test_every_public_name_is_documented():
    """A method of a verb or of a contract suite is documented by its class, or by its name."""
    silent = [module.name for module in MODULES if module.text.strip() and not ast.get_docstring(module.tree)]
    for module in MODULES:
        spoken_for = module.file.startswith(("micro/commands/", "micro/testing/"))
        for name, node, parent in module.definitions():
            if not is_public(f"{module.name}.{name}") or isinstance(parent, Function):
                continue
            if ast.get_docstring(node) is None and not (spoken_for and isinstance(parent, ast.ClassDef)):
                silent.append(f"{module.file}:{name}")
    assert silent == []


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.lock")), ids=lambda lock: lock.name)
def test_a_lock_file_names_no_address_and_no_path(lock):
    """They pin by hash; where the packages come from, and where the file was made, is nobody's business."""
    assert re.findall(r"://|(?<!\S)/\S+", lock.read_text()) == []
