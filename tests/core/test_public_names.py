"""Public things say where users import them from: in tracebacks, reprs, pickles and type hints."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
import traceback
import typing

import pytest

import resilient_ai

MODULES = {
    "resilient_ai": resilient_ai,
    **{
        f"resilient_ai.{module.name}": importlib.import_module(f"resilient_ai.{module.name}")
        for module in pkgutil.iter_modules(resilient_ai.__path__)
        if not module.name.startswith("_")
    },
}


def public_names() -> list[tuple[str, str]]:
    return [(module.__name__, name) for module in MODULES.values() for name in module.__all__]


THINGS = [
    (module, name)
    for module, name in public_names()
    if isinstance(getattr(MODULES[module], name), type) or inspect.isfunction(getattr(MODULES[module], name))
]
CLASSES = [pair for pair in THINGS if isinstance(getattr(MODULES[pair[0]], pair[1]), type)]


@pytest.mark.parametrize(("module", "name"), THINGS)
def test_a_public_thing_names_a_module_where_it_is_found(module, name):
    thing = getattr(MODULES[module], name)

    assert "._" not in thing.__module__
    assert getattr(sys.modules[thing.__module__], name) is thing


def test_what_says_that_it_is_public_is_found_where_it_says():
    """Else a pickle of it could not be read."""
    modules = [module for name, module in sys.modules.items() if name.startswith("resilient_ai._")]
    things = {thing for module in modules for thing in vars(module).values() if isinstance(thing, type)}
    told = {thing for thing in things if thing.__module__ in MODULES and "<locals>" not in thing.__qualname__}

    assert len(told) > 50
    assert [thing for thing in told if getattr(MODULES[thing.__module__], thing.__qualname__, None) is not thing] == []


@pytest.mark.parametrize(("module", "name"), THINGS)
def test_a_pickle_finds_a_public_thing_under_its_public_name(module, name):
    thing = getattr(MODULES[module], name)

    assert b"._" not in pickle.dumps(thing)
    assert pickle.loads(pickle.dumps(thing)) is thing


def test_a_pickle_is_read_by_a_process_that_has_imported_nothing():
    pickled = pickle.dumps([resilient_ai.Endpoint("eu"), resilient_ai.CallTimeoutError("ask", timeout_seconds=3)])
    code = f"import pickle; print(pickle.loads({pickled!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.startswith("[Endpoint('eu'), CallTimeoutError")


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_type_hints_of_a_public_class_are_found(module, name):
    cls = getattr(MODULES[module], name)
    hints = typing.get_type_hints(cls)

    assert not any(isinstance(hint, str | typing.ForwardRef) for hint in hints.values())
    if dataclasses.is_dataclass(cls):
        # Whoever builds a schema of a dataclass reads its fields, not its annotations.
        assert {field.name: field.type for field in dataclasses.fields(cls)} == {
            field.name: hints[field.name] for field in dataclasses.fields(cls)
        }
        assert typing.get_type_hints(cls.__init__).keys() >= {field.name for field in dataclasses.fields(cls)}


@pytest.mark.parametrize(("module", "name"), THINGS)
def test_the_examples_of_a_public_thing_are_found_and_run(module, name):
    """Doctest leaves out a class that names another module than the one it looks through."""
    thing = getattr(MODULES[module], name)
    home = sys.modules[thing.__module__]
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(thing, name, module=home, globs=vars(home) | {name: thing}):
        runner.run(test)

    assert runner.failures == 0
    assert runner.tries > 0 or ">>>" not in (thing.__doc__ or "")


@pytest.mark.parametrize(("module", "name"), [pair for pair in THINGS if pair not in CLASSES])
def test_the_source_of_a_public_function_is_found(module, name):
    assert f"def {name}(" in inspect.getsource(getattr(MODULES[module], name))


def test_a_traceback_shows_the_public_path_of_an_error():
    error = resilient_ai.CircuitOpenError("openai", 3.0)

    assert "".join(traceback.format_exception_only(error)).startswith("resilient_ai.CircuitOpenError: circuit 'openai'")
