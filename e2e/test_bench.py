"""The benchmarks' arithmetic: rounds that drift are repeated, medians are of ratios, verdicts follow must and goal."""

import itertools
import os
import pathlib
import random
import re
import socket
import sys
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))

import machine  # noqa: E402 # pylint: disable=wrong-import-position
import rounds  # noqa: E402 # pylint: disable=wrong-import-position
import s3  # noqa: E402 # pylint: disable=wrong-import-position
import trees  # noqa: E402 # pylint: disable=wrong-import-position


def passes(*rates):
    """A pass that answers these rates one after the other."""
    left = list(rates)
    return lambda: left.pop(0)


def test_a_round_whose_limit_drifts_is_repeated():
    done = rounds.run_round(passes(100, 200, 100, 110), passes(1, 90))
    assert (done.tries, done.steady, done.first, done.second, done.ours) == (2, True, 100, 110, 90)
    assert done.ratio == pytest.approx(90 / 105)


def test_a_limit_that_never_holds_still_ends_after_three_tries_and_says_so():
    done = rounds.run(2, passes(*[100, 200] * 3, 100, 100), passes(1, 2, 3, 50))
    assert [r.tries for r in done] == [3, 1]
    figure = rounds.Figure.of_rounds(done, "MB/s", 1)
    assert any("to the end" in note for note in figure.notes)
    assert rounds.verdict(figure, 0.1, 0.2, True) == "goal"  # one of two rounds held still
    unsteady = rounds.Figure.of_rounds(rounds.run(1, passes(*[100, 200] * 3), passes(1, 2, 3)), "MB/s", 1)
    assert rounds.verdict(unsteady, 0, 0, True) == "unsteady"


@pytest.mark.parametrize("value, more, expected", [(0.97, True, "goal"), (0.8, True, "must"), (0.79, True, "missed"),
                                                   (16, False, "goal"), (32, False, "must"), (33, False, "missed")])
def test_a_verdict_follows_must_and_goal(value, more, expected):
    must, goal = (0.8, 0.97) if more else (32, 16)
    assert rounds.verdict(rounds.Figure([value]), must, goal, more) == expected


def test_a_row_of_which_nothing_is_asked_only_shows_its_figure():
    assert rounds.verdict(rounds.Figure([1e9]), None, None, False) == "shown"


@pytest.mark.parametrize("tree, sample", [(trees.imagenet, r"n\d{8}/n\d{8}_\d+\.JPEG"),
                                          (trees.lake, r"year=\d+/month=\d+/day=\d+/part-\d{5}-[0-9a-f-]{36}-c000\.snappy\.parquet"),
                                          (trees.hub, r"models--[\w-]+/(refs|snapshots|blobs)/[\w./-]+"), (trees.uuids, "[0-9a-f-]{36}")])
def test_made_up_trees_are_the_same_every_time_and_name_nothing_twice(tree, sample):
    some = list(itertools.islice(tree(random.Random(trees.SEED)), 50_000))
    assert some == list(itertools.islice(tree(random.Random(trees.SEED)), 50_000))
    assert len(set(some)) == len(some)
    assert all(re.fullmatch(sample, path) for path in some)


def test_a_figure_is_the_median_with_its_spread():
    figure = rounds.Figure([3, 1, 2])
    assert (figure.value, figure.low, figure.high) == (2, 1, 3)


def test_own_memory_counts_what_this_process_holds():
    before = machine.own_memory([os.getpid()])
    held = bytearray(os.urandom(1 << 20) * 32)
    assert machine.own_memory([os.getpid()]) - before > 30 << 20
    assert machine.own_memory([-1]) == 0 and machine.cpu_seconds([-1]) == 0
    del held


def test_a_refused_upload_is_an_error_with_the_servers_words():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\ndenied")

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(RuntimeError, match="status 403.*denied"):
            s3.make_bucket(f"127.0.0.1:{server.getsockname()[1]}", "b", ("k", "s"))
        thread.join()
