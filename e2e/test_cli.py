"""What a person types, and what comes back: words, JSON, exit codes."""

import http.client
import json
import subprocess

import pytest

from harness import ROOT, build_dir, file_dataset, random_bytes, s3_dataset


@pytest.fixture
def up(origin, instance):
    origin.put("dir/a.bin", random_bytes(300000, 1))
    origin.put("dir/b.bin", random_bytes(5000, 2))
    origin.put("top.txt", b"hello\n")
    return instance.start(s3_dataset(origin.endpoint))


def test_ls_shows_children_globs_and_the_whole_tree(up):
    assert up.cli("ls", "data", check=0).stdout.split() == ["dir/", "top.txt"]
    assert up.cli("ls", "data:/dir", check=0).stdout.split() == ["a.bin", "b.bin"]
    assert up.cli("ls", "data:/**/*.bin", check=0).stdout.split() == ["dir/a.bin", "dir/b.bin"]
    entries = up.json("ls", "-R", "default/data")
    assert [e["path"] for e in entries] == ["dir", "dir/a.bin", "dir/b.bin", "top.txt"]
    assert entries[1]["size"] == 300000


def test_stat_tells_key_validator_and_what_is_held(up):
    before = up.json("stat", "data:/dir/a.bin")
    assert (before["key"], before["validator_kind"], before["cache_state"]) == ("dir/a.bin", "strong", "absent")
    up.cli("load", "data:/dir/a.bin", check=0)
    after = up.json("stat", "data:/dir/a.bin")
    assert (after["cache_state"], after["cached_bytes"]) == ("complete", 300000)
    assert after["inode"] == (up.mount / "dir/a.bin").stat().st_ino


def test_cat_gives_the_bytes(up, folder):
    with open(folder / "out", "wb") as out:
        subprocess.run([build_dir() / "bin/larder", "cat", "data:/dir/a.bin", "--instance", up.name], stdout=out, check=True,
                       timeout=60)
    assert (folder / "out").read_bytes() == random_bytes(300000, 1)


def test_load_and_evict_say_what_they_did(up):
    up.cli("load", "data", check=0)
    status = up.json("status")
    assert status["datasets"][0]["cached_bytes"] >= 305006
    assert status["datasets"][0]["source_bytes"] == 305006
    up.cli("evict", "data:/dir/*", check=0)
    assert up.json("stat", "data:/dir/a.bin")["cache_state"] == "absent"
    assert up.json("stat", "data:/top.txt")["cache_state"] == "complete"


def test_a_load_that_fails_in_part_is_exit_3_with_status_and_key(up, origin):
    origin.fault(match="dir/b.bin", status=403, code="AccessDenied")
    done = up.cli("load", "data", check=3)
    text = done.stdout + done.stderr
    assert "403" in text and "AccessDenied" in text and "dir/b.bin" in text
    progress = up.cli("load", "data", "--output", "json", check=3).stdout.strip().splitlines()[-1]
    assert json.loads(progress)["objects_failed"] == 1


@pytest.mark.parametrize("args, code, phrase", [
    (["ls", "nothing"], 1, "there is no dataset default/nothing on this node"),
    (["ls", "data:/none"], 1, 'there is no "none" in default/data'),
    (["cat", "data:/dir"], 1, '"dir" is not a file'),
    (["load", "data:/*.none"], 1, "no file of default/data matches"),
    (["stat", "Data:/x"], 2, "Data"),
])
def test_what_is_not_there_is_told_in_one_sentence(up, args, code, phrase):
    done = up.cli(*args, check=code)
    assert phrase in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_fields_not_acted_on_are_named_at_up_and_in_status(folder, instance):
    (folder / "src").mkdir()
    (folder / "src/a").write_bytes(b"a")
    instance.start(file_dataset(folder / "src", extra="  cache: {placement: Local, quota: 5Gi, replicas: 2}\n"))
    assert "spec.cache.placement is not acted on yet" in instance.output()
    assert instance.json("status")["datasets"][0]["unacted"] == ["spec.cache.placement", "spec.cache.replicas"]


def test_several_datasets_are_mounted_by_name(folder, instance):
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "who").write_text(name)
    yaml = file_dataset(folder / "one", name="one") + "---\n" + file_dataset(folder / "two", name="two")
    instance.start(yaml)
    assert (instance.mount / "one/who").read_text() == "one"
    assert (instance.mount / "two/who").read_text() == "two"


def test_a_source_inside_another_covers_it(folder, instance, origin):
    origin.put("labels/old", b"covered")
    origin.put("data/x", b"x")
    (folder / "labels").mkdir()
    (folder / "labels/new").write_bytes(b"on top")
    yaml = s3_dataset(origin.endpoint) + f"    - {{mountPath: /labels, file: {{path: {folder}/labels}}}}\n"
    instance.start(yaml)
    assert (instance.mount / "labels/new").read_bytes() == b"on top"
    assert (instance.mount / "data/x").read_bytes() == b"x"


def test_doctor_and_version_answer_without_an_instance():
    program = build_dir() / "bin/larder"
    findings = json.loads(subprocess.run([program, "doctor", "--output", "json"], capture_output=True, check=True,
                                         timeout=60).stdout)
    assert {f["finding"] for f in findings} <= {"ok", "limited", "missing"}
    assert all(f["cost"] for f in findings if f["finding"] != "ok")
    assert subprocess.run([program, "version"], capture_output=True, check=True, timeout=60).stdout.startswith(b"larder ")


def test_metrics_follow_the_fields_rules(up):
    connection = http.client.HTTPConnection("127.0.0.1", up.metrics_port, timeout=10)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"ok\n")
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    kinds = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            kinds[name] = kind
    assert kinds["larder_read_duration_seconds"] == kinds["larder_fill_duration_seconds"] == "histogram"
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total"), name
        assert not any(unit in name for unit in ("_ms", "_kb", "_mib")), name


def complete(folder, *words):
    """What bash offers for the last word of a command line."""
    script = f"""source {ROOT}/cli/completion.bash
COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; _larder; printf '%s\\n' "${{COMPREPLY[@]}}" """
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30, cwd=folder).stdout.split()


def test_bash_completes_what_the_program_has(up):
    larder = str(build_dir() / "bin/larder")
    assert sorted(complete(up.folder, larder, "ver")) == ["version", "versions"]
    assert complete(up.folder, larder, "sync", "--o") == ["--output"]
    assert up.name in complete(up.folder, larder, "status", "--instance", "e2e-")


def test_the_manual_page_and_the_help_name_every_command(up):
    larder = build_dir() / "bin/larder"
    text = subprocess.run([larder, "--help"], capture_output=True, text=True, check=True).stdout
    commands = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    page = (ROOT / "docs/man/larder.1").read_text()
    for command in commands:
        assert f".B {command}\n" in page or f".BI {command} " in page or f".BR {command} " in page or \
            f'.BI "{command} ' in page, command
