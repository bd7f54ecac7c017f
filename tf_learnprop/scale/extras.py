"""Optional packages, imported when they are needed."""

import importlib
from types import ModuleType


def require(module: str, extra: str = "scale") -> ModuleType:
    """Imports a module of an optional package.

    Args:
        module: Name of the module, such as "pyarrow.parquet".
        extra: The extra of tf-learnprop that installs the package.

    Raises:
        ImportError: If it is not installed. The message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"{package} is not installed: pip install 'tf-learnprop[{extra}]'") from error
