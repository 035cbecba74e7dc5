"""What the doing of tasks took: times by stage, tasks begun again, workers lost."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Stage:
    """Tasks of one kind.

    Attributes:
        count: that ended well.
        seconds: of work in all, over all workers; their last attempts only.
        longest_s: of the longest.
    """

    count: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0


@dataclass
class Tally:
    """Kept by an executor while it works.

    Attributes:
        stages: by what task names begin with: `convert`, `fetch`.
        retries: attempts at tasks beyond the first of each, whatever the reason.
        worker_deaths: workers that were lost without leaving in order.
        timeouts: attempts that did not end in time.
        most_workers, most_threads: at work at once, at most.
    """

    stages: dict[str, Stage] = field(default_factory=dict)
    retries: int = 0
    worker_deaths: int = 0
    timeouts: int = 0
    most_workers: int = 0
    most_threads: int = 0

    def add(self, task: str, seconds: float) -> None:
        """Take a task that ended well into account."""
        stage = self.stages.setdefault(task.partition("-")[0], Stage())
        stage.count += 1
        stage.seconds += seconds
        stage.longest_s = max(stage.longest_s, seconds)

    def see_workers(self, workers: int, threads: int) -> None:
        """Take the present size of the cluster into account."""
        self.most_workers = max(self.most_workers, workers)
        self.most_threads = max(self.most_threads, threads)
