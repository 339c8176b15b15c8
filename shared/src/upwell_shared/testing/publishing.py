"""Whether a service's one door out knows all that its contract promises."""

import ast
import inspect
from types import ModuleType

from upwell_shared.contracts import Contract


def unpublished(contract: Contract, publishing: ModuleType) -> list[str]:
    """Classes of the contract that `publishing` nowhere makes: what subscribers would wait for in vain."""
    tree = ast.parse(inspect.getsource(publishing))
    made = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return sorted({event.__name__ for event in contract.classes.values()} - made)
