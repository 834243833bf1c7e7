"""The storm: actors work on one lake and are killed again and again, while readers look on."""

from __future__ import annotations

import itertools
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

from lotus_lake.config.settings import Settings
from lotus_lake.lake.connection import open_lake
from lotus_lake.lake.session import META
from lotus_lake.ledger.events import REFUSED
from tests import children
from tests.chaos import actors
from tests.chaos.actors import ACTORS, Job
from tests.chaos.checks import check
from tests.chaos.readers import Board, read_all_the_time, wrongs
from tests.chaos.tally import Kill, Tally
from tests.chaos.workload import SUBJECTS, Subject, Workload
from tests.children import Hook, KillBefore, KillWithin, let_pass
from tests.pipeline.logged import LoggedChild
from tests.proxy import Fault, Operation, Proxy, no_fault

_TICK_SECONDS = 0.004
_COMMIT_SECONDS = 0.03
_STUCK_SECONDS = 600.0
_OLD_DAYS = 5
_COMMIT_DELAYS = (0.002, 0.008)


@dataclass(frozen=True, slots=True)
class Running:
    """An actor at work.

    Attributes:
        name: Which one.
        child: Its process.
        kind: How it is to be killed; nothing when it may live.
        due: When to kill it from outside.
        floor: Newest snapshot that surely was there when it started.
    """

    name: str
    child: LoggedChild
    kind: Kill | None
    due: float
    started: float
    floor: int


@dataclass
class Storm:
    """A lake with its workload, its actors and its readers.

    Attributes:
        environment: All variables of the lake, for those who bypass the proxy.
        workload: What arrives.
        folder: For logs.
        chance: Decides.
        proxy: What the actors see of the bucket.
        width: So many actors at once.
        tally: What has happened.
        boards: One for each reader.
        restart: Restarts the catalog's server, if it has one.
    """

    environment: Mapping[str, str]
    workload: Workload
    folder: Path
    chance: Random
    proxy: Proxy
    width: int = 3
    restart: Callable[[], None] | None = None
    tally: Tally = field(default_factory=Tally)
    boards: list[Board] = field(default_factory=list)
    _readers: list[BaseProcess] = field(default_factory=list)
    _running: list[Running] = field(default_factory=list)
    _folders: list[Path] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def watched(self, readers: int = 1) -> Iterator[None]:
        """Readers look on inside the block."""
        logs = [self.folder / f"reader-{number}.log" for number in range(readers)]
        for log in logs:
            self.boards.append(Board(children.context.Array("q", 4, lock=False)))
            self._readers.append(self._start_reader(self.boards[-1], log))
        try:
            yield
        finally:
            self._restart_readers()
            for process in self._readers:
                process.kill()
                process.join()
            self._count_looks()
            self.boards.clear()
            self._readers.clear()
            self.tally.findings.wrongs += wrongs(logs)

    def _start_reader(self, board: Board, log: Path) -> BaseProcess:
        return children.start(
            read_all_the_time, dict(self.environment), board, log, bool(self.restart)
        )

    def _restart_readers(self) -> None:
        """DuckDB may abort a reader whose server goes away; whatever else ends one is wrong."""
        for number, process in enumerate(self._readers):
            if process.is_alive():
                continue
            if not (self.restart and process.exitcode == -signal.SIGABRT):
                self._wrong(f"reader {number} ended with {process.exitcode}")
            log = self.folder / f"reader-{number}.log"
            self._readers[number] = self._start_reader(self.boards[number], log)

    def _count_looks(self) -> None:
        if not self.boards:
            return
        self.tally.looks = sum(board.get(Board.LOOKS) for board in self.boards)
        self.tally.interrupted = sum(board.get(Board.INTERRUPTED) for board in self.boards)

    # Rounds

    def round(self, kills: int, *, faults: float = 0.0, restarts: int = 0) -> None:
        """A day of files, kills, faults and restarts; then calm, and every check."""
        self.workload.next_day()
        self.proxy.plan = self._weather(faults) if faults else no_fault
        first = self.tally.kills.total()
        restart_at = sorted(first + self.chance.randrange(1, kills) for _ in range(restarts))
        while self.tally.kills.total() < first + kills:
            while len(self._running) < self.width:
                self.workload.drop(self.chance.choice((0, 1, 1, 2)))
                self._launch_any()
            if self.restart and restart_at and restart_at[0] <= self.tally.kills.total():
                del restart_at[0]
                self.restart()
                self.tally.restarts += 1
            self._tick()
        self._settle()
        self.proxy.plan = no_fault
        self._make_due()
        self.calm()

    def _make_due(self) -> None:
        """Let the pauses of what the store did not give in bad weather pass."""
        with open_lake(Settings.from_env(self.environment)) as lake:
            lake.con.execute(
                f"UPDATE {META}.file_events SET recorded_at = recorded_at - INTERVAL 2 DAY "
                "WHERE remark = ?",
                [REFUSED],
            )

    def crowd(self, starts: int) -> None:
        """All actors beside each other, and nobody is killed; then calm, and every check."""
        self.workload.next_day()
        names = list(ACTORS) * math.ceil(starts / len(ACTORS))
        while names or self._running:
            while names and len(self._running) < self.width + 2:
                self.workload.drop(1)
                self._launch(names[-1], self._any_subject(names.pop()), None)
            self._tick()
        self.calm()

    def systematic(self, name: str, step: int = 1) -> None:
        """Kill an actor before each of its statements and inside each of its commits.

        Args:
            name: Which actor.
            step: Only before every so many-th statement, and inside two of its commits.
        """
        actor = ACTORS[name]
        if name == "cleanup":
            self._make_old_days(SUBJECTS[0])
        for number in itertools.count(self.chance.randint(1, step), step):
            killed = self.tally.kills.total()
            self._kill(name, Kill.STATEMENT, KillBefore(number))
            if self.tally.kills.total() == killed:  # it has no more statements
                break
        if name == "cleanup":
            self._make_old_days(SUBJECTS[0])
        commits, delays = list(range(1, actor.commits + 1)), _COMMIT_DELAYS
        if step > 1:
            commits, delays = self.chance.sample(commits, 2), _COMMIT_DELAYS[:1]
        for commit, seconds in itertools.product(commits, delays):
            self._kill(name, Kill.COMMIT, KillWithin(commit, seconds, start=actor.commit))

    def _kill(self, name: str, kind: Kill, hook: Hook) -> None:
        """Kill one actor, which has something to do and nobody beside it."""
        self.workload.put_good(SUBJECTS[0])
        self.workload.put_retyped(SUBJECTS[0])
        if name == "dbt":
            self.run("feeder", SUBJECTS[0])
        self._launch(name, SUBJECTS[0], kind, hook)
        self._settle()

    def _make_old_days(self, subject: Subject) -> None:
        """Days with files that are landed, consumed, and old enough to be retired."""
        for _ in range(_OLD_DAYS):
            self.workload.next_day()
            self.workload.put_good(subject)
            self.workload.put_retyped(subject)
        for name in ("feeder", "dbt"):
            self.run(name, subject)

    def calm(self) -> None:
        """Let everything run once unharmed; then look at every row of everything."""
        for subject in SUBJECTS:
            self.run("feeder", subject)
        for name in ("dbt", "maintenance"):
            self.run(name, SUBJECTS[0])
        with open_lake(Settings.from_env(self.environment)) as lake:
            for subject in SUBJECTS:
                self.tally.findings += check(lake, self.workload, subject)
            self.tally.count_lake(lake, self.workload)

    def run(self, name: str, subject: Subject) -> None:
        """Run an actor that has to succeed."""
        before = self.tally.ends[name, "done"]
        self._launch(name, subject, None)
        self._settle()
        if self.tally.ends[name, "done"] == before:
            self._wrong(f"{name} failed although nothing was in its way")

    # Actors

    def _launch_any(self) -> None:
        at_work = {running.name for running in self._running}
        names = [name for name, actor in ACTORS.items() if not (actor.alone and name in at_work)]
        name = self.chance.choices(names, [ACTORS[name].share for name in names])[0]
        actor, kind = ACTORS[name], self.chance.choices(list(Kill), (5, 2, 3))[0]
        hook: Hook = let_pass
        if kind is Kill.STATEMENT:
            hook = KillBefore(self.chance.randint(1, actor.statements))
        elif kind is Kill.COMMIT:
            seconds = self.chance.uniform(0, _COMMIT_SECONDS)
            hook = KillWithin(self.chance.randint(1, actor.commits), seconds, start=actor.commit)
        self._launch(name, self._any_subject(name), kind, hook)

    def _any_subject(self, name: str) -> Subject:
        return self.chance.choices(SUBJECTS, (8, 8, 8, 1 if name == "feeder" else 0))[0]

    def _launch(
        self, name: str, subject: Subject, kind: Kill | None, hook: Hook = let_pass
    ) -> None:
        number = next(self._numbers)
        folder = self._folders.pop() if self._folders else self.folder / f"actor-{number}"
        folder.mkdir(exist_ok=True)
        environment = {**self.environment, "AWS_ENDPOINT_URL": self.proxy.url}
        now, floor = time.monotonic(), self._floor(self.boards)
        job = Job(environment, folder, subject, f"{name}-{number}", self._expirable(), hook)
        due = now + self.chance.uniform(0, ACTORS[name].seconds * 1.2)
        child = actors.start(name, job)
        due = due if kind is Kill.MOMENT else float("inf")
        self._running.append(Running(name, child, kind, due, now, floor))

    @staticmethod
    def _floor(boards: list[Board]) -> int:
        """A snapshot that exists, and that every later look or transaction sees or is newer."""
        return min((board.get(Board.SNAPSHOT) for board in boards), default=0)

    def _expirable(self) -> int:
        """Older snapshots than this one no open transaction can see, and none will."""
        floors = [self._floor(self.boards), *(running.floor for running in self._running)]
        if any(running.name == "dbt" for running in self._running):
            floors += [board.get(Board.WATERMARK) for board in self.boards]  # it reads from there
        return min(floors)

    def _settle(self) -> None:
        while self._running:
            self._tick()

    def _tick(self) -> None:
        time.sleep(_TICK_SECONDS)
        self._restart_readers()
        now = time.monotonic()
        for running in list(self._running):
            process = running.child.process
            if now > running.due:
                process.kill()
            elif now > running.started + _STUCK_SECONDS:
                self._wrong(f"{running.name} is stuck:\n{running.child.output[-2000:]}")
                process.kill()
            if not process.is_alive():
                self._running.remove(running)
                self._end(running, process)

    def _end(self, running: Running, process: BaseProcess) -> None:
        process.join()
        code, output = process.exitcode, running.child.output
        assert code is not None
        process.close()
        self._folders.append(running.child.log.parent)
        self._count_looks()
        self.tally.files = len(self.workload.dropped)
        self.tally.files = len(self.workload.dropped)
        self.tally.conflicts += output.count(actors.CONFLICT_LOG)
        if code == -signal.SIGKILL and running.kind:
            self.tally.kills[running.name, running.kind] += 1
        elif code == 0:
            self.tally.ends[running.name, "done"] += 1
        elif actors.is_transient(running.name, code, output):
            self.tally.ends[running.name, "transient error"] += 1
        else:
            self.tally.ends[running.name, "wrong"] += 1
            self._wrong(f"{running.name} ended with {code}:\n{output[-4000:]}")

    def _wrong(self, text: str) -> None:
        self.tally.findings.wrongs.append(text)

    def _weather(self, rate: float) -> Callable[[Operation, str], Fault | None]:
        """Each request meets a fault so often; 403 and what takes minutes have other tests."""
        chance = Random(self.chance.random())
        left_out = (Fault.SILENT, Fault.DRIP, Fault.REFUSED)
        faults = [fault for fault in Fault if fault not in left_out]

        def plan(_operation: Operation, _path: str) -> Fault | None:
            return chance.choice(faults) if chance.random() < rate else None

        return plan
