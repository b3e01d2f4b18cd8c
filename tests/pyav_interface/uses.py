"""Which names, attributes and arguments of PyAV a source file uses that the stubs do not know."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .calls import misfit_of, returning_overloads
from .stubs import (
    UNKNOWN,
    Class,
    Function,
    Instance,
    Items,
    Module,
    Stubs,
    Tuple,
    resolve_annotation,
)


@dataclass(frozen=True)
class _OurFunction:
    """A function of ours: what it returns, and the function of PyAV its further arguments go to."""

    returned: frozenset
    passes_on: Function | None = None
    own_arguments: frozenset = UNKNOWN


def find_faults(paths: Iterable[Path], stubs: Stubs) -> tuple[list[str], set[str]]:
    """Checks what is recognised as an object of PyAV: by assignment, annotation, ``with``, ``for``.

    Args:
        paths: Python files.
        stubs: of the version of PyAV to check against.

    Returns:
        tuple: lines such as "video_file.py:64: av.open has no argument 'metadata_errors'", and all
        that was found right, such as "VideoFrame.pts" and "av.open(timeout=)".
    """
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    files = {
        path: _SourceFile(path, text, stubs)
        for path, text in texts.items()
        if re.search(r"\b(?:import|from) av\b", text)
    }
    # Functions are known to all files before any is checked.
    functions: dict[str, frozenset] = defaultdict(frozenset)
    for file in files.values():
        for name, function in file.functions():
            functions[name] |= {function}
    calls = re.compile(rf"\b({'|'.join(functions) or '$^'})\(")
    for path, text in texts.items():
        if path not in files and calls.search(text):
            files[path] = _SourceFile(path, text, stubs)
    faults, right = [], set()
    for _, file in sorted(files.items()):
        file.check(functions)
        faults += sorted(file.faults)
        right |= file.right
    return faults, right


class _SourceFile(ast.NodeVisitor):
    def __init__(self, path: Path, text: str, stubs: Stubs):
        self.faults: set[str] = set()
        self.right: set[str] = set()
        self._path = path
        self._stubs = stubs
        self._tree = ast.parse(text)
        self._scopes: list[dict[str, frozenset]] = [{}]
        self._attributes: dict[str, frozenset] = {}  # of self, in the class being visited
        self._functions: dict[str, frozenset] = {}
        for node in ast.walk(self._tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._import(node)

    def functions(self) -> Iterable[tuple[str, _OurFunction]]:
        """Names of functions and methods of this file that return objects of PyAV."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.FunctionDef) and (kinds := self._annotated(node.returns)):
                own = {x.arg for x in (*node.args.args, *node.args.kwonlyargs)}
                yield node.name, _OurFunction(kinds, self._passes_on(node), frozenset(own))

    def check(self, functions: dict[str, frozenset]) -> None:
        """Fills ``faults`` and ``right``; twice over, as methods may use what others assign.

        Args:
            functions: those of all files by name.
        """
        self._functions = functions
        of_imports = frozenset(self.faults)
        for _ in range(2):
            self.faults = set(of_imports)
            self.visit(self._tree)

    # What names stand for

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        scope = {}
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            scope[argument.arg] = self._annotated(argument.annotation)
        self._scopes.append(scope)
        self.generic_visit(node)
        self._scopes.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        kinds = self._kinds(node.value)
        for target in node.targets:
            self._bind(target, kinds, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._kinds(node.value)
        self._bind(node.target, self._annotated(node.annotation))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._kinds(node.value)
        if isinstance(node.target, ast.Attribute):
            self._kinds(node.target)

    def visit_For(self, node: ast.For) -> None:
        self._bind(node.target, _items(self._kinds(node.iter)))
        for child in (*node.body, *node.orelse):
            self.visit(child)

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            kinds = self._kinds(item.context_expr)
            if item.optional_vars is not None:
                self._bind(item.optional_vars, kinds)
        for child in node.body:
            self.visit(child)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.type is not None:
            types = self._kinds(node.type)
            types = _items(types) or types
            if node.name is not None:
                caught = frozenset(Instance(kind) for kind in types if isinstance(kind, Class))
                self._scopes[-1][node.name] = caught
        for child in node.body:
            self.visit(child)

    def generic_visit(self, node: ast.AST) -> None:
        """Expressions are evaluated where they stand in a statement."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._kinds(child)
            else:
                self.visit(child)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        top = self._scopes[0]
        for alias in node.names:
            module = alias.name if isinstance(node, ast.Import) else node.module or ""
            if module.partition(".")[0] != "av" or getattr(node, "level", 0):
                continue
            if not self._stubs.has_module(module):
                self._fault(node, f"there is no module {module}")
            elif isinstance(node, ast.Import):
                top[alias.asname or "av"] = frozenset({Module(module if alias.asname else "av")})
            else:
                kinds = self._stubs.module_member(module, alias.name)
                if kinds is None:
                    self._fault(node, f"{module} has no {alias.name}")
                top[alias.asname or alias.name] = kinds or UNKNOWN

    def _bind(self, target: ast.expr, kinds: frozenset, value: ast.expr | None = None) -> None:
        if isinstance(target, ast.Name):
            scope = self._scopes[-1]
            # Another branch may bind the name to something else: it may be either.
            scope[target.id] = kinds | scope.get(target.id, UNKNOWN)
        elif isinstance(target, (ast.Tuple, ast.List)):
            values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else None
            for place, part in enumerate(target.elts):
                if values is not None and len(values) == len(target.elts):
                    self._bind(part, self._kinds(values[place]))
                else:
                    self._bind(part, _at_place(kinds, place))
        elif isinstance(target, ast.Attribute):
            if _is_self(target.value):
                known = self._attributes.get(target.attr, UNKNOWN)
                self._attributes[target.attr] = known | kinds
            self._kinds(target)
        elif isinstance(target, ast.Subscript):
            self._kinds(target.value)
            self._kinds(target.slice)

    def _annotated(self, node: ast.expr | None) -> frozenset:
        def instances(name: str) -> frozenset:
            try:
                kinds = self._kinds(ast.parse(name, mode="eval").body, quietly=True)
            except SyntaxError:
                return UNKNOWN
            return frozenset(Instance(kind) for kind in kinds if isinstance(kind, Class))

        return resolve_annotation(node, instances)

    # What expressions stand for

    def _kinds(self, node: ast.expr, *, quietly: bool = False) -> frozenset:
        """What an expression may be; notes the faults and the right uses in it."""
        if isinstance(node, ast.Name):
            for scope in reversed(self._scopes):
                if node.id in scope:
                    return scope[node.id]
            return UNKNOWN
        if isinstance(node, ast.Attribute):
            return self._attribute(node, quietly)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Subscript):
            kinds = self._kinds(node.value)
            self._kinds(node.slice)
            if isinstance(node.slice, ast.Slice):
                return kinds
            place = node.slice.value if isinstance(node.slice, ast.Constant) else None
            return _at_place(kinds, place) if isinstance(place, int) else _items(kinds)
        if isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)):
            return self._comprehension(node)
        if isinstance(node, ast.Lambda):
            self._scopes.append({argument.arg: UNKNOWN for argument in node.args.args})
            self._kinds(node.body)
            self._scopes.pop()
            return UNKNOWN
        if isinstance(node, ast.NamedExpr):
            kinds = self._kinds(node.value)
            self._bind(node.target, kinds)
            return kinds
        parts = [self._kinds(x) for x in ast.iter_child_nodes(node) if isinstance(x, ast.expr)]
        if isinstance(node, ast.IfExp):
            return parts[1] | parts[2]
        if isinstance(node, ast.BoolOp):
            return UNKNOWN.union(*parts)
        if isinstance(node, (ast.List, ast.Tuple)) and parts:
            if isinstance(node, ast.Tuple):
                return frozenset({Tuple(tuple(parts))})
            return frozenset({Items(UNKNOWN.union(*parts))})
        return UNKNOWN

    def _comprehension(self, node) -> frozenset:
        self._scopes.append({})
        for part in node.generators:
            self._bind(part.target, _items(self._kinds(part.iter)))
            for condition in part.ifs:
                self._kinds(condition)
        if isinstance(node, ast.DictComp):
            self._kinds(node.key)
            kinds = self._kinds(node.value)
        else:
            kinds = self._kinds(node.elt)
        self._scopes.pop()
        return frozenset({Items(kinds)}) if kinds else UNKNOWN

    def _attribute(self, node: ast.Attribute, quietly: bool) -> frozenset:
        if _is_self(node.value):
            return self._attributes.get(node.attr, self._functions.get(node.attr, UNKNOWN))
        found, missing = UNKNOWN, []
        owners = [x for x in self._kinds(node.value) if isinstance(x, (Module, Class, Instance))]
        for owner in owners:
            if isinstance(owner, Module):
                member = self._stubs.module_member(owner.name, node.attr)
                name = owner.name
            else:
                of = owner.of if isinstance(owner, Instance) else owner
                member = self._stubs.class_member(of, node.attr)
                name = of.name
            if member is None:
                missing.append(name)
                continue
            found |= member
            if not quietly:
                self.right.add(f"{name}.{node.attr}")
        if owners and len(missing) == len(owners) and not quietly:
            self._fault(node, f"{' and '.join(sorted(missing))} has no {node.attr!r}")
        return found if owners else self._functions.get(node.attr, UNKNOWN)

    def _call(self, node: ast.Call) -> frozenset:
        arguments = [self._kinds(argument) for argument in node.args]
        for keyword in node.keywords:
            self._kinds(keyword.value)
        called = self._kinds(node.func)
        if isinstance(node.func, ast.Name) and not called:
            called = self._functions.get(node.func.id, UNKNOWN)
            if node.func.id == "next" and arguments:
                return _items(arguments[0]).union(*arguments[1:])
            if node.func.id in ("iter", "list", "tuple", "sorted") and arguments:
                return arguments[0]
            if node.func.id == "enumerate" and arguments:
                return frozenset({Items(frozenset({Tuple((UNKNOWN, _items(arguments[0])))}))})
        results = [self._call_of(kind, node) for kind in called]
        if results and all(misfit is not None for _, misfit in results):
            self._fault(node, " and ".join(sorted(misfit for _, misfit in results)))
        return UNKNOWN.union(*(returned for returned, _ in results))

    def _call_of(self, kind, node: ast.Call) -> tuple[frozenset, str | None]:
        """What a call returns, and what is wrong with its arguments."""
        if isinstance(kind, Class):
            constructors = self._stubs.class_member(kind, "__init__") or UNKNOWN
            misfits = [self._call_of(x, node)[1] for x in constructors]
            return frozenset({Instance(kind)}), next(filter(None, misfits), None)
        if isinstance(kind, _OurFunction):
            passed_on = _passed_on(node, kind.own_arguments)
            misfit = self._call_of(kind.passes_on, passed_on)[1]
            return kind.returned, misfit
        if not isinstance(kind, Function):
            return UNKNOWN, None
        misfits = [misfit_of(x, node, is_method=kind.owner is not None) for x in kind.overloads]
        fitting = [x for x, reason in zip(kind.overloads, misfits) if reason is None]
        if not fitting:
            return UNKNOWN, f"{kind.name} {misfits[-1]}"
        self.right |= {f"{kind.name}({x.arg}=)" for x in node.keywords if x.arg is not None}
        overloads = returning_overloads(kind, fitting, node, self._stubs)
        returned = (self._stubs.annotated(x.returns, kind.module, kind.owner) for x in overloads)
        return UNKNOWN.union(*returned), None

    def _passes_on(self, node: ast.FunctionDef) -> Function | None:
        """The function of PyAV that gets the ``**options`` of a function of ours."""
        for call in ast.walk(node):
            spread = [x.value for x in getattr(call, "keywords", ()) if x.arg is None]
            if node.args.kwarg and node.args.kwarg.arg in map(ast.unparse, spread):
                for kind in self._kinds(call.func, quietly=True):
                    if isinstance(kind, Function):
                        return kind
        return None

    def _fault(self, node: ast.AST, what: str) -> None:
        self.faults.add(f"{self._path}:{node.lineno}: {what}")


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _items(kinds: frozenset) -> frozenset:
    """What is got by going through such objects."""
    found = [x.kinds for x in kinds if isinstance(x, Items)]
    found += [part for x in kinds if isinstance(x, Tuple) for part in x.kinds]
    return UNKNOWN.union(*found)


def _at_place(kinds: frozenset, place: int) -> frozenset:
    """What stands at one place of such objects."""
    found = [x.kinds for x in kinds if isinstance(x, Items)]
    tuples = [x.kinds for x in kinds if isinstance(x, Tuple)]
    found += [x[place] for x in tuples if -len(x) <= place < len(x)]
    return UNKNOWN.union(*found)


def _passed_on(call: ast.Call, own_arguments: frozenset) -> ast.Call:
    """The call that is left when a function has taken its own arguments."""
    keywords = [x for x in call.keywords if x.arg not in own_arguments]
    rest = ast.Starred(ast.Name("rest"))
    return ast.Call(call.func, [rest], keywords)
