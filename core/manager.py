"""Finds, checks, blocks and traces plugins, and resolves what a recipe names.

Every entry point of the group ``drivetrain`` is loaded on its own: one that fails is recorded with its error, shown by
``drivetrain plugins list``, and ends a command only if that needs it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pluggy

from . import declarations, hookspecs
from .errors import PluginError, UserError, near_matches

OWN = "drivetrain"
DECLARATIONS: dict[str, type[declarations.Plugin]] = {cls.kind: cls for cls in declarations.Plugin.__subclasses__()}
KINDS = tuple(DECLARATIONS)
ALLOW_VARIABLE = "DRIVETRAIN_PLUGINS"


@dataclass(frozen=True)
class Controls:
    """What the user said of plugins: ``blocked`` names (``-p no:NAME``: a distribution, an entry point, or
    ``dist:entry``), ``files`` to load (``--plugin FILE``), ``allowed`` distributions (None: all), ``trace`` calls."""

    blocked: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    allowed: tuple[str, ...] | None = None
    trace: bool = False

    @staticmethod
    def of(options: Iterable[str] = (), files: Iterable[str] = (), trace: bool = False) -> Controls:
        """From ``-p`` options and the allow-list in the environment. Raises PluginError for an option of another form."""
        for option in options:
            if not option.startswith("no:") or len(option) == 3:
                raise PluginError(f"-p {option}: expected -p no:NAME")
        allowed = os.environ.get(ALLOW_VARIABLE)
        names = None if allowed is None else tuple(n.strip() for n in allowed.split(",") if n.strip())
        return Controls(tuple(o[3:] for o in options), tuple(str(Path(f).resolve()) for f in files), names, trace)


@dataclass
class Entry:
    """One entry point or plugin file: ``status`` is ``loaded``, ``blocked`` or ``failed`` (with ``error``)."""

    name: str
    distribution: str
    version: str
    target: str
    status: str = "loaded"
    error: str = ""
    found: list[Found] = field(default_factory=list, repr=False)

    @property
    def full_name(self) -> str:
        return f"{self.distribution}:{self.name}"


@dataclass(frozen=True)
class Found:
    """A declaration and where it is from."""

    declaration: Any
    distribution: str
    version: str
    entry_point: str

    @property
    def full_name(self) -> str:
        """``dist:name``, which always works and is what a frozen recipe stores."""
        return f"{self.distribution}:{self.declaration.name}"

    def load_config(self) -> Any:
        """The pydantic model of its settings, or None."""
        return None if self.declaration.config is None else self._load(self.declaration.config)

    def load_factory(self) -> Callable[..., Any]:
        return self._load(self.declaration.factory)

    def load_taxonomies(self) -> Mapping[str, Mapping[str, str]]:
        """Those that a dataset ships, by name."""
        return {} if self.declaration.taxonomies is None else self._load(self.declaration.taxonomies)

    def load_suits(self) -> Callable[..., float]:
        """What tells how well a search algorithm suits a study; 0 where it does not say."""
        return (lambda context: 0.0) if self.declaration.suits is None else self._load(self.declaration.suits)

    def _load(self, target: str) -> Any:
        module, _, name = target.partition(":")
        try:
            value: Any = import_module(module)
            for part in name.split("."):
                value = getattr(value, part)
        except (ImportError, AttributeError) as error:
            raise PluginError(
                f"{self.declaration.kind} {self.full_name!r} {self.version} does not load: {target}: {error}"
            ) from error
        return value


class PluginManager:
    """The plugins of one process. Raises nothing on account of a plugin; see `entries` for what failed."""

    def __init__(self, controls: Controls | None = None):
        self.controls = controls or Controls()
        self.entries: list[Entry] = []
        self._pm = pluggy.PluginManager(hookspecs.PROJECT)
        self._pm.add_hookspecs(hookspecs)
        if self.controls.trace:
            self._pm.trace.root.setwriter(lambda text: sys.stderr.write(text))
            self._pm.enable_tracing()
        for point in sorted(entry_points(group=hookspecs.PROJECT), key=lambda p: (_dist(p) != OWN, _dist(p), p.name)):
            version = point.dist.version if point.dist else "?"
            self._add(Entry(point.name, _dist(point), version, point.value), point.load)
        for file in self.controls.files:
            self._add_file(Path(file))

    # ---- finding

    def found(self, kind: str | None = None) -> list[Found]:
        """All declarations, or those of one kind, drivetrain's own first."""
        return [f for entry in self.entries for f in entry.found if kind in (None, f.declaration.kind)]

    def resolve(self, kind: str, name: str, where: str | None = None) -> Found:
        """The declaration called ``name`` or ``dist:name``.

        Raises PluginError where there is none (with near matches, and why a plugin that may have had it failed) and
        where several distributions have the name.
        """
        dist, _, bare = name.rpartition(":")
        hits = [f for f in self.found(kind) if f.declaration.name == bare and dist in ("", f.distribution)]
        if len(hits) == 1:
            return hits[0]
        if hits:
            both = " and ".join(f"{f.full_name} ({f.version})" for f in hits)
            raise PluginError(f"{_label(kind)} {name!r} is offered by {both}", remedy="write one of them in full", where=where)
        known = [f.declaration.name for f in self.found(kind)]
        raise PluginError(
            f"no {_label(kind)} {name!r}", near=near_matches(bare, known),
            remedy="\n".join([*self._failures(dist), f"all of them: drivetrain plugins list {kind}"]), where=where,
        )  # fmt: skip

    def default(self, kind: str, where: str | None = None) -> Found:
        """What a recipe that is silent gets. Raises PluginError where no plugin, or several, declare themselves so."""
        hits = [f for f in self.found(kind) if f.declaration.default]
        if len(hits) != 1:
            names = ", ".join(f.full_name for f in (hits or self.found(kind))) or "none installed"
            raise PluginError(f"no single default {_label(kind)}", where=where, remedy=f"name one of: {names}")
        return hits[0]

    def digest(self) -> dict[str, str]:
        """Entry -> version of everything that was loaded: what ranks compare before they start."""
        out = {e.full_name: e.version for e in self.entries if e.status == "loaded"}
        return out | {f"failed {e.full_name}": e.version for e in self.entries if e.status == "failed"}

    def notify(self, event: str, **arguments: Any) -> list[str]:
        """Call a life-cycle hook of every plugin; what they raise is returned as text, never raised."""
        hook, told = f"drivetrain_{event}", []
        for plugin in self._pm.get_plugins():
            try:
                self._only(hook, plugin)(**arguments)
            except Exception as error:
                told.append(f"plugin {self._pm.get_name(plugin)}: {event}: {type(error).__name__}: {error}")
        return told

    # ---- adding

    def _add(self, entry: Entry, load: Callable[[], Any]) -> None:
        self.entries.append(entry)
        if self._is_blocked(entry):
            entry.status = "blocked"
            return
        plugin = None
        try:
            plugin = load()
            _check_hooks(plugin, self._pm)
            self._pm.register(plugin, entry.full_name)
            entry.found = self._collect(plugin, entry)
        except (Exception, SystemExit) as error:
            entry.status, entry.error, entry.found = "failed", _explain(error), []
            if plugin is not None and self._pm.is_registered(plugin):
                self._pm.unregister(plugin)

    def _add_file(self, path: Path) -> None:
        if not path.is_file():
            raise PluginError(f"--plugin {path}: no such file")
        version = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        self._add(Entry(path.name, path.stem, version, str(path)), lambda: _import_file(path))

    def _is_blocked(self, entry: Entry) -> bool:
        names = {entry.distribution, entry.name, entry.full_name}
        if names & set(self.controls.blocked):
            return True
        allowed = self.controls.allowed
        is_own_or_file = entry.distribution == OWN or entry.target in self.controls.files
        return allowed is not None and not is_own_or_file and not {entry.distribution, entry.full_name} & set(allowed)

    def _collect(self, plugin: Any, entry: Entry) -> list[Found]:
        found = []
        for kind, cls in DECLARATIONS.items():
            for declared in self._only(f"drivetrain_{kind}s", plugin)():
                for declaration in declared or ():
                    if not isinstance(declaration, cls):
                        raise TypeError(f"drivetrain_{kind}s returned {declaration!r}, expected {cls.__name__}")
                    found.append(Found(declaration, entry.distribution, entry.version, entry.name))
        self._refuse_repeats(found)
        return found

    def _refuse_repeats(self, found: list[Found]) -> None:
        seen = {(f.declaration.kind, f.full_name) for f in self.found()}
        for f in found:
            if (f.declaration.kind, f.full_name) in seen:
                raise ValueError(f"{f.declaration.kind} {f.full_name!r} is declared twice")
            seen.add((f.declaration.kind, f.full_name))

    def _only(self, hook: str, plugin: Any) -> pluggy.HookCaller:
        others = [p for p in self._pm.get_plugins() if p is not plugin]
        return self._pm.subset_hook_caller(hook, others)

    def _failures(self, dist: str) -> list[str]:
        """Why plugins that may have had a name did not load."""
        out = []
        for e in self.entries:
            if e.status != "loaded" and dist in ("", e.distribution):
                out.append(f"{e.full_name} {e.version} is {e.status}" + (f": {e.error}" if e.error else ""))
        return out


_current: PluginManager | None = None


def get_manager(controls: Controls | None = None) -> PluginManager:
    """This process's manager; made at first use, and made anew for other ``controls``."""
    global _current
    if _current is None or (controls is not None and controls != _current.controls):
        _current = PluginManager(controls or Controls.of())
    return _current


def _dist(point: Any) -> str:
    return point.dist.name if point.dist else "?"


def _label(kind: str) -> str:
    return kind.replace("_", " ")


def _explain(error: BaseException) -> str:
    """One line: the error, and the last line of code outside this file that raised it."""
    if isinstance(error, UserError):
        return error.message
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames and frames[-1].filename != __file__ else ""
    return f"{type(error).__name__}: {error}{place}".replace("\n", " ")


def _import_file(path: Path) -> Any:
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    found = None if loaded is not None else importlib.util.find_spec(path.stem)
    if loaded is not None or (found is not None and Path(found.origin or "").resolve() != path):
        raise ImportError(f"a module {path.stem!r} is installed already; give the file another name")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # so that its own "module:Name" targets can be imported
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def _check_hooks(plugin: Any, pm: pluggy.PluginManager) -> None:
    """Refuse what pluggy would pass over in silence: a misspelt hook, one that is not marked, a defaulted parameter."""
    known = [name for name in vars(hookspecs) if name.startswith("drivetrain_")]
    for name, function in inspect.getmembers(plugin, callable):
        marked = pm.parse_hookimpl_opts(plugin, name) is not None
        if not marked and not name.startswith("drivetrain_"):
            continue
        if name not in known:
            near = near_matches(name, known)
            raise AttributeError(f"unknown hook {name!r}" + (f", did you mean {near[0]!r}?" if near else ""))
        if not marked:
            raise AttributeError(f"hook {name!r} is not marked with @hookimpl")
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default is not parameter.empty:
                raise TypeError(f"hook {name!r}: parameter {parameter.name!r} has a default, so it would never get a value")
