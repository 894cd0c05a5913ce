"""The plugin manager: every trap that real plugin hosts fall into, with real distributions on the path."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from drivetrain.errors import PluginError
from drivetrain.manager import Controls, PluginManager

GOOD = """
from drivetrain import MetricPlugin, hookimpl

@hookimpl
def drivetrain_metrics():
    return [MetricPlugin(name="{name}", about="counts", task="object_detection", factory="{module}:make")]

def make(config, context):
    return "made"
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay a distribution with one entry point on the path, as an installer would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def lay(distribution: str, code: str, module: str, version: str = "1.0", entry: str = "main"):
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[drivetrain]\n{entry} = {module}\n")

    yield lay
    for name in [n for n in sys.modules if n.startswith("acme")]:
        del sys.modules[name]


def entry(manager: PluginManager, full_name: str):
    return next(e for e in manager.entries if e.full_name == full_name)


def test_a_strangers_plugin_is_found_like_our_own(install):
    install("acme", GOOD.format(name="counter", module="acme_counter"), "acme_counter", "2.1")
    found = PluginManager().resolve("metric", "counter")
    assert (found.full_name, found.version, found.load_factory()(None, None)) == ("acme:counter", "2.1", "made")
    assert PluginManager().resolve("metric", "acme:counter") == found


def test_all_of_ours_load():
    assert [e.full_name for e in PluginManager(Controls(allowed=())).entries if e.status == "failed"] == []


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import nothing_of_that_name", "nothing_of_that_name"),
        ("from drivetrain import hookimpl\n@hookimpl\ndef drivetrain_modles(): return []", "did you mean 'drivetrain_models'"),
        ("def drivetrain_models(): return []", "not marked with @hookimpl"),
        ("from drivetrain import hookimpl\n@hookimpl\ndef drivetrain_run_started(run=None): pass", "has a default"),
        ("from drivetrain import hookimpl\n@hookimpl\ndef drivetrain_models(extra): return []", "extra"),
        ("from drivetrain import hookimpl\n@hookimpl\ndef drivetrain_models(): return [1]", "expected ModelPlugin"),
        ("from drivetrain import hookimpl\n@hookimpl\ndef drivetrain_models(): raise ValueError('no luck')", "no luck"),
        (GOOD.format(name="a:b", module="acme_bad"), "no colon"),
        (GOOD.replace('about="counts"', 'about="counts", api_version=99').format(name="x", module="acme_bad"), "API 99"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_broken_plugin_is_reported_and_does_no_harm(install, code, told):
    install("acme-bad", code, "acme_bad")
    manager = PluginManager()
    broken = entry(manager, "acme-bad:main")
    assert broken.status == "failed" and told in broken.error and broken.found == []
    assert manager.resolve("metric", "miou").distribution == "drivetrain"
    assert manager.notify("run_started", run=None) == []  # nothing of it is left registered


def test_two_distributions_with_one_name_are_both_named(install):
    for number in (1, 2):
        code = GOOD.format(name="counter", module=f"acme{number}")
        install(f"acme-{number}", code, f"acme{number}", f"{number}.0")
    manager = PluginManager()
    with pytest.raises(PluginError, match=r"acme-1:counter \(1\.0\) and acme-2:counter \(2\.0\)"):
        manager.resolve("metric", "counter")
    assert manager.resolve("metric", "acme-2:counter").version == "2.0"


def test_an_unknown_name_lists_near_ones_and_what_failed_to_load(install):
    install("acme-bad", "import nothing_of_that_name", "acme_bad")
    with pytest.raises(PluginError) as caught:
        PluginManager().resolve("metric", "mio", where="a.yaml:3: metrics.mio")
    text = str(caught.value)
    assert text.startswith("a.yaml:3: metrics.mio: no metric 'mio'") and "'miou'" in text
    assert "acme-bad:main 1.0 is failed: ModuleNotFoundError" in text


@pytest.mark.parametrize("name", ["acme", "main", "acme:main"])
def test_a_plugin_can_be_left_out(install, name):
    install("acme", GOOD.format(name="counter", module="acme_counter"), "acme_counter")
    manager = PluginManager(Controls.of([f"no:{name}"]))
    assert entry(manager, "acme:main").status == "blocked" and "acme_counter" not in sys.modules
    with pytest.raises(PluginError, match=r"acme:main 1\.0 is blocked"):
        manager.resolve("metric", "counter")


def test_the_allow_list_is_by_distribution_so_that_an_entry_point_name_cannot_be_spoofed(install, monkeypatch):
    install("acme", GOOD.format(name="counter", module="acme_counter"), "acme_counter", entry="other")
    monkeypatch.setenv("DRIVETRAIN_PLUGINS", "other")
    assert entry(PluginManager(Controls.of()), "acme:other").status == "blocked"
    monkeypatch.setenv("DRIVETRAIN_PLUGINS", "acme")
    manager = PluginManager(Controls.of())
    assert entry(manager, "acme:other").status == "loaded"
    assert manager.resolve("metric", "miou").distribution == "drivetrain"


def test_a_plugin_file(tmp_path):
    path = tmp_path / "acme_file.py"
    path.write_text(GOOD.format(name="counter", module="acme_file"))
    found = PluginManager(Controls.of(files=[str(path)])).resolve("metric", "counter")
    assert found.full_name == "acme_file:counter" and found.load_factory()(None, None) == "made"
    with pytest.raises(PluginError, match="no such file"):
        PluginManager(Controls.of(files=[str(tmp_path / "none.py")]))


def test_a_plugin_file_in_the_working_directory_and_a_second_manager(tmp_path, monkeypatch):
    (tmp_path / "acme_here.py").write_text(GOOD.format(name="counter", module="acme_here"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # as in `python -m drivetrain`
    for controls in (Controls.of(files=["acme_here.py"]), Controls.of(["no:wandb"], files=["acme_here.py"])):
        assert PluginManager(controls).resolve("metric", "counter").load_factory()(None, None) == "made"
    del sys.modules["acme_here"]


@pytest.mark.parametrize(("place", "told"), [("nogroup thing", "no group 'nogroup'"), ("train", "drivetrain's own")])
def test_a_plugins_command_in_a_wrong_place_does_no_harm(tmp_path, place, told):
    path = tmp_path / "acme_command.py"
    path.write_text(
        "from drivetrain import CommandPlugin, hookimpl\n@hookimpl\ndef drivetrain_commands():\n"
        f"    return [CommandPlugin(name={place!r}, about='x', factory='acme_command:run')]\ndef run(): pass\n"
    )
    command = [sys.executable, "-m", "drivetrain", "plugins", "list", "metric", "--plugin", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "miou" in done.stdout and told in done.stderr


def test_a_file_cannot_take_an_installed_modules_name(tmp_path):
    path = tmp_path / "json.py"
    path.write_text(GOOD.format(name="counter", module="json"))
    manager = PluginManager(Controls.of(files=[str(path)]))
    assert "installed already" in entry(manager, "json:json.py").error


def test_life_cycle_errors_are_told_never_raised(install):
    code = "from drivetrain import hookimpl\n@hookimpl\ndef drivetrain_run_started(run): raise ValueError(f'saw {run}')"
    install("acme", code, "acme_hook")
    assert PluginManager().notify("run_started", run="R") == ["plugin acme:main: run_started: ValueError: saw R"]


def test_the_digest_tells_sets_of_plugins_apart(install):
    before = PluginManager().digest()
    install("acme", GOOD.format(name="counter", module="acme_counter"), "acme_counter", "2.1")
    assert {k: v for k, v in PluginManager().digest().items() if k not in before} == {"acme:main": "2.1"}


def test_a_target_that_is_not_there_is_a_plugins_error(install):
    install("acme", GOOD.format(name="counter", module="acme_counter").replace("def make", "def other"), "acme_counter")
    with pytest.raises(PluginError, match=r"metric 'acme:counter' 1.0 does not load: acme_counter:make"):
        PluginManager().resolve("metric", "counter").load_factory()


@pytest.mark.parametrize("arguments", [["plugins", "list"], ["--help"], ["plugins", "list", "metric", "--json"]])
def test_commands_that_look_import_nothing_heavy(arguments):
    code = (
        "import sys; from drivetrain.__main__ import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'deepspeed', 'wandb', 'cv2', 'pyarrow'} & set(sys.modules); assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
