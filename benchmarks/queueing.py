"""What a rate of events does to batches and latency: the event source mapping, simulated.

Messages arrive at random (a Poisson process). Each of the mapping's processes collects a batch until it is full or
the window since its first message has passed, invokes the function, waits for the answer, and collects again. A message
goes to any process that is collecting; it waits in the queue while none is. Polling itself takes no time here.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_WARM_UP_SECONDS = 5.0


@dataclass(frozen=True)
class Simulated:
    """What came of it: seconds from arrival to answer, the mean batch, the share of time the processes were busy."""

    p50: float
    p99: float
    batch: float
    busy: float


@dataclass(frozen=True)
class Mapping:
    """An event source mapping: its processes, batch size and window in seconds, and a batch's duration by its size."""

    processes: int
    batch_size: int
    window: float
    duration: Callable[[int], float]


class _Run:
    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.batches: list[list[float]] = [[] for _ in range(mapping.processes)]  # of arrivals
        self.collecting = list(range(mapping.processes))
        self.waiting: deque[float] = deque()
        # When, which process, and the number of its batch whose window ends then; -1: its batch is answered.
        self.ahead: list[tuple[float, int, int]] = []
        self.invoked = [0] * mapping.processes
        self.latencies: list[float] = []
        self.sizes: list[int] = []
        self.busy = 0.0

    def receive(self, process: int, arrived: float, now: float) -> None:
        batch = self.batches[process]
        batch.append(arrived)
        if len(batch) == 1:
            heapq.heappush(self.ahead, (now + self.mapping.window, process, self.invoked[process]))
        if len(batch) == self.mapping.batch_size:
            self.invoke(process, now)

    def invoke(self, process: int, now: float) -> None:
        batch, self.batches[process] = self.batches[process], []
        self.collecting.remove(process)
        self.invoked[process] += 1
        took = self.mapping.duration(len(batch))
        heapq.heappush(self.ahead, (now + took, process, -1))
        if now > _WARM_UP_SECONDS:
            self.busy += took
            self.sizes.append(len(batch))
            self.latencies += [now + took - arrived for arrived in batch]

    def go_on(self) -> None:
        """Let the next thing ahead happen."""
        now, process, number = heapq.heappop(self.ahead)
        if number == self.invoked[process]:
            self.invoke(process, now)
        elif number < 0:
            self.collecting.append(process)
            for _ in range(min(self.mapping.batch_size, len(self.waiting))):
                self.receive(process, self.waiting.popleft(), now)


def simulate(rate: float, mapping: Mapping, seconds: float, seed: int = 1) -> Simulated:
    """Send so many events a second for a time; the first seconds do not count."""
    chance = random.Random(seed)  # noqa: S311  # a simulation
    run = _Run(mapping)
    arrival = chance.expovariate(rate)
    while arrival < seconds:
        if run.ahead and run.ahead[0][0] <= arrival:
            run.go_on()
            continue
        if run.collecting:
            run.receive(chance.choice(run.collecting), arrival, arrival)
        else:
            run.waiting.append(arrival)
        arrival += chance.expovariate(rate)
    latencies = sorted(run.latencies)
    return Simulated(
        p50=latencies[len(latencies) // 2],
        p99=latencies[int(len(latencies) * 0.99)],
        batch=sum(run.sizes) / len(run.sizes),
        busy=min(run.busy / mapping.processes / (seconds - _WARM_UP_SECONDS), 1.0),
    )
