"""Public things say where users import them from: in tracebacks, reprs, pickles and type hints."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
import traceback
import types
import typing
from typing import Any

import resilient_ai
from resilient_ai.events import Event

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


THINGS = {
    f"{module}.{name}": thing
    for module, name in public_names()
    if isinstance(thing := getattr(MODULES[module], name), type) or inspect.isfunction(thing)
}
CLASSES = {path: thing for path, thing in THINGS.items() if isinstance(thing, type)}


def last(path: str) -> str:
    return path.rpartition(".")[2]


def test_a_public_thing_names_a_module_where_it_is_found():
    for path, thing in THINGS.items():
        assert "._" not in thing.__module__, path
        assert getattr(sys.modules[thing.__module__], last(path)) is thing, path


def private_modules() -> list[types.ModuleType]:
    """Those of the policies, of the core, and of whatever else lies in a folder with an underscore."""
    found = pkgutil.walk_packages(resilient_ai.__path__, "resilient_ai.")
    names = [module.name for module in found if module.name.startswith("resilient_ai._")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def test_what_says_that_it_is_public_is_found_where_it_says():
    """Else a pickle of it could not be read. Events say so by being events, statistics and handles by `@public`."""
    told: dict[Any, str] = {}
    for module in private_modules():
        for thing in vars(module).values():
            if not isinstance(thing, type | types.FunctionType) or thing.__module__ not in MODULES:
                continue
            if "<locals>" not in thing.__qualname__:
                defines = re.search(rf"^(class|def) {thing.__qualname__}\b", inspect.getsource(module), re.MULTILINE)
                told[thing] = module.__name__ if defines else told.get(thing, module.__name__)
    lacking = [
        f"{thing.__module__} lacks {thing.__qualname__}: import it there from {home}, and add it to __all__"
        for thing, home in told.items()
        if getattr(public := MODULES[thing.__module__], thing.__qualname__, None) is not thing
        or thing.__qualname__ not in public.__all__
    ]

    assert len(told) > 50
    assert not lacking, "\n".join(lacking)


def test_every_event_says_that_it_is_one():
    """Else `resilient_ai.events` could lack it, and nobody would be told."""
    events = [
        thing
        for module in private_modules()
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Event)
    ]

    assert {event.__name__ for event in events if event.__module__ != "resilient_ai.events"} == set()


def test_a_pickle_finds_a_public_thing_under_its_public_name():
    for path, thing in THINGS.items():
        assert b"._" not in pickle.dumps(thing), path
        assert pickle.loads(pickle.dumps(thing)) is thing, path


def test_a_pickle_is_read_by_a_process_that_has_imported_nothing():
    pickled = pickle.dumps([resilient_ai.Endpoint("eu"), resilient_ai.CallTimeoutError("ask", timeout_seconds=3)])
    code = f"import pickle; print(pickle.loads({pickled!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.startswith("[Endpoint('eu'), CallTimeoutError")


def test_type_hints_of_a_public_class_are_found():
    for path, cls in CLASSES.items():
        hints = typing.get_type_hints(cls)

        assert not any(isinstance(hint, str | typing.ForwardRef) for hint in hints.values()), path
        if dataclasses.is_dataclass(cls):
            # Whoever builds a schema of a dataclass reads its fields, not its annotations.
            assert {field.name: field.type for field in dataclasses.fields(cls)} == {
                field.name: hints[field.name] for field in dataclasses.fields(cls)
            }, path
            assert typing.get_type_hints(cls.__init__).keys() >= {field.name for field in dataclasses.fields(cls)}, path


def test_the_examples_of_a_public_thing_are_found_and_run():
    """Doctest leaves out a class that names another module than the one it looks through."""
    for path, thing in THINGS.items():
        home = sys.modules[thing.__module__]
        runner = doctest.DocTestRunner()
        for test in doctest.DocTestFinder().find(
            thing, last(path), module=home, globs=vars(home) | {last(path): thing}
        ):
            runner.run(test)

        assert runner.failures == 0, path
        assert runner.tries > 0 or ">>>" not in (thing.__doc__ or ""), path


def test_the_source_of_a_public_function_is_found():
    for path in THINGS.keys() - CLASSES.keys():
        assert f"def {last(path)}(" in inspect.getsource(THINGS[path]), path


def test_a_traceback_shows_the_public_path_of_an_error():
    error = resilient_ai.CircuitOpenError("openai", 3.0)

    assert "".join(traceback.format_exception_only(error)).startswith("resilient_ai.CircuitOpenError: circuit 'openai'")
