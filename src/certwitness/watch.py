# SPDX-License-Identifier: MIT
"""The service behind `certwitness watch`: follow each of certmonger's requests from rest to rest.

One queue of what certmonger says (listening.py), one reader of it. What signals do not tell is asked of certmonger,
with a time limit: while it waits for a helper it answers nobody. No timer wakes it but a step that grows old, and what
could not be asked yet.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Callable

from certwitness import beside, certmonger, journal, tracked
from certwitness.conclusion import conclude
from certwitness.course import POST_SAVED, WAITS, Course, Moment
from certwitness.course_end import Conclude, CourseEnds, request_of
from certwitness.errors import CertwitnessError, StoreError
from certwitness.findings import Finding
from certwitness.listening import Heard, Lost, Moved, Owner
from certwitness.noticing import Notices, Tell
from certwitness.save import CONCLUSION_S

if TYPE_CHECKING:
    from certwitness.certmonger import Certmonger, Request
    from certwitness.host import Host
    from certwitness.tracked import Tracked

READ_S = 10.0
LONGEST_PAUSE_S = 60.0


class Watch:
    """Watches the requests of `host`. `queue` is what listening.start gives; `tell` takes a line for people, and its
    `level` (journal.LEVELS). The rest is for tests."""

    def __init__(
        self,
        host: Host,
        queue: SimpleQueue[Heard],
        tell: Tell,
        *,
        read: Callable[..., Certmonger] = certmonger.read,
        conclude: Conclude | None = None,
        now: Callable[[], Moment] = Moment.now,
    ) -> None:
        self._host, self._queue, self._read, self._now = host, queue, read, now
        self._notices = Notices(host.config.events_file, tell, now)
        self._ends = CourseEnds(host, self._notices, conclude or conclude_beside, now)
        self._owner = ""
        self._last_owner = ""  # while the bus is away it is not known whether certmonger is
        self._tracked: dict[str, Tracked] = {}  # by the request's id
        self._ids: dict[str, str] = {}  # by the object's path, which lasts until certmonger's end
        self._courses: dict[str, Course] = {}
        self._ended: list[tuple[str, Course]] = []
        self._missed: list[str] = []  # requests that may have changed while nobody watched
        self._unplaced: list[tuple[Moment, Moved]] = []
        self._begun = False
        self._behind = False  # certmonger's requests are to be read
        self._hook_runs = False  # too: what is known of a command may be old, and certmonger may end meanwhile
        self._catch_up = False  # and what was missed is to be made up for
        self._pause_s, self._retry = 1.0, 0.0

    def run(self) -> None:
        """Watch for ever."""
        while True:
            self.step()

    def step(self) -> None:
        """Wait for what comes next, and do what follows from it."""
        try:
            heard = self._queue.get(timeout=self._patience())
        except Empty:
            heard = None
        if heard:
            with self._notices.survived():
                self._hear(*heard)
        if not self._queue.empty():
            return
        with self._notices.survived():
            self._grow_old()
        if self._wants_to_ask and self._retry <= self._now().clock:
            self._retry = self._now().clock + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            with self._notices.survived():
                self._ask()

    # --- what is heard

    def _hear(self, now: Moment, heard: Moved | Owner | Lost) -> None:
        if isinstance(heard, Moved):
            if heard.path in self._ids:
                self._move(self._ids[heard.path], heard.status, now)
            else:
                self._unplaced.append((now, heard))
                self._behind = True
        elif isinstance(heard, Owner):
            if self._notices.well_again("bus"):
                self._notices.tell("D-Bus is there again", level="notice")
            self._own(heard.name)
        else:
            self._forget_objects()
            self._notices.complain(f"certmonger cannot be heard: {heard.reason}; trying again", once="bus")

    def _own(self, owner: str) -> None:
        """certmonger is there, or gone."""
        if not owner and not self._begun:
            told = "certmonger is not running, and is waited for: systemctl start certmonger"
            self._notices.complain(told, once="owner")
        if self._last_owner and owner != self._last_owner:
            for id_, running in self._courses.items():
                if running.status == POST_SAVED and id_ in self._tracked:
                    with self._notices.survived():
                        self._ends.cut_off(self._tracked[id_], running)
        self._forget_objects()
        self._owner = self._last_owner = owner
        self._behind = self._catch_up = bool(owner)
        self._pause_s, self._retry = 1.0, 0.0

    def _forget_objects(self) -> None:
        self._owner = ""
        self._ids.clear()
        self._unplaced.clear()

    def _move(self, id_: str, status: str, now: Moment) -> None:
        known = self._courses.get(id_)
        if known:
            known.move(status, now)
        else:
            known = self._courses[id_] = Course(status, now)
        if known.ended:
            self._end(id_)
        elif status == POST_SAVED:
            self._hook_runs = True

    def _end(self, id_: str) -> None:
        self._ended.append((id_, self._courses.pop(id_)))

    # --- what grows old

    def _patience(self) -> float | None:
        """Seconds until something is due; None: nothing will be."""
        moments = [running.due for running in self._courses.values() if running.due is not None]
        moments += [self._retry] if self._wants_to_ask else []
        return max(0.0, min(moments) - self._now().clock) if moments else None

    def _grow_old(self) -> None:
        for id_, running in list(self._courses.items()):
            level = running.overdue(self._now().clock)
            if level == WAITS:
                self._end(id_)
            elif level and id_ in self._tracked:
                with self._notices.survived():
                    self._ends.hangs(self._tracked[id_], running, level)

    # --- what is asked

    @property
    def _wants_to_ask(self) -> bool:
        return bool(self._owner) and (self._behind or self._hook_runs or bool(self._ended or self._missed))

    def _ask(self) -> None:
        """Read certmonger's requests, and do what waited for that. Where it does not answer, it is asked again."""
        try:
            found = self._read(self._host.bus, timeout_s=READ_S).requests
        except StoreError as error:
            self._notices.complain(f"certmonger: {error.reason}; asking again", once="certmonger")
            return
        self._notices.well_again("certmonger")
        self._behind = self._hook_runs = False
        self._tracked = {request_of(one).id: one for one in tracked.of_requests(found)}
        self._ids = {request.path: request.id for request in found}
        moved = self._hear_what_came()
        if not self._behind:  # else there is more than certmonger told by then
            for request in found:
                if request.id not in moved:
                    self._see(request)
            self._courses = {id_: running for id_, running in self._courses.items() if id_ in self._tracked}
            self._ends.forget(self._tracked)
            self._judge()
        self._pause_s, self._retry = 1.0, 0.0

    def _hear_what_came(self) -> set[str]:
        """Hear what came while certmonger was asked, and before that of objects that were unknown. Returns the requests
        that moved: of these the signals know more than the answer."""
        moved, waiting = set[str](), self._unplaced
        self._unplaced = []
        for now, unplaced in waiting:
            if unplaced.path in self._ids:  # else its request is gone
                moved.add(self._ids[unplaced.path])
                self._hear(now, unplaced)
        while not self._queue.empty() and not self._behind:
            now, heard = self._queue.get()
            if isinstance(heard, Moved) and heard.path in self._ids:
                moved.add(self._ids[heard.path])
            self._hear(now, heard)
        return moved

    def _see(self, request: Request) -> None:
        """Take a request's status from certmonger's answer."""
        known = self._courses.get(request.id)
        if known:
            known.move(request.status, self._now())
            if known.ended or request.stuck:
                self._end(request.id)
        elif not request.stuck and request.status not in tracked.AT_REST:
            self._courses[request.id] = Course(request.status, self._ends.begun(request), seen=False)

    def _judge(self) -> None:
        """What has ended, and after certmonger's start or ours what nobody saw. Where something is heard meanwhile that
        comes first: a request may have gone on."""
        if not self._begun:
            self._begun = True
            self._notices.tell(f"watching certmonger's requests: {len(self._tracked)}", level="info")
        if self._catch_up:
            self._catch_up = False
            known = {id_ for id_, _ in self._ended} | set(self._courses)
            self._missed = [id_ for id_ in self._tracked if id_ not in known]
        history = self._notices.history()
        while self._ended and self._queue.empty():
            id_, done = self._ended.pop(0)
            if id_ in self._tracked:
                with self._notices.survived():
                    self._ends.rest(self._tracked[id_], done, history, goes_on=id_ in self._courses)
        while self._missed and self._queue.empty():
            id_ = self._missed.pop(0)
            if id_ in self._tracked and id_ not in self._courses:
                with self._notices.survived():
                    self._ends.make_up(self._tracked[id_], history)


def conclude_beside(host: Host, name: str, *, by: str, limit_s: float, report: Tell) -> list[Finding]:
    """conclusion.conclude in a process of its own: a store that hangs holds up nothing else for long, and what waits
    for it does not pile up here. It is a fork, while the thread of listening.py waits on its socket: that thread holds
    no lock that the process needs. There may be no others: a store's reader could hold one (an import's, a tool's).

    Raises CertwitnessError, as that does; and where no process can be had, or it does not end.
    """

    def work(send: Callable[[object], None]) -> None:
        told: list[tuple[str, str]] = []

        def tell(line: str, *, level: str) -> None:
            told.append((line, level))
            try:
                send((told, []))
            except OSError:  # the service has ended: nobody else will say it
                journal.report(line, level=level)

        found = conclude(host, name, by=by, limit_s=limit_s, report=tell)
        send((told, [finding.as_event() for finding in found]))

    try:
        sent, problem = beside.ask(work, limit_s + CONCLUSION_S, expendable=True)
    except OSError as error:
        raise CertwitnessError(f"no process can be started for it: {error.strerror}") from error
    told, found = sent or ([], [])
    for line, level in told:
        report(line, level=level)
    if problem:
        raise CertwitnessError(problem)
    return [Finding.from_event(fields) for fields in found]
