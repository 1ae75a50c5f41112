# SPDX-License-Identifier: MIT
"""Contract 3 on real file systems: the event log on a full disk and on a read-only one, in a mount namespace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.harness import Tree, environment, program, result, run

EXPECTED = (3, b"Error 7 connecting\n", b"word\n")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    run(tree.wrapped(["/bin/true"]), environment("SUBMIT"))  # compiles the modules outside the small file system
    tree.log.unlink()
    return tree


def on(tree: Tree, tmp_path: Path, mount: str, command: list[str]) -> list[str]:
    """`command` where `mount` (shell, $log is the log's directory) has been done in a private mount namespace."""
    script = program(
        tmp_path / "mounted",
        f"log={tree.log.parent}\nset -e\n{mount}\n"
        'cd /\nset +e\n"$@"\ncode=$?\n'
        f"cp $log/events.jsonl {tmp_path}/seen 2>/dev/null\nexit $code",
    )
    return ["unshare", "-m", "--propagation", "private", str(script), *command]


@pytest.mark.parametrize("operation", ["SUBMIT", "IDENTIFY"])
@pytest.mark.parametrize(
    "mount",
    [
        pytest.param("mount -t tmpfs -o size=4k,mode=700 none $log; head -c 4096 /dev/zero >$log/filler", id="full"),
        pytest.param("mount -t tmpfs -o size=4k,mode=700 none $log; touch $log/events.jsonl; "
                     "chmod 600 $log/events.jsonl; head -c 4096 /dev/zero >$log/filler || :", id="full, log exists"),
        pytest.param("mount -t tmpfs -o ro,mode=700 none $log", id="read-only"),
    ],
)  # fmt: skip
def test_nothing_can_be_written(tree: Tree, tmp_path: Path, mount: str, operation: str) -> None:
    """The helper's result is the bare one's, and the log has no torn line."""
    child = program(tmp_path / "child", 'echo word >&2; echo "Error 7 connecting"; exit 3')
    process = run(on(tree, tmp_path, mount, tree.wrapped([child])), environment(operation))
    assert result(process) == EXPECTED
    seen = tmp_path / "seen"
    assert not seen.exists() or seen.read_bytes() == b""


def test_the_disk_fills_up_and_is_freed(tree: Tree, tmp_path: Path) -> None:
    """What did not fit is lost, what comes after there is room again is whole."""
    child = program(tmp_path / "child", 'echo word >&2; echo "Error 7 connecting"; exit 3')
    wrapped = " ".join(tree.wrapped([child]))
    several = program(tmp_path / "several", f"for n in 1 2 3 4; do {wrapped}; done\nrm $log/filler\n{wrapped}")
    mount = "mount -t tmpfs -o size=16k,mode=700 none $log; export log; head -c 12288 /dev/zero >$log/filler"
    run(on(tree, tmp_path, mount, [str(several)]), environment("SUBMIT"))
    lines = (tmp_path / "seen").read_bytes().split(b"\n")
    assert lines[-1] == b""
    assert lines[-2].startswith(b'{"timestamp":')
    assert lines[-2].endswith(b"}")
