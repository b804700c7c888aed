"""Counts what a package looks like, from its sources alone.

Nothing is imported: `ast` reads the files, so imports inside functions and under TYPE_CHECKING
count as all others do.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Imports: TypeAlias = Mapping[str, set[str]]


class Counted(NamedTuple):
    """A number and where it was found: a module, or a dotted name in it."""

    number: int
    where: str


class House:
    """The sources of one package: `folder` is the package, `modules` its trees by dotted name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = {_dotted(folder, file): file for file in sorted(folder.rglob("*.py"))}
        self.modules = {name: ast.parse(file.read_text()) for name, file in self._files.items()}

    def root_modules(self) -> list[str]:
        """Return the files beside the rooms, `__init__` and `__main__` with them."""
        return sorted(file.stem for file in self.folder.glob("*.py"))

    def files(self) -> list[Counted]:
        """Return the number of lines of each file."""
        return [
            Counted(len(file.read_text().splitlines()), name) for name, file in self._files.items()
        ]

    def functions(self) -> list[Counted]:
        """Return the number of lines of each function, from its `def` to its end."""
        return [
            Counted((one.end_lineno or one.lineno) - one.lineno + 1, f"{name}.{one.name}")
            for name, tree in self.modules.items()
            for one in ast.walk(tree)
            if isinstance(one, Function)
        ]

    def constructors(self) -> list[Counted]:
        """Return how many parameters each `__init__` takes beside self.

        The fields of a dataclass, a NamedTuple or a Struct are no constructor: it has no `__init__`
        of its own.
        """
        return [
            Counted(_parameters(method), f"{name}.{owner.name}")
            for name, owner in self._classes()
            for method in owner.body
            if isinstance(method, Function) and method.name == "__init__"
        ]

    def homonyms(self) -> dict[str, list[str]]:
        """Return each name that several public classes have, with the modules of these."""
        homes: dict[str, list[str]] = defaultdict(list)
        for name, owner in self._classes():
            if not owner.name.startswith("_"):
                homes[owner.name].append(name)
        return {name: where for name, where in homes.items() if len(where) > 1}

    def imports(self) -> dict[str, set[str]]:
        """Return the modules of this package that each module imports, wherever in the file."""
        return {
            name: {found for node in ast.walk(tree) for found in self._named(name, node)}
            for name, tree in self.modules.items()
        }

    def _classes(self) -> Iterator[tuple[str, ast.ClassDef]]:
        for name, tree in self.modules.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    yield name, node

    def _named(self, importer: str, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name in self.modules)
        elif isinstance(node, ast.ImportFrom):
            source = self._source(importer, node)
            for one in node.names:
                inner = f"{source}.{one.name}"
                found = inner if inner in self.modules else source
                if found in self.modules:
                    yield found

    def _source(self, importer: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        is_package = self._files[importer].name == "__init__.py"
        parts = importer.split(".")
        base = parts[: len(parts) - node.level + is_package]
        return ".".join([*base, *filter(None, [node.module])])


def circles(imports: Imports) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or by way of others."""
    reach = {name: _reachable(imports, name) for name in imports}
    groups = {
        tuple(sorted(other for other in reach[name] if name in reach.get(other, ())))
        for name in imports
    }
    return [list(group) for group in sorted(groups) if group]


def percentile(counted: list[Counted], share: float) -> int:
    """Return the number that this share of the numbers does not pass."""
    numbers = sorted(one.number for one in counted)
    return numbers[min(len(numbers) - 1, int(share * len(numbers)))]


def above(counted: list[Counted], limit: int) -> list[Counted]:
    """Return those over a limit, the greatest first."""
    return sorted((one for one in counted if one.number > limit), reverse=True)


def _reachable(imports: Imports, start: str) -> set[str]:
    found: set[str] = set()
    ahead = [start]
    while ahead:
        for name in imports.get(ahead.pop(), ()):
            if name not in found:
                found.add(name)
                ahead.append(name)
    return found


def _dotted(folder: Path, file: Path) -> str:
    parts = file.relative_to(folder.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _parameters(method: Function) -> int:
    arguments = method.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len(named) - 1 + (arguments.vararg is not None) + (arguments.kwarg is not None)
