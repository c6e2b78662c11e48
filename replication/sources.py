"""Which file of the package imports which: the order of its folders, and the hash of what a computation really imports.

Imports are read from the source text, those inside functions too. Methods are imported by name, so no file stands for
all of them: what a cell depends on is its method's file and what that imports, not the other methods.
"""

import ast
import inspect
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from .files import sha256_file, sha256_text

PACKAGE = Path(__file__).parent
# From low to high: a file imports only from its own place or from those before it.
FLOORS = (
    "errors",
    "files",
    "sources",
    "plugins",
    "provenance",
    "profiles",
    "data",
    "nn",
    "methods",
    "plots",
    "weights",
    "papers",
    "metrics",
    "stylise",
    "training",
    "evaluation",
    "experiments",
    "audit",
    "report",
    "running",
    "commands",
    "__main__",
)
# Public names of the package, above everything; nothing in it imports them.
FACADE = ("", "official", "several")
# Registers: what they find is in a cell's key by its own hash, so how they find it does not count.
REGISTERS = ("methods", "weights.shipped")


@cache
def modules() -> dict[str, Path]:
    """Every module of the package: its dotted name below `replication`, and its file."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def _imported_names(path: Path, size: int, changed: int) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """(level, module, names) of every import in a file; remembered until its size or time changes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Import):
            found += [(0, alias.name, ()) for alias in node.names]
    return tuple(found)


def imports(path: Path, package: tuple[str, ...] = ()) -> set[str]:
    """Modules of the package that a file imports.

    path     the file, one of the package or a user's
    package  dotted name of the package that its relative imports start from, as a tuple
    """
    stat, known, found = path.stat(), modules(), set()
    for level, module, names in _imported_names(path, stat.st_size, stat.st_mtime_ns):
        if level:
            base = [*package[: len(package) - level + 1], *filter(None, module.split("."))]
        elif module.partition(".")[0] == "replication":
            base = module.split(".")[1:]
        else:
            continue
        for name in names or ("",):
            # Public names of the package stand for the modules that they come from.
            public = sys.modules[__package__]._PUBLIC.get(name) if not base else None
            whole = public or ".".join([*base, name] if name else base)
            found.add(whole if whole in known else ".".join(base))
    return found & known.keys()


def imports_of(module: str) -> set[str]:
    """Modules of the package that one of its modules imports."""
    path = modules()[module]
    parts = tuple(filter(None, module.split(".")))
    return imports(path, parts if path.name == "__init__.py" else parts[:-1]) - {module}


def closure(start: Iterable[str]) -> list[str]:
    """The modules, and all that they import, and so on, in order."""
    found, waiting = set(), list(start)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imports_of(module)
    return sorted(found)


def floor(module: str) -> int:
    """Place of a module in the order; that of public names is above all."""
    return len(FLOORS) if module in FACADE else FLOORS.index(module.partition(".")[0])


def upward_imports() -> list[tuple[str, str]]:
    """(module, imported) of every import that goes up; the rule is that there are none."""
    return [
        (module, other) for module in modules() for other in sorted(imports_of(module)) if floor(other) > floor(module)
    ]


def circle() -> list[str]:
    """Modules of one circle of imports, in its order; none is the rule."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for other in sorted(imports_of(module)):
            found = visit(other, [*path, module])
            if found:
                return found
        done.add(module)
        return []

    for module in modules():
        found = visit(module, [])
        if found:
            return found
    return []


def listing() -> str:
    """The folders from low to high, each with its files, their lines, and the folders that it imports."""
    rooms: dict[str, list[str]] = {name: [] for name in (*FLOORS, "replication")}
    for module in modules():
        rooms["replication" if module in FACADE else module.partition(".")[0]].append(module)
    lines = []
    for room, inside in rooms.items():
        used = {other.partition(".")[0] for module in inside for other in imports_of(module)} - {room}
        lines.append(f"{room:<15}imports {', '.join(sorted(used, key=lambda name: floor(name))) or 'nothing'}")
        for module in inside:
            count = len(modules()[module].read_text(encoding="utf-8").splitlines())
            if module not in (room, "") and count > 1:
                lines.append(f"    {module.partition('.')[2] or module:<24}{count:>5} lines")
    return "\n".join(lines)


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


@cache
def _code(path: Path, size: int, changed: int) -> str:
    return sha256_text(ast.dump(_without_docstrings(ast.parse(path.read_text(encoding="utf-8")))))


def code_hash(path: Path) -> str:
    """Hash of a source file's code: comments, docstrings and layout do not count. Of any other file, of its bytes."""
    if path.suffix != ".py":
        return sha256_file(path)
    stat = path.stat()
    return _code(path, stat.st_size, stat.st_mtime_ns)


def source_hash(*parts: Callable | type) -> str:
    """One hash over code and all of the package that it imports, and what that imports.

    parts  a method's class stands for its whole file, which may be a plug-in's; any other class or function for itself
           and those definitions and imports of its file that it uses, so that what else stands there does not count.
           Annotations do not count.

    The registers of methods and of shipped weights do not count: which class a name stands for is seen in the hash of
    that class's file, which weights in theirs. What they import counts.
    """
    used, texts = set(), []
    for part in parts:
        root, _, name = part.__module__.partition(".")
        if root != "replication":
            path = Path(inspect.getfile(part))
            texts.append(code_hash(path))
            used |= imports(path)
        elif name.startswith("methods."):
            used.add(name)
        else:
            found, imported = _used_by(modules()[name], part.__name__, tuple(name.split(".")[:-1]))
            texts += found
            used |= imported
    return sha256_text(
        "".join([*texts, *(code_hash(modules()[module]) for module in closure(used) if module not in REGISTERS)])
    )


def _used_by(path: Path, function: str, package: tuple[str, ...]) -> tuple[list[str], set[str]]:
    """Definitions of a file that a function needs, as text, and modules of the package that they use."""
    tree = _without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
    imported: dict[str, str] = {}
    made: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                base = [*package[: len(package) - node.level + 1], *filter(None, (node.module or "").split("."))]
                whole = ".".join([*base, alias.name])
                if node.level:
                    imported[alias.asname or alias.name] = whole if whole in modules() else ".".join(base)
        elif not isinstance(node, ast.Import):
            names = [node.name] if hasattr(node, "name") else _assigned(node)
            for name in names:
                made.setdefault(name, []).append(node)
    waiting, seen, used = [function], set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in imported:
            used.add(imported[name])
        for node in made.get(name, ()):
            waiting += _names(node)
    texts = [ast.dump(node) for name in sorted(seen & made.keys()) for node in made[name]]
    return texts, used


def _assigned(node: ast.stmt) -> list[str]:
    return [each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]


def _names(node: ast.AST) -> list[str]:
    """Names that a statement reads, those of annotations aside."""
    found = [node.id] if isinstance(node, ast.Name) else []
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                found += _names(child)
    return found
