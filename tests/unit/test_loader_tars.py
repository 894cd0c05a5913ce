"""Plain WebDataset tars: read as they are, by an index of their own, in the order of a set of ours."""

import dataclasses
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from itertools import islice
from pathlib import Path

import pytest
import webdataset
from conftest import drivetrain

from drivetrain import Balance, DataError, RecipeError, open_shards
from drivetrain.looking import sheet_of_shards
from drivetrain.plugins.loaders.webdataset.tars import indexing
from drivetrain.plugins.loaders.webdataset.tars.naming import renamed, split_name

sys.path.append(str(Path(__file__).parent))
from loader_toy import Toy, convert, loader, spec

TOY = Toy(37)
SEGMENTATION = ("semantic_segmentation",)
CLASSES = {"classes": {"semantic_segmentation": ["road", {"name": "car", "id": 3}, {"name": "void", "id": 7, "ignore": True}]}}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DRIVETRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def walked(monkeypatch) -> list[str]:
    """The names of the tars that are read through."""
    seen, walk = [], indexing.walk
    monkeypatch.setattr(indexing, "walk", lambda path, *rest: (seen.append(path.name), walk(path, *rest))[1])
    return seen


def sample(number: int) -> dict:
    camera = TOY.load(number).cameras["cam_front"]
    about = {"scene": f"drive{number // 10}", "tags": {"time": ["day", "night"][number % 2]}, "timestamp": 100 + number}
    pictures = {"jpg": bytes(camera.image.data), "seg.png": bytes(camera.semantic.data)}
    return {"__key__": f"f{number:03d}", **pictures, "json": json.dumps(about).encode(), "cls": b"3"}


def write(folder: Path, numbers=range(37), a_tar: int = 4, classes: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(str(folder / "cam-%06d.tar"), maxcount=a_tar, verbose=0) as out:
        for number in numbers:
            out.write(sample(number))
    if classes:
        (folder / "classes.json").write_text(json.dumps(CLASSES))
    return folder


def stream(*folders: str | Path, world: int = 1, rank: int = 0, **config):
    data = spec(*folders, tasks=SEGMENTATION)
    return loader(**{"window": 2, **config}).training(
        data, batch_global=8, batch_micro=2, rank=rank, world=world, threads=2, pin=False
    )


def drawn(opened, count: int, step: int = 0) -> list[tuple]:
    try:
        batches = map(kept, islice(opened.batches(step), count))
        return [(b.step, b.slot, tuple(b.keys), tensor_bytes(b.camera.images), tensor_bytes(mask_of(b))) for b in batches]
    finally:
        opened.close()


def mask_of(batch):
    return batch.camera.targets["semantic_segmentation"]["mask"]


def tensor_bytes(tensor) -> bytes:
    return tensor.numpy().tobytes()


def kept(batch):
    copy = batch.keep()
    batch.release()
    return copy


# ---------------------------------------------------------------- as a set of ours


def test_an_epoch_has_each_sample_once_on_any_world_size_and_goes_on_anywhere(tmp_path):
    folder = write(tmp_path / "tars")
    whole = drawn(stream(folder), 4 * 37)
    keys = [key for _, _, keys, *_ in whole for key in keys]
    assert sorted(keys) == sorted(8 * [f"f{i:03d}" for i in range(37)])
    ranks = [batch for rank in (0, 1) for batch in drawn(stream(folder, world=2, rank=rank), 20)]
    assert sorted(ranks) == sorted(whole[:40])
    assert drawn(stream(folder), 10, step=5) == whole[20:30]
    assert drawn(stream(folder, workers=2), 8) == whole[:8], "worker processes"


def test_pixels_and_masks_are_those_of_the_same_frames_in_a_set_of_ours(tmp_path):
    convert(TOY, tmp_path / "set")
    ours, plain = open_shards(tmp_path / "set"), open_shards(write(tmp_path / "tars"))
    assert [plain.frame(i).key for i in range(37)] == [f"f{i:03d}" for i in range(37)] == plain.index.column("key").to_pylist()
    for number in (0, 17, 36):
        one, two = ours.frame(number).cameras["cam_front"], plain.frame(number).cameras["camera"]
        assert (one.image, one.semantic, one.width, one.height) == (two.image, two.semantic, two.width, two.height)
        assert two.boxes is None and two.timestamp == 100 + number
    assert plain.verify(full=True) == [] and plain.verify(full=True, workers=2) == []
    assert plain.statistics(True)["image_sizes"] == {"camera": {"64x48": 37}}
    rows = plain.index.to_pylist()
    assert rows[11]["scene"] == "drive1" and dict(rows[11]["tags"]) == {"time": "night"} and rows[11]["timestamp"] == 111
    assert rows[11]["labelled"] == ["semantic_segmentation"] and rows[11]["shard"] == "cam-000002" and rows[11]["number"] == 11


def test_our_own_tars_named_in_braces_keep_all_that_their_json_says(tmp_path):
    ours = convert(TOY, tmp_path / "set")
    plain = open_shards(f"{tmp_path}/set/shard-{{000000..000009}}.tar")
    assert plain.plain and plain.classes["object_detection"][0].name == "car"
    for number in (0, 36):
        one, two = ours.frame(number), plain.frame(number)
        assert (one.key, one.scene, one.tags) == (two.key, two.scene, two.tags)
        assert one.cameras["cam_front"].boxes.names == two.cameras["cam_front"].boxes.names
    rows = [row | {"class_counts": None} for row in ours.index.to_pylist()]
    assert [row | {"class_counts": None} for row in plain.index.to_pylist()] == rows


def test_where_asks_the_index_and_masks_are_not_counted(tmp_path):
    data = spec(write(tmp_path / "tars"), tasks=SEGMENTATION)

    def chosen(**asked):
        return dataclasses.replace(data, sources=(dataclasses.replace(data.sources[0], **asked),))

    found = chosen(select="scene == 'drive1' and tags.time == 'day' or key == 'f003'")
    opened = loader().evaluation(found, batch_micro=4, rank=0, world=1, threads=1, pin=False)
    assert [key for batch in opened for key in kept(batch).keys] == ["f003", "f010", "f012", "f014", "f016", "f018"]
    opened.close()
    for asked in ({"select": "counts.semantic_segmentation.car > 0"}, {"balance": Balance("repeat_factor", 0.1)}):
        with pytest.raises(RecipeError, match=r"has no counts|cannot be balanced"):
            loader().training(chosen(**asked), batch_global=4, batch_micro=2, rank=0, world=1, threads=1, pin=False)


# ---------------------------------------------------------------- the index


def test_the_index_is_made_once_and_nothing_is_written_beside_the_tars(tmp_path, walked, capfd):
    folder = write(tmp_path / "tars")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    folder.chmod(0o555)
    first = open_shards(folder)
    assert sorted(walked) == [f"cam-{i:06d}.tar" for i in range(10)]
    said = capfd.readouterr().err
    assert "37 samples in 10 tars, of camera" in said and "37 files .cls, which nothing here reads" in said
    assert "37 of them have no labels of object_detection, drivable_area" in said and "not labelled, not as empty" in said
    assert open_shards(folder).info == first.info and len(walked) == 10 and capfd.readouterr().err == ""
    folder.chmod(0o755)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not list((tmp_path / "cache" / "plain" / "sets").glob(".tmp-*"))


def test_a_changed_tar_is_read_again_alone_and_a_resume_is_refused(tmp_path, walked):
    folder = write(tmp_path / "tars")
    before = stream(folder)
    state = before.state(3)
    before.close()
    same = stream(folder)
    assert len(walked) == 10 and same.resume(state) == []
    same.close()
    write(tmp_path / "other", range(50, 54))
    os.replace(tmp_path / "other/cam-000000.tar", folder / "cam-000004.tar")
    changed = stream(folder)
    assert walked[10:] == ["cam-000004.tar"]
    [said] = changed.resume(state)
    assert "order_id" in said
    changed.close()
    write(tmp_path / "more", range(40, 44))
    (tmp_path / "more/cam-000000.tar").rename(folder / "cam-000010.tar")
    grown = stream(folder)
    assert walked[11:] == ["cam-000010.tar"] and changed.order_id != grown.order_id
    grown.close()


def test_tars_that_are_added_at_the_end_let_a_run_go_on(tmp_path):
    folder = write(tmp_path / "tars")
    whole = drawn(stream(folder), 12)
    state = stream(folder).state(2)
    write(tmp_path / "more", range(40, 44))
    (tmp_path / "more/cam-000000.tar").rename(folder / "cam-000010.tar")
    grown = stream(folder)
    assert grown.resume(state) == []
    assert drawn(grown, 4, step=2) == whole[8:12], "the epoch under way stays as it was"


def test_two_processes_at_first_sight_make_one_index(tmp_path):
    folder = write(tmp_path / "tars", a_tar=1)
    code = f"from drivetrain import open_shards; s = open_shards({str(folder)!r}); print(s.info['order_id'], len(s))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", code], **pipes) for _ in range(3)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert len({out for out, _ in answers}) == 1 and answers[0][0].endswith(" 37\n"), answers
    assert sum("37 samples in 37 tars" in err for _, err in answers) == 1


def test_a_tar_that_is_written_to_while_it_is_read_is_not_indexed(tmp_path, monkeypatch):
    folder, walk = write(tmp_path / "tars", range(8)), indexing.walk

    def meanwhile(path, *rest):
        found = walk(path, *rest)
        if path.name == "cam-000001.tar":
            os.utime(path)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(indexing, "walk", meanwhile)
        with pytest.raises(DataError, match=r"cam-000001.tar: it was written to while it was read"):
            open_shards(folder)
    assert len(open_shards(folder)) == 8


def test_a_killed_indexer_leaves_what_it_had_and_no_lock(tmp_path, walked, monkeypatch):
    folder, walk = write(tmp_path / "tars"), indexing.walk

    def stops(path, *rest):
        if path.name == "cam-000007.tar":
            raise KeyboardInterrupt
        return walk(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(indexing, "walk", stops)
        with pytest.raises(KeyboardInterrupt):
            open_shards(folder)
    done = len(walked)
    assert len(open_shards(folder)) == 37 and "cam-000007.tar" in walked[done:] and len(walked) <= 13


# ---------------------------------------------------------------- roots, patterns, classes


def test_several_roots_and_patterns(tmp_path):
    write(tmp_path / "tars")
    for side, numbers in (("a", range(6)), ("b", range(4, 10))):
        (tmp_path / side).mkdir()
        for number in numbers:
            shutil.copy2(tmp_path / f"tars/cam-{number:06d}.tar", tmp_path / side)
    (tmp_path / "about").mkdir()
    (tmp_path / "about/classes.json").write_text(json.dumps(CLASSES))
    roots = (f"{tmp_path}/a/cam-{{000000..000005}}.tar", str(tmp_path / "b"), str(tmp_path / "about"))
    spread = loader().open(roots)
    assert len(spread) == 37 and "semantic_segmentation" in spread.classes and spread.verify(full=True) == []
    assert spread.info["order_id"] == open_shards(tmp_path / "tars").info["order_id"]
    assert open_shards(f"{tmp_path}/{{a/cam-000000,b/cam-000009}}.tar").name(1) == "b%2Fcam-000009"
    with pytest.raises(DataError, match=r"2 of them are not there, such as .*cam-000006.tar"):
        open_shards(f"{tmp_path}/a/cam-{{000004..000007}}.tar")
    with pytest.raises(DataError, match=r"two samples have the key 'f016'"):
        open_shards(f"{tmp_path}/{{a,b}}/cam-000004.tar")


def test_odd_names_of_tars_keys_and_cameras(tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    with webdataset.TarWriter(str(folder / "drive 7 (ä).v2.tar")) as out:
        for number in range(3):
            picture = sample(number)["jpg"]
            key = f"dir.x/{'long' * 40}/{number:03d}"
            mask = sample(number)["seg.png"]
            out.write({"__key__": key, "Cam-Front.JPEG": picture, "cam_back.jpg": picture, "cam_back.semantic.png": mask})
    opened = open_shards(folder)
    assert list(opened.info["cameras"]) == ["cam_back", "cam_front"] and opened.name(0) == "drive%207%20%28%C3%A4%29.v2"
    frame = opened.frame(2)
    assert frame.key == f"dir.x/{'long' * 40}/002"
    assert frame.cameras["cam_front"].semantic is None and frame.cameras["cam_back"].semantic is not None


def test_names_as_webdataset_splits_them():
    assert split_name("./a.b/c.cam.JPG") == ("a.b/c", "cam.jpg")
    assert [split_name(name) for name in ("README", ".hidden.jpg", "a/.DS_Store", "__MACOSX__/a.jpg", "a.")] == [None] * 5
    assert list(renamed(["png", "semantic.png", "txt"]).values()) == ["camera.png", "camera.semantic.png", "-.txt"]
    assert renamed(["left.jpg", "seg.png"])["seg.png"] == "left.semantic.png"
    assert renamed(["left.jpg", "right.jpg", "seg.png"])["seg.png"] == "-.seg.png", "whose it is cannot be told"
    for both in (["jpg", "png"], ["jpg", "jpeg"], ["cam-a.jpg", "cam.a.jpg"], ["jpg", "seg.png", "semantic.png"]):
        with pytest.raises(ValueError, match=r"one picture by their names"):
            renamed(both)


def test_masks_without_a_list_of_classes_are_refused_and_pictures_alone_are_not_labelled(tmp_path):
    with pytest.raises(RecipeError, match=r"classes.json"):
        stream(write(tmp_path / "masks", range(8), classes=False))
    plain = tmp_path / "pictures"
    plain.mkdir()
    with webdataset.TarWriter(str(plain / "a.tar")) as out:
        for number in range(8):
            out.write({"__key__": str(number), "jpg": sample(number)["jpg"]})
    with pytest.raises(RecipeError, match=r"no source has labels of semantic_segmentation"):
        stream(plain)
    mixed = stream(write(tmp_path / "labelled", range(8)), plain)
    labelled = {key: bool(flag) for b in map(kept, islice(mixed.batches(0), 8))
                for key, flag in zip(b.keys, b.camera.labelled[SEGMENTATION[0]])}  # fmt: skip
    mixed.close()
    assert len(labelled) == 16 and all(flag == key.startswith("f") for key, flag in labelled.items())
    (tmp_path / "masks/classes.json").write_text('{"classes": {"semantic_segmentaton": []}}')
    with pytest.raises(DataError, match=r"no task 'semantic_segmentaton'"):
        open_shards(tmp_path / "masks")


# ---------------------------------------------------------------- what is wrong is named


def tar_of(path: Path, members: list[tuple], format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as out:
        for name, content, *changes in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in changes:
                setattr(info, field, value)
            out.addfile(info, io.BytesIO(content))
    return path


JPG = bytes(TOY.load(0).cameras["cam_front"].image.data)
BAD = {
    "twice": ([("a.jpg", JPG), ("b.jpg", JPG), ("a.txt", b"1")], "files of sample 'a' do not follow each other"),
    "again": ([("a.jpg", JPG), ("a.jpg", JPG)], "sample 'a' has a file twice"),
    "link": ([("a.jpg", JPG), ("b.jpg", b"", ("type", tarfile.SYMTYPE), ("linkname", "a.jpg"))], "is a link to 'a.jpg'"),
    "both": ([("a.jpg", JPG), ("a.png", JPG)], "sample 'a': .jpg and .png are one picture"),
    "device": ([("a.jpg", b"", ("type", tarfile.CHRTYPE))], "no regular file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_tar_that_cannot_be_used_is_named(tmp_path, name):
    folder = write(tmp_path / "tars", range(8))
    members, said = BAD[name]
    bad = tar_of(folder / f"bad-{name}.tar", members)
    with pytest.raises(DataError) as caught:
        open_shards(folder)
    assert "1 of 3 tars cannot be used" in str(caught.value) and str(bad) in str(caught.value) and said in str(caught.value)


def test_cut_damaged_packed_and_empty_tars(tmp_path, walked):
    folder = write(tmp_path / "tars", range(16))
    whole = (folder / "cam-000001.tar").read_bytes()
    at = whole.index(b"f005.jpg")
    for data, said in (
        (whole[: len(whole) // 2 - 300], "no whole tar|no header of a file"),
        (whole[:at] + b"\xff" + whole[at + 1 :], r"(invalid header|bad checksum), after byte \d+"),
        (whole + whole, "two tars are one after the other"),
        (b"\x1f\x8b\x08" + whole, "compressed .gzip."),
        (b"", "empty file"),
    ):
        (folder / "cam-000001.tar").write_bytes(data)
        with pytest.raises(DataError, match=f"(?s)cam-000001.tar: .*({said})"):
            open_shards(folder)
    assert walked.count("cam-000000.tar") == 1, "whole tars are not read again"
    (folder / "cam-000001.tar").write_bytes(whole)
    (folder / "more.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"more.tar.gz is compressed"):
        open_shards(folder)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_a_sample_split_over_two_tars(tmp_path, format):
    long = "x" * 300
    tar_of(tmp_path / "a/0.tar", [("dir", b"", ("type", tarfile.DIRTYPE)), (f"{long}.jpg", JPG), ("b.jpg", JPG)], format)
    opened = open_shards(tmp_path / "a")
    assert opened.index.column("key").to_pylist() == [long, "b"] and opened.verify(full=True) == []
    tar_of(tmp_path / "a/1.tar", [("b.json", b"{}"), ("c.jpg", JPG)], format)
    with pytest.raises(DataError, match=r"sample 'b' is at the end of .*0.tar and at the beginning of .*1.tar"):
        open_shards(tmp_path / "a")


def test_what_is_left_of_a_set_of_ours_is_no_plain_tars(tmp_path):
    convert(Toy(6), tmp_path / "set")
    (tmp_path / "set/dataset.json").unlink()
    with pytest.raises(DataError, match=r"has no dataset.json, but index.parquet and 3 more of a shard set"):
        open_shards(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"there is no shard set at"):
        open_shards(tmp_path / "empty")
    tar_of(tmp_path / "text/0.tar", [("a.txt", b"1")])
    with pytest.raises(DataError, match=r"none of 1 tars holds a sample with a picture"):
        open_shards(tmp_path / "text")
    with pytest.raises(DataError, match=r"indexed in folders only"):
        open_shards("s3://bucket/cam-{0..3}.tar")


def test_the_files_that_energon_leaves_beside_tars_are_no_remains_of_ours(tmp_path):
    folder = write(tmp_path / "tars")
    for tar in list(folder.glob("*.tar")):
        tar.with_name(tar.name + ".idx").write_bytes(b"")
    (folder / ".nv-meta").mkdir()
    assert len(open_shards(folder)) == 37


def test_damage_after_the_index_was_made_is_replaced_and_a_broken_picture_counts_as_damaged(tmp_path, capfd):
    folder = write(tmp_path / "tars")
    with webdataset.TarWriter(str(folder / "zz.tar")) as out:
        out.write({"__key__": "broken", "jpg": b"no picture"})
    opened = open_shards(folder)
    assert "1 pictures that cannot be read, and count as damaged" in capfd.readouterr().err
    with pytest.raises(DataError, match=r"'broken'. is damaged"):
        opened.frame(37)
    assert len(opened.verify(full=True)) == 1
    about = (folder / "cam-000003.tar").stat()
    data = bytearray((folder / "cam-000003.tar").read_bytes())
    data[data.index(b"\xff\xd8\xff") + 40] ^= 0xFF
    (folder / "cam-000003.tar").write_bytes(data)
    os.utime(folder / "cam-000003.tar", ns=(about.st_atime_ns, about.st_mtime_ns))
    damaged = stream(folder, max_damaged_share=0.2)
    keys = [key for _, _, keys, *_ in drawn(damaged, 76) for key in keys]
    assert "f012" not in keys and "broken" not in keys and len(keys) == 4 * 38
    assert damaged.counters()["replaced"] >= 4 * 2
    with pytest.raises(DataError, match=r"left as they are"):
        opened.withdraw(["f001"])


def test_any_json_is_taken_for_what_it_has(tmp_path):
    deep = b"[" * 100_000
    own = {"key": "k", "scene": "s", "tags": {}, "cameras": {"camera": {"width": 64, "height": 48, "model": "pinhole"}}}
    texts = [b"", b"3", b"[]", deep, b"\xff", b'{"scene": "\\ud800", "tags": {"a": [1], "b": 2, "\\udfff": null}}', b"{}"]
    texts += [json.dumps({"scene": 7, "tags": 5, "timestamp": value}).encode() for value in (1 << 70, "now", True, 1.5)]
    odd = [{"key": 5}, {"tags": []}, {"tags": {"a": 1}}, {"key": "\ud800"}, {"cameras": {"camera": 3}}, {"lidars": {"l": {}}}]
    texts += [json.dumps(own | change).encode() for change in odd]
    members = [(f"{i:02d}.{end}", data) for i, text in enumerate(texts) for end, data in (("jpg", JPG), ("json", text))]
    tar_of(tmp_path / "a/0.tar", [*members, ("zz.json", json.dumps(own).encode()), ("zz.camera.jpg", JPG)])
    opened = open_shards(tmp_path / "a")
    assert [opened.frame(i).key for i in range(len(opened))] == [*[f"{i:02d}" for i in range(len(texts))], "k"]
    assert opened.verify(full=True) == []
    tar_of(tmp_path / "b/0.tar", [("\udcff.jpg", JPG)])
    with pytest.raises(DataError, match=r"is no UTF-8"):
        open_shards(tmp_path / "b")


def test_random_damage_gives_an_answer(tmp_path):
    folder = write(tmp_path / "tars", range(4))
    whole, rng = (folder / "cam-000000.tar").read_bytes(), random.Random(1)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 20])):
            place = rng.randrange(len(data))
            header = place // 512 * 512 + rng.randrange(160)
            data[rng.choice([place, header]) % len(data)] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        (folder / "cam-000000.tar").write_bytes(data)
        try:
            opened = open_shards(folder)
            [opened.frame(i) for i in range(len(opened))]
        except DataError as error:
            assert str(error)


def test_the_command_line_and_a_recipe_take_them(tmp_path):
    folder = write(tmp_path / "tars", range(12))
    done = drivetrain("data", "stats", folder, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["labelled_frames"] == {"semantic_segmentation": 12}, done.stderr
    sheet_of_shards(open_shards(f"{folder}/cam-00000{{0..1}}.tar"), 4, 2, tmp_path / "view.png")
    assert (tmp_path / "view.png").stat().st_size > 1000
    (folder / "cam-000001.tar").write_bytes(b"")
    done = drivetrain("data", "verify", folder)
    assert done.returncode == 2 and f"{folder / 'cam-000001.tar'}: it is no whole tar" in done.stderr
    assert "Traceback" not in done.stderr
