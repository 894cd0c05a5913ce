"""Roots: placed and replicated shards, bad copies, stalls, errors, over real HTTP and S3 servers."""

import gc
import os
import shutil
import subprocess
import sys
import time
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest

from drivetrain import DataError
from drivetrain.plugins.loaders.webdataset.reader import ShardSet
from drivetrain.plugins.loaders.webdataset.shards import Damage, Table
from drivetrain.plugins.loaders.webdataset.storage.config import StorageConfig
from drivetrain.plugins.loaders.webdataset.storage.roots import Roots, StorageError, without_secrets
from drivetrain.plugins.loaders.webdataset.storage.stores import LocalStore

sys.path.append(str(Path(__file__).parent))
from loader_serving import serving
from loader_toy import Toy, convert


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("storage") / "set"
    return folder, convert(Toy(12), folder)


def keys(shards):
    return [shards.frame(i).key for i in range(len(shards))]


def quick(**more):
    return StorageConfig(**{"timeout_s": 1, "retry_s": 3, **more})


def test_shards_placed_over_folders_read_as_one_set(made, tmp_path):
    folder, whole = made
    roots = [tmp_path / "a", tmp_path / "b"]
    for i, root in enumerate(roots):
        shutil.copytree(folder, root)
        for path in root.glob("shard-*"):
            if int(path.stem[-1]) % 2 != i:
                path.unlink()
    (roots[0] / "dataset.json").unlink()
    assert keys(ShardSet([str(root) for root in roots])) == keys(whole)


@pytest.mark.filterwarnings("ignore:.*gave bad bytes")
def test_a_bad_copy_is_read_elsewhere_and_bad_everywhere_is_damage(made, tmp_path):
    folder, whole = made
    roots = [tmp_path / "a", tmp_path / "b"]
    [sample] = Table.read(folder / "shard-000000.idx").pieces(0)
    for root in roots:
        shutil.copytree(folder, root)
    for i, root in enumerate(roots):
        data = bytearray((root / "shard-000000.tar").read_bytes())
        data[sample.offset + 600] ^= 1
        (root / "shard-000000.tar").write_bytes(data)
        (root / f"shard-00000{1 + i}.idx").write_bytes(b"nonsense")
        shards = ShardSet([str(root) for root in roots])
        if i == 0:
            assert keys(shards) == keys(whole)
    with pytest.raises(Damage, match=r"on .*(a.*b|b.*a)"):
        shards.read(0, 0)


def test_a_file_that_other_threads_let_go_of_is_read_to_the_end(tmp_path, monkeypatch):
    """Else its descriptor is closed, or by then another file's, whose bytes would be taken for bad ones of this one."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    store, fstat, others = LocalStore(tmp_path), os.fstat, []

    def meanwhile(fd):
        about = fstat(fd)
        store._open.clear()  # as where two threads open a file at once, and where 256 others were read
        others.append(open(tmp_path / "b"))  # noqa: SIM115
        return about

    monkeypatch.setattr(os, "fstat", meanwhile)
    assert store.read("a", 0, 1) == b"a"
    others.pop().close()


def test_http_is_read_and_counted(made):
    folder, whole = made
    with serving(folder) as address:
        shards = ShardSet(address, quick())
        assert keys(shards) == keys(whole)
        assert shards.roots.roots[0].counters["bytes"] > (folder / "shard-000000.tar").stat().st_size
        shards.roots.close()


@pytest.mark.parametrize("remote", [False, True])
def test_a_file_that_is_not_there_leaves_no_callers_in_memory(made, remote):
    """Most sets have no list of what was withdrawn. An error that is kept holds its frames, and these whoever called."""

    def opens(address):
        local = set()
        ShardSet(address, quick()).withdrawn  # noqa: B018
        return weakref.ref(local)

    gc.disable()
    try:
        with serving(made[0]) as address:
            assert opens(address if remote else made[0])() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("mode", ["stall", "error"])
def test_a_root_that_misbehaves_for_a_while_costs_time_not_samples(made, mode):
    folder, whole = made
    with serving(folder, mode, times=2) as address:
        shards = ShardSet(address, quick(retry_s=20))
        assert keys(shards) == keys(whole)


def test_a_root_that_stalls_is_hedged_by_its_replica(made):
    folder, whole = made
    with serving(folder, "stall") as bad, serving(folder) as good:
        shards, began = ShardSet([bad, good], quick(timeout_s=15, retry_s=30)), time.monotonic()
        assert keys(shards) == keys(whole)
        assert time.monotonic() - began < 14, "nothing waited for a time-out"


def test_a_slow_replica_is_asked_less(made):
    folder, _ = made
    with serving(folder, "slow") as slow, serving(folder) as fast, ThreadPoolExecutor(8) as pool:
        roots, began = Roots([slow, fast], quick(hedge=False)), time.monotonic()
        for _ in pool.map(lambda i: roots.get(f"shard-00000{i % 3}.tar"), range(300)):
            pass
        by_slow, by_fast = (root.counters["requests"] for root in roots.roots)
        assert by_slow + by_fast >= 300 and 0 < by_slow < 60
        assert time.monotonic() - began < 300 / 2 * 0.2 / 8, "sooner than at half of them from each"
        roots.close()


def test_a_root_that_stays_down_stops_the_run_in_time(made):
    folder, _ = made
    with serving(folder, "error") as address:
        shards, began = ShardSet(address, quick(retry_s=1)), time.monotonic()
        with pytest.raises(StorageError, match=r"(?s)shard-000000.tar.*500") as caught:
            shards.read(0, 0)
        assert caught.value.code == 1, "a restart may find it mended"
        assert time.monotonic() - began < 5


def test_requests_that_wait_for_others_end_as_the_roots_are_closed(made):
    with serving(made[0], "stall") as address:
        roots, ended = Roots([address], quick(in_flight=1, hedge=False)), []

        def ask():
            try:
                roots.get("shard-000000.tar")
            except (RuntimeError, CancelledError) as error:
                ended.append(error)

        threads = [Thread(target=ask, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        while len(roots.roots[0]._in_flight) < 3:
            time.sleep(0.01)
        roots.close()
        for thread in threads:
            thread.join(5)
        assert len(ended) == 3


def test_no_set_at_an_address(tmp_path):
    with serving(tmp_path) as address, pytest.raises(DataError, match="no shard set"):
        ShardSet(address, quick())


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """moto's server as a process of its own, with an empty bucket."""
    boto3 = pytest.importorskip("boto3")
    port = 5600 + os.getpid() % 300
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL)
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], region_name="us-east-1")
    try:
        for attempt in range(100):
            try:
                client.create_bucket(Bucket="drives")
                break
            except Exception:
                assert server.poll() is None and attempt < 99
                time.sleep(0.1)
        yield client
    finally:
        server.kill()
        server.wait()


def test_s3_through_a_server(made, s3):
    folder, whole = made
    for path in folder.iterdir():
        s3.upload_file(str(path), "drives", f"toy/train/{path.name}")
    shards = ShardSet("s3://drives/toy/train", quick(timeout_s=10))
    assert keys(shards) == keys(whole)


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_http_through_nginx(made, tmp_path):
    folder, whole = made
    port, config = 5900 + os.getpid() % 90, tmp_path / "nginx.conf"
    user = "user root;" if os.getuid() == 0 else ""
    config.write_text(
        f"daemon off; {user} pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;"
        f" server {{ listen 127.0.0.1:{port}; root {folder}; }} }}"
    )
    server = subprocess.Popen(["nginx", "-e", str(tmp_path / "log"), "-c", str(config)])
    try:
        assert keys(ShardSet(f"http://127.0.0.1:{port}", quick(retry_s=20))) == keys(whole)
    finally:
        server.terminate()
        server.wait()


def test_no_secret_of_an_address_is_shown():
    assert without_secrets("https://me:pass@store.example/a?X-Signature=1") == "https://store.example/a"
    assert without_secrets("s3://bucket/set") == "s3://bucket/set" and without_secrets("/lustre/a@b/set") == "/lustre/a@b/set"


def test_where_reads_the_index_of_a_remote_set_and_commands_of_one_folder_say_so(made):
    folder, whole = made
    with serving(folder) as address:
        shards = ShardSet(address, quick())
        assert shards.index_names == whole.index_names and list(shards.rows(["key"]))
        for command in (lambda: shards.verify(False), lambda: shards.statistics(False), lambda: shards.withdraw(["x"])):
            with pytest.raises(DataError, match="works in one folder, this set is at http"):
                command()
