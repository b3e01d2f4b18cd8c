"""Which overloads of a function take the arguments of a call."""

from __future__ import annotations

import ast

from .stubs import Function, Stubs


def misfit_of(overload: ast.FunctionDef, call: ast.Call, *, is_method: bool) -> str | None:
    """Why an overload cannot take the arguments of a call; None if it can.

    Args:
        overload: a function of the stubs.
        call: the call.
        is_method: whether the first parameter, the object, is not among the arguments.
    """
    positional, named = _parameters(overload, is_method)
    spread = any(isinstance(x, ast.Starred) for x in call.args)
    if len(call.args) > len(positional) and not spread and overload.args.vararg is None:
        return f"takes no {len(call.args)} positional arguments"
    given = {x.arg for x in positional[: len(call.args)]}
    names = {x.arg for x in named}
    for keyword in call.keywords:
        if keyword.arg is None:
            spread = True
        elif keyword.arg not in names and overload.args.kwarg is None:
            return f"has no argument {keyword.arg!r}"
        else:
            given.add(keyword.arg)
    missing = [x.arg for x in _required(overload, is_method) if x.arg not in given]
    return None if spread or not missing else f"needs the argument {missing[0]!r}"


def returning_overloads(
    function: Function, fitting: list[ast.FunctionDef], call: ast.Call, stubs: Stubs
) -> list[ast.FunctionDef]:
    """The overloads that may give the result: the first one that fits, as type checkers have it.

    More than one, if that depends on an argument whose value is not known, such as a codec.

    Args:
        function: the function.
        fitting: those of its overloads that take the call.
        call: the call.
        stubs: the function is from.
    """
    possible = []
    for overload in fitting:
        is_open = False
        for parameter, value in _given(overload, call, is_method=function.owner is not None):
            allowed = stubs.literals(parameter.annotation, function.module)
            if allowed is None:
                continue
            if not isinstance(value, ast.Constant):
                is_open = True
            elif value.value not in allowed:
                break
        else:
            possible.append(overload)
            if not is_open:
                break
    return possible


def argument_names(function: Function) -> set[str]:
    """The names of all arguments that some overload has."""
    is_method = function.owner is not None
    return {x.arg for overload in function.overloads for x in _parameters(overload, is_method)[1]}


def _parameters(overload: ast.FunctionDef, is_method: bool) -> tuple[list[ast.arg], list[ast.arg]]:
    """Those that positional arguments go to, and those that keywords go to."""
    arguments = overload.args
    positional = [*arguments.posonlyargs, *arguments.args][int(is_method) :]
    named = [*arguments.args, *arguments.kwonlyargs]
    return positional, named


def _required(overload: ast.FunctionDef, is_method: bool) -> list[ast.arg]:
    arguments = overload.args
    positional, _ = _parameters(overload, is_method)
    required = positional[: len(positional) - len(arguments.defaults)]
    required += [x for x, d in zip(arguments.kwonlyargs, arguments.kw_defaults) if d is None]
    return required


def _given(overload: ast.FunctionDef, call: ast.Call, *, is_method: bool):
    """Pairs of a parameter and the expression that a call gives for it."""
    positional, named = _parameters(overload, is_method)
    yield from zip(positional, call.args)
    for keyword in call.keywords:
        yield from ((x, keyword.value) for x in named if x.arg == keyword.arg)
