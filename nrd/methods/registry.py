"""From a spec to the method's object: classes are named in ``params/methods/*.yaml``, not listed here."""

import importlib
import importlib.util
import sys
from pathlib import Path

from nrd.methods.base import Method
from nrd.spec import MethodSpec, SpecError


def load_class(implementation: str, root: Path = Path()) -> type[Method]:
    """Import ``package.module:Class``, or ``path/to/file.py:Class`` relative to the project's root.

    Raises:
        SpecError: module, file or class do not exist, or the class is not a :class:`Method`.
    """
    module_name, _, class_name = implementation.partition(":")
    if module_name.startswith(".") and not module_name.endswith(".py"):
        raise SpecError(
            f"implementation: {implementation!r} cannot be loaded (a module's name begins with its package)"
        )
    try:
        module = _load_file(root / module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
        found = getattr(module, class_name)
    except (ImportError, FileNotFoundError, AttributeError, SyntaxError) as error:
        raise SpecError(f"implementation: {implementation!r} cannot be loaded ({error})") from None
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise SpecError(f"implementation: {implementation!r} is not a subclass of nrd.methods.base.Method")
    return found


def _load_file(path: Path):  # noqa: ANN202
    name = "nrd_method_" + "".join(c if c.isalnum() else "_" for c in str(path.resolve()))
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def create_method(spec: MethodSpec, root: Path = Path()) -> Method:
    """Build a method from its spec; its networks are still missing (:meth:`Method.setup`).

    Raises:
        SpecError: the class cannot be loaded or refuses its hyper-parameters.
    """
    try:
        cls = load_class(spec.implementation, root)
    except SpecError as error:
        raise SpecError(f"params/methods/{spec.name}.yaml: {error}") from None
    try:
        method = cls(**spec.hyperparameters, teacher=spec.teacher)
    except (TypeError, ValueError) as error:
        raise SpecError(f"method {spec.name}: {error}") from None
    missing = set(method.view_counts) - set(spec.views)
    if missing:
        raise SpecError(
            f"method {spec.name}: params/methods/{spec.name}.yaml: views: needs {', '.join(sorted(missing))}"
        )
    return method
