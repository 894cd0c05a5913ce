"""Which modules are gathered as one, and what this rank keeps of a parameter."""

from __future__ import annotations

from collections import Counter

from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def units_of(model: nn.Module, least: int) -> list[nn.Module]:
    """The blocks of ``model`` with ``least`` parameters or more that are in no smaller one of these, the innermost first.

    Blocks are the elements of Sequential, ModuleList and ModuleDict, as layers and stages are: they are called as modules,
    which is when a unit is gathered. Of other modules nobody knows: from some only the weights are read. A block that shares
    a parameter is none, since one unit must hold all that read it.
    """
    places = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    units: list[nn.Module] = []
    _add_units(model, least, {key for key, count in places.items() if count > 1}, units)
    return units


def _add_units(module: nn.Module, least: int, shared: set[int], units: list[nn.Module]) -> set[int]:
    """Appends the units inside ``module``; returns the parameters that they take."""
    taken: set[int] = set()
    for child in module.children():
        taken |= _add_units(child, least, shared, units)
        own = {id(p): p.numel() for p in child.parameters() if id(p) not in taken}
        is_block = isinstance(module, _CONTAINERS) and not _is_never_called(child)
        if is_block and sum(own.values()) >= least and not shared & own.keys():
            units.append(child)
            taken |= set(own)
    return taken


def _is_never_called(module: nn.Module) -> bool:
    return isinstance(module, (nn.ModuleList, nn.ModuleDict)) and type(module).forward is nn.Module.forward
