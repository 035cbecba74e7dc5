"""Read a store here and in two other processes: `python -m tests.support.reading_in_workers STORE METHOD`.

METHOD is fork or spawn, or torch-fork or torch-spawn for workers of PyTorch's DataLoader. Prints as JSON, for
each lesion, what this process read and what a worker read.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
from typing import Any

import numpy as np

from etl.store import LesionCrops, open_store


class Reading:
    """A dataset that reads each lesion in every way that a store offers: to a number."""

    def __init__(self, place: str) -> None:
        self.store = open_store(place)
        self.crops = LesionCrops(self.store, size_vox=(8, 16, 16))
        self.volume = self.store.volume(self.store.volumes()["volume_id"][0])

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> int:
        sample = self.crops[index]
        parts = [sample[name] for name in sorted(sample)]
        parts.append(self.store.crop(int(sample["lesion_id"]), size_mm=8).values)
        parts.append(self.volume[index % len(self.volume)].values)
        parts.append(self.store.slices(columns=["crc32"]).to_numpy())
        data = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
        return int(hashlib.sha256(data).hexdigest()[:12], 16)


def read_some(reading: Reading, start: int, connection: Any) -> None:
    connection.send([(index, reading[index]) for index in range(start, len(reading), 2)])


def in_processes(reading: Reading, method: str) -> list[int]:
    """Two processes that read at once; a forked one gets `reading` as it is here, with all that it holds."""
    context: Any = multiprocessing.get_context(method)
    found, started = {}, []
    for start in range(2):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=read_some, args=(reading, start, sender), daemon=True)
        process.start()
        sender.close()
        started.append((process, receiver))
    for process, receiver in started:
        found.update(receiver.recv())
        process.join()
    return [found[index] for index in range(len(reading))]


def in_torch(reading: Reading, method: str) -> list[int]:
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(reading, batch_size=2, num_workers=2, multiprocessing_context=method)  # type: ignore[arg-type]
    return [number for batch in loader for number in batch.tolist()]


if __name__ == "__main__":
    place, method = sys.argv[1:]
    reading = Reading(place)
    # Read here first: loops, threads and connections are there when the process is forked.
    here = [reading[index] for index in range(len(reading))]
    away = in_torch if method.startswith("torch-") else in_processes
    print(json.dumps({"here": here, "workers": away(reading, method.removeprefix("torch-"))}))
