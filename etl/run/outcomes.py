"""What comes of tasks on a Dask cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distributed import Future

from etl.errors import RunError
from etl.run.worker_calls import Done


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a submitted task."""

    key: str
    done: Done | None
    error: BaseException | None = None

    @classmethod
    def of(cls, future: Future[Any]) -> Outcome:
        try:
            return cls(str(future.key), future.result())
        except BaseException as error:
            return cls(str(future.key), None, error)

    def result(self) -> Done:
        """Raises what the task raised."""
        if self.error is not None:
            raise self.error
        assert self.done is not None  # there is the one or the other
        return self.done


def failed(task: str, value: object) -> RunError:
    """A task could not be done, and the run can't go on without it."""
    return RunError(
        f"{task} failed, after retries",
        value=f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else value,
        remedy="finished volumes are kept; mend the cause (disk, memory, network), run the same again",
    )
