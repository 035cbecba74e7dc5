"""The order of fetches and conversions, with results in any order; nothing is fetched or converted."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from etl.core.rejects import Reason
from etl.pipeline.queue import MOST_WAITS_MORE, Fetches
from etl.run.protocol import Items, Queue
from etl.staging.fetch import Fetched
from tests.support.simulated_work import FETCHER, Case, Run, archive, planned


def first(count: int) -> int:
    return 0


def last(count: int) -> int:
    return count - 1


@st.composite
def cases(draw: st.DrawFn) -> Case:
    count = draw(st.integers(1, 8))
    numbers = st.integers(0, count - 1)
    needs = draw(st.lists(st.sets(numbers, min_size=1, max_size=3), min_size=0, max_size=12))
    remote = draw(st.sets(numbers))
    failing = draw(st.sets(st.sampled_from(sorted(remote)), max_size=2)) if remote else set()
    removed = draw(st.dictionaries(numbers, st.integers(1, MOST_WAITS_MORE), max_size=2))
    return Case(
        needs,
        {number: draw(st.integers(1, 3)) for number in sorted(remote)},
        failing,
        draw(st.sets(numbers, max_size=2)),
        draw(st.integers(1, 3)),
        draw(st.booleans()),
        {number: times for number, times in removed.items() if number in remote - failing},
    )


@given(cases(), st.integers(1, 12), st.randoms(use_true_random=False))
def test_every_volume_is_converted_or_refused_once(case: Case, window: int, random: Any) -> None:
    run = Run(case, random.randrange, window)
    lost = [n for n, needs in enumerate(case.needs) if needs & (case.failing | case.unreadable)]
    assert sorted(run.refused) == lost
    assert sorted(run.converted) == sorted(set(range(len(case.needs))) - set(lost))
    wanted = {number for volume in range(len(case.needs)) for number in case.remote_needs(volume)}
    if not case.keep:
        assert run.whole() == set()
        # What came of an archive that failed stays, for the next run to go on with.
        assert run.staged <= case.failing
        if all(len(case.remote_needs(volume)) <= 1 for volume in range(len(case.needs))):
            assert run.gave_way == 0
    elif not lost:
        assert run.whole() == wanted


@given(cases(), st.integers(1, 12), st.randoms(use_true_random=False))
def test_refusals_state_the_reason_of_every_slice(case: Case, window: int, random: Any) -> None:
    for conversion in Run(case, random.randrange, window).work.rejected:
        needs = case.needs[int(conversion.planned_id[:6]) - 1]
        assert (conversion.built, conversion.converted) == ((), 0)
        (found,) = {(r.reason, r.message) for r in conversion.rejects}
        possible = set()
        if needs & case.failing:
            possible.add((Reason.ARCHIVE_CHANGED, "it changed"))
        if needs & case.unreadable:
            possible.add((Reason.ARCHIVE_UNAVAILABLE, "it is silent"))
        assert found in possible
        assert len(conversion.rejects) == conversion.slice_count == len(needs)


def test_one_after_the_other_a_volume_converts_before_the_next_archive_is_begun() -> None:
    run = Run(Case([{0}, {0, 1}, {1}, {2}], {0: 2, 1: 1, 2: 1}), first, window=1)
    fetch_0, fetch_1, fetch_2 = "fetch-0.zip", "fetch-1.zip", "fetch-2.zip"
    volumes = [f"convert-{planned(n, needs).volume_id}" for n, needs in enumerate(run.case.needs)]
    assert run.names == [
        fetch_0, fetch_0, volumes[0], fetch_1, volumes[1], volumes[2], fetch_2, volumes[3],
    ]  # fmt: skip


def test_within_a_window_downloads_go_on_beside_conversions() -> None:
    run = Run(Case([{0}, {0}, {0}, {1}], {0: 1, 1: 1}, downloads=2), last, window=3)
    kinds = [name.partition("-")[0] for name in run.names]
    assert kinds == ["fetch", "fetch", "convert", "convert", "convert", "convert"]


def test_volumes_of_archives_that_are_there_need_no_fetching() -> None:
    run = Run(Case([{0}, {1}, {2}], {}), last, window=2)
    assert run.names == [f"convert-{planned(n, {n}).volume_id}" for n in range(3)]


def test_an_archive_is_removed_after_its_last_volume() -> None:
    case = Case([{n} for n in range(10)], dict.fromkeys(range(10), 1), keep=False)
    run = Run(case, first, window=1)
    assert run.most_staged == 1
    pairs = [[f"fetch-{n}.zip", f"convert-{planned(n, {n}).volume_id}"] for n in range(10)]
    assert run.names == [name for pair in pairs for name in pair]


def test_at_most_twice_downloads_archives_lie_there() -> None:
    case = Case([{n} for n in range(10)], dict.fromkeys(range(10), 1), downloads=2, keep=False)
    assert Run(case, first, window=50).most_staged == 4
    case.keep = True
    assert Run(case, first, window=50).most_staged == 10


def test_a_volume_that_needs_more_than_the_bound_is_converted_all_the_same() -> None:
    run = Run(Case([{0, 1, 2, 3, 4}], dict.fromkeys(range(5), 1), keep=False), first, window=4)
    assert (run.converted, run.most_staged, run.staged) == ([0], 5, set())


def test_the_volumes_of_an_archive_that_stays_silent_are_refused_at_once() -> None:
    run = Run(Case([{0}, {0, 1}, {1}, {0}], {}, unreadable={0}), first, window=1)
    assert run.names == [f"convert-{planned(n, {n}).volume_id}" for n in (0, 2)]
    assert (run.refused, run.converted) == ([0, 1, 3], [2])


def test_tasks_of_an_archive_that_stays_silent_are_withdrawn() -> None:
    run = Run(Case([{0}] * 9 + [{1}], {}, unreadable={0}), first, window=4)
    assert len(run.names) == 4 + 1
    assert (sorted(run.refused), run.converted) == (list(range(9)), [9])


def test_an_archive_that_another_build_removed_is_fetched_again() -> None:
    run = Run(Case([{0}, {1}], {0: 2, 1: 1}, removed={0: 1}), first, window=1)
    volumes = [f"convert-{planned(n, {n}).volume_id}" for n in range(2)]
    fetched_and_read = ["fetch-0.zip", "fetch-0.zip", volumes[0]]
    assert run.names == [*fetched_and_read, *fetched_and_read, "fetch-1.zip", volumes[1]]
    assert (run.converted, run.refused, run.work.unreadable) == ([0, 1], [], set())


def test_one_that_is_gone_again_and_again_is_lost() -> None:
    run = Run(Case([{0}], {0: 1}, removed={0: 99}), first, window=1)
    assert len(run.names) == 2 * (MOST_WAITS_MORE + 1)
    assert (run.converted, run.refused, run.work.unreadable) == ([], [0], {0})


def test_transfers_take_no_place_among_what_computes() -> None:
    case = Case([{n} for n in range(6)], dict.fromkeys(range(3), 9), downloads=3)
    run = Run(case, last, window=2)
    volumes = [f"convert-{planned(n, {n}).volume_id}" for n in (3, 4, 5)]
    assert run.names[:5] == [volumes[0], "fetch-0.zip", "fetch-1.zip", "fetch-2.zip", volumes[1]]


def test_an_archive_that_nobody_needs_any_more_is_not_fetched() -> None:
    run = Run(Case([{0, 1}], {0: 1, 1: 1}, failing={0}), first, window=1)
    assert (run.names, run.refused) == (["fetch-0.zip"], [0])


def test_an_archive_that_nobody_needs_any_more_is_not_fetched_on() -> None:
    case = Case([{0, 1}], {0: 1, 1: 3}, failing={0}, downloads=2, keep=False)
    run = Run(case, first, window=2)
    assert (run.names, run.refused) == (["fetch-0.zip", "fetch-1.zip"], [0])
    assert run.staged == {0}, "the part of the one that nobody needs is removed"


class TestFetches:
    """Archives alone, as before planning where a server has no ranges."""

    def test_a_few_at_a_time_and_each_to_its_end(self) -> None:
        fetches = Fetches([archive(n) for n in range(3)], FETCHER, downloads=2)
        a, b = fetches.take(), fetches.take()
        assert a is not None
        assert b is not None
        assert (a.argument, b.argument, fetches.take()) == (archive(0), archive(1), None)
        fetches.finish(a, Fetched(archive(0), 50, 50, False))
        again = fetches.take()
        assert again is not None
        assert (again.argument, fetches.take()) == (archive(0), None)
        fetches.finish(b, Fetched(archive(1), 0, 0, False, Reason.ARCHIVE_UNAVAILABLE, "gone"))
        c = fetches.take()
        assert c is not None
        assert (c.argument, fetches.take()) == (archive(2), None)
        fetches.finish(again, Fetched(archive(0), 100, 50, True))
        fetches.finish(c, Fetched(archive(2), 100, 100, True))
        assert fetches.take() is None


def test_items_are_taken_from_the_iterable_as_they_are_needed() -> None:
    taken: list[int] = []
    items = Items(str, (taken.append(n) or n for n in range(3)))  # type: ignore[func-returns-value]
    work: Queue = items
    task = work.take()
    assert task is not None
    assert (task.name, task.function(task.argument), taken) == ("item-0", "0", [0])
    work.finish(task, "0")
    assert [task.argument for task in iter(work.take, None) if task is not None] == [1, 2]
    assert work.take() is None
