"""The constants of a package, found by reading its modules, and modules in which one of them is changed."""

import ast
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple


class Constant(NamedTuple):
    """A module-level name in capitals that is bound to a number or bytes."""

    module: str
    name: str
    value: int | float | bytes

    def __str__(self) -> str:
        return f"{self.module.rpartition('.')[2]}.{self.name}"


class Mutant(NamedTuple):
    """A constant with another value; *change* is applied to the expression in the source."""

    constant: Constant
    change: str

    @property
    def value(self) -> int | float | bytes:
        changed: int | float | bytes = eval(self.change, {"value": self.constant.value})  # noqa: S307 our own table
        return changed


def constants_of(package: ModuleType) -> Iterator[Constant]:
    """Every constant of every module of *package*, in order of module and line."""
    for directory in package.__path__:
        for path in sorted(Path(directory).glob("*.py")):
            module = package.__name__ if path.stem == "__init__" else f"{package.__name__}.{path.stem}"
            values = vars(importlib.import_module(module))
            for name in _assigned(ast.parse(path.read_text(encoding="utf-8"))):
                value = values[name]
                if isinstance(value, int | float | bytes) and not isinstance(value, bool):
                    yield Constant(module, name, value)


def mutants_of(constant: Constant) -> list[Mutant]:
    """Both neighbours of an integer; a tenth more and less of a fraction; bytes with their last one changed."""
    value = constant.value
    if isinstance(value, bytes):
        changes = ["value[:-1] + bytes([value[-1] ^ 1])"]
    elif isinstance(value, int) or value.is_integer():
        changes = ["value + 1", "value - 1"]
    else:
        changes = ["value * 1.1", "value * 0.9"]
    return [Mutant(constant, change) for change in changes]


def install(mutant: Mutant) -> None:
    """Have the mutant's module imported with the changed constant; it must not have been imported before."""
    if mutant.constant.module in sys.modules:
        raise RuntimeError(f"{mutant.constant.module} is imported already")
    sys.meta_path.insert(0, _Finder(mutant))


def mutated(source: str, mutant: Mutant) -> CodeType:
    """The module's code with the one assignment changed; what is derived from it there changes along."""
    tree = ast.parse(source)
    changed = 0
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and _names(statement) == [mutant.constant.name]:
            scope = ast.parse(f"(lambda value: {mutant.change})(0)", mode="eval").body
            assert isinstance(scope, ast.Call)
            scope.args = [statement.value]
            statement.value = scope
            changed += 1
    if changed != 1:
        raise RuntimeError(f"{mutant.constant} is assigned {changed} times")
    return compile(ast.fix_missing_locations(tree), mutant.constant.module, "exec")


def _assigned(tree: ast.Module) -> Iterator[str]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            yield from (name for name in _names(statement) if name.isupper() and not name.startswith("__"))


def _names(statement: ast.Assign) -> list[str]:
    return [target.id for target in statement.targets if isinstance(target, ast.Name)]


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._mutant.constant.module:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                assert spec.origin is not None
                loader = _Loader(name, spec.origin)
                loader.mutant = self._mutant
                return importlib.util.spec_from_file_location(name, spec.origin, loader=loader)
        return None


class _Loader(importlib.machinery.SourceFileLoader):
    mutant: Mutant

    def get_code(self, fullname: str) -> CodeType:
        return mutated(Path(self.get_filename(fullname)).read_text(encoding="utf-8"), self.mutant)
