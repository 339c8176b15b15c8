"""Whether a service's one door out knows all that its contract promises."""

import ast
import inspect
from types import ModuleType

from upwell_shared.contracts import Contract


def unpublished(contract: Contract, publishing: ModuleType) -> list[str]:
    """Classes of the contract that `publishing` nowhere makes: what subscribers would wait for in vain."""
    tree = ast.parse(inspect.getsource(publishing))
    called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    # By its plain name, or as an attribute of the module it comes from.
    made = {getattr(each, "attr", getattr(each, "id", None)) for each in called}
    return sorted({event.__name__ for event in contract.classes.values()} - made)
