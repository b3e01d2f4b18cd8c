"""What the type stubs (.pyi files) of PyAV say about its classes and functions."""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Module:
    """A module of PyAV, such as "av.video.frame"."""

    name: str


@dataclass(frozen=True)
class Class:
    """A class of PyAV, as an object that is called or whose members are named."""

    module: str
    name: str


@dataclass(frozen=True)
class Instance:
    """An object of that class."""

    of: Class


@dataclass(frozen=True)
class Items:
    """A list, tuple or iterator of such objects."""

    kinds: frozenset


@dataclass(frozen=True)
class Tuple:
    """A tuple of one kind for each place."""

    kinds: tuple[frozenset, ...]


@dataclass(frozen=True)
class Function:
    """A function or method of PyAV with all of its overloads."""

    name: str
    module: str
    overloads: tuple[ast.FunctionDef, ...]
    owner: Class | None = None


UNKNOWN: frozenset = frozenset()
_ITERABLES = {"Iterator", "Iterable", "Sequence", "Generator", "list", "List", "set"}


class Stubs:
    """The stubs of one version of PyAV.

    Kinds are frozensets of the classes above: what an expression may be, empty if that is unknown.
    """

    def __init__(self, folder: Path):
        """
        Args:
            folder: the package folder ``av`` of an installed or unpacked PyAV.
        """
        self._modules: dict[str, dict[str, ast.AST]] = {}
        for path in sorted(folder.rglob("*.py*")):
            # A package without a stub of its own says in its code what it exports.
            if path.suffix == ".pyi" or path.name == "__init__.py":
                parts = ["av", *path.relative_to(folder).with_suffix("").parts]
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                is_package = path.stem == "__init__"
                if path.suffix == ".pyi" or not path.with_suffix(".pyi").exists():
                    self._modules[name] = _names_of(ast.parse(path.read_text()), name, is_package)
        if "av" not in self._modules:
            raise ValueError(f"{folder}: no package av")

    def module_member(self, module: str, name: str) -> frozenset | None:
        """What a name of a module is; None if the module has no such name."""
        found = self._modules.get(module, {}).get(name)
        if f"{module}.{name}" in self._modules and not isinstance(found, (list, ast.ClassDef)):
            return frozenset({Module(f"{module}.{name}")})
        if isinstance(found, _Import):
            if found.module not in self._modules:
                return UNKNOWN
            return self.module_member(found.module, found.name)
        if isinstance(found, ast.ClassDef):
            return frozenset({Class(module, name)})
        if isinstance(found, list):
            return frozenset({Function(f"{module}.{name}", module, tuple(found))})
        if found is not None:
            return self.annotated(found.annotation, module) if _is_annotated(found) else UNKNOWN
        # `from av.error import *` makes what is defined there a part of `av`.
        for star in self._modules.get(module, {}).get("*", ()):
            if not isinstance(self._modules.get(star, {}).get(name, _Import()), _Import):
                return self.module_member(star, name)
        return UNKNOWN if name in ("__file__", "__name__") else None

    def has_module(self, name: str) -> bool:
        """Whether PyAV has a module of that name."""
        return name in self._modules

    def class_member(self, of: Class, name: str) -> frozenset | None:
        """What an attribute or method of a class or of its bases is; None if there is none."""
        node = self._modules[of.module][of.name]
        members = [x for x in node.body if _defines(x, name)]
        if members:
            first = members[0]
            if not isinstance(first, ast.FunctionDef):
                has_type = _is_annotated(first)
                return self.annotated(first.annotation, of.module, of) if has_type else UNKNOWN
            if any(_is_name(x, "property") for x in first.decorator_list):
                return self.annotated(first.returns, of.module, of)
            owner = None if _is_static(first) else of
            function = Function(f"{of.name}.{name}", of.module, tuple(members), owner)
            return frozenset({function})
        for base in node.bases:
            for kind in self.annotated(base, of.module):
                if isinstance(kind, Instance):
                    member = self.class_member(kind.of, name)
                    if member is not None:
                        return member
            # Python's own classes, such as Exception, are in no stub.
            if hasattr(getattr(builtins, ast.unparse(base), None), name):
                return UNKNOWN
        return None

    def annotated(self, node: ast.AST | None, module: str, owner: Class | None = None) -> frozenset:
        """What an annotation in the stubs stands for: objects of PyAV's classes, if any."""
        return resolve_annotation(node, lambda name: self._instances(name, module, owner))

    def literals(self, node: ast.AST | None, module: str) -> set | None:
        """The constants that an annotation allows; None if it allows other values, too."""
        if isinstance(node, ast.BinOp):
            parts = [self.literals(x, module) for x in (node.left, node.right)]
            return None if None in parts else parts[0] | parts[1]
        if isinstance(node, ast.Constant):
            return {node.value}
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return {x.value for x in items}
        if isinstance(node, ast.Name):
            found = self._modules.get(module, {}).get(node.id)
            if isinstance(found, _Import):
                return self.literals(ast.Name(found.name), found.module)
            if isinstance(found, ast.Assign):
                return self.literals(found.value, module)
        return None

    def _instances(self, name: str, module: str, owner: Class | None) -> frozenset:
        if name == "Self" and owner is not None:
            return frozenset({Instance(owner)})
        kinds = self.module_member(module, name) or UNKNOWN
        return frozenset(Instance(kind) for kind in kinds if isinstance(kind, Class))


def resolve_annotation(node: ast.AST | None, instances) -> frozenset:
    """What an annotation stands for.

    Args:
        node: the annotation.
        instances: from a possibly dotted name to the kinds of the objects it stands for.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    if isinstance(node, (ast.Name, ast.Attribute)):
        return instances(ast.unparse(node))
    if isinstance(node, ast.BinOp):
        return resolve_annotation(node.left, instances) | resolve_annotation(node.right, instances)
    if not isinstance(node, ast.Subscript):
        return UNKNOWN
    outer = ast.unparse(node.value).rpartition(".")[2]
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    kinds = [resolve_annotation(x, instances) for x in inner]
    if outer in ("Optional", "Union"):
        return UNKNOWN.union(*kinds)
    if outer in _ITERABLES or (outer == "tuple" and ast.unparse(inner[-1]) == "..."):
        return frozenset({Items(kinds[0])})
    if outer == "tuple":
        return frozenset({Tuple(tuple(kinds))})
    if outer == "dict":
        return UNKNOWN
    return instances(ast.unparse(node.value))  # a generic class, such as Packet[VideoStream]


@dataclass(frozen=True)
class _Import:
    module: str = ""
    name: str = ""


def _names_of(tree: ast.Module, module: str, is_package: bool) -> dict:
    """Names of a module: imports, classes, lists of overloads, assignments; "*": whole modules."""
    names: dict = {"*": []}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + is_package]
                origin = ".".join([*parts, *filter(None, [node.module])])
            for alias in node.names:
                if alias.name == "*":
                    names["*"].append(origin)
                else:
                    names[alias.asname or alias.name] = _Import(origin, alias.name)
        elif isinstance(node, ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.FunctionDef):
            names.setdefault(node.name, []).append(node)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                names[ast.unparse(target)] = node
    return names


def _is_annotated(node: ast.AST) -> bool:
    return isinstance(node, ast.AnnAssign)


def _is_static(node: ast.FunctionDef) -> bool:
    return any(_is_name(x, "staticmethod") for x in node.decorator_list)


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _defines(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Assign):
        return any(_is_name(target, name) for target in node.targets)
    if isinstance(node, ast.AnnAssign):
        return _is_name(node.target, name)
    return isinstance(node, ast.FunctionDef) and node.name == name
