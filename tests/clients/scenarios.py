"""What each library is put through; a scenario fails with an AssertionError that says where.

Laws:

- A person in the simulated Slack begins, the program of the library ends: the judge sees what both
  got, and nothing between.
- People try again: what Slack's three seconds cut off on a busy machine is done once more.
- Whatever is cut, what was said before, during and after must be handled: in Socket Mode all of
  it, over RTM (which keeps nothing for those who are away) what is said after the return.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from rtmpump.sandbox.slack.workspace import SentEnvelope
from tests.clients.libraries import Library
from tests.clients.program import ClientProgram
from tests.clients.servers import BehindGateway, Server
from tests.support.waiting import SECONDS, wait_until

EVENTS: Final = 20
_TRIES: Final = 8
_SOON: Final = 20.0
_RETRY_EVERY: Final = 2.0
_SENT: Final = {"one": "", "two": "reply", "three": "broadcast", "four": "reply", "five": ""}


class Trial:
    """One library before one server."""

    def __init__(self, library: Library, server: Server, program: ClientProgram) -> None:
        self.library = library
        self.server = server
        self.workspace = server.workspace
        self.program = program
        self.person = self.workspace.person()
        self._said = 0
        self._retry_at = float("inf")

    @property
    def is_rtm(self) -> bool:
        """Whether events are lost on a program that is away."""
        return self.library.face == "RTM"

    def say(self, count: int) -> list[int]:
        """Have a person say numbered things; return the numbers."""
        numbers = list(range(self._said, self._said + count))
        self._said += count
        for number in numbers:
            self.workspace.say("general", f"event {number}")
        return numbers

    def expect(self, numbers: list[int]) -> None:
        """Wait until all of these were handled."""

        def all_there() -> bool:
            is_there = set(numbers) <= set(self.program.said("handled"))
            if not is_there and time.monotonic() > self._retry_at:
                # Slack waits for an acknowledgement that was lost with a connection.
                self._retry_at = time.monotonic() + _RETRY_EVERY
                self.workspace.retry_now()
            return is_there

        self.program.wait(all_there, f"for events {numbers} to be handled", 2 * SECONDS)

    def lose_acknowledgements(self) -> None:
        """Have Slack send again, from now on, what is not acknowledged soon."""
        self._retry_at = time.monotonic() + _RETRY_EVERY

    def hellos(self) -> int:
        """Return how often the program was connected."""
        return len(self.program.said("connected"))

    def ensure_connected(self) -> None:
        """Have the program be there, and take events."""
        if not self.program.is_running:
            before = self.hellos()
            self.program.restart()
            self.program.wait(lambda: self.hellos() > before, "for the connection")
        self.expect(self.say(1))


Scenario: TypeAlias = Callable[[Trial], None]


def connect(trial: Trial) -> None:
    """It connects, and the first event that follows is there."""
    trial.program.wait(lambda: trial.hellos() >= 1, "for the connection")
    trial.expect(trial.say(1))


def events(trial: Trial) -> None:
    """Twenty events come in their order, each once, and Slack knows that they came."""
    numbers = trial.say(EVENTS)
    trial.expect(numbers)
    # What came twice is there before what was said later.
    trial.expect(trial.say(1))
    wait_until(lambda: not trial.workspace.unacknowledged(), what="for acknowledgements")
    handled = [one for one in trial.program.said("handled") if one in numbers]
    assert sorted(handled) == numbers, f"not each once: {handled}"
    arrived = trial.program.said("arrived") or trial.program.said("handled")
    assert [one for one in arrived if one in numbers] == numbers, f"not in order: {arrived}"


def sends(trial: Trial) -> None:
    """Five messages are sent, three of them into a thread, one as a broadcast, and answered."""
    before = len(trial.workspace.sent)
    trial.workspace.say("general", "send")
    trial.program.wait(lambda: len(trial.program.said("sent")) >= len(_SENT), "for five replies")
    took = trial.workspace.sent[before:]
    told = {line["sent"]: line["ts"] for line in trial.program.lines() if "sent" in line}
    assert {one.text: one.ts for one in took} == told, f"{took} {told}"
    first = told["one"]
    shapes = {
        one.text: ("broadcast" if one.reply_broadcast else "reply") if one.thread_ts else ""
        for one in took
    }
    assert shapes == _SENT, shapes
    assert {one.thread_ts for one in took} == {None, first}, took


def slash(trial: Trial) -> None:
    """The answer to a slash command comes with its acknowledgement, and the person sees it."""
    _tries(
        trial,
        lambda: trial.person.slash("/deploy", "now"),
        lambda sent: sent.answer == {"text": "deploying now"},
    )
    wait_until(
        lambda: any(
            one.members.get("text") == "deploying now" for one in trial.workspace.responses
        ),
        what="for the person to see the answer",
    )


def modal(trial: Trial) -> None:
    """A form opens by its trigger, and what the app refuses is shown beside the input."""
    _open_form(trial)
    _tries(
        trial,
        lambda: trial.person.submit({"name": {"name": "taken"}}),
        lambda sent: sent.answer == {"response_action": "errors", "errors": {"name": "is taken"}},
    )
    wait_until(
        lambda: trial.person.view.errors == {"name": "is taken"}, what="for the error in the form"
    )


def select(trial: Trial) -> None:
    """The options of an external select come from the app."""
    _open_form(trial)
    _tries(
        trial,
        lambda: trial.person.suggest("city", "ber"),
        lambda sent: [one["value"] for one in (sent.answer or {}).get("options", [])] == ["berlin"],
    )


def ping(trial: Trial) -> None:
    """A ping of RTM, which is a frame of JSON, is answered."""
    trial.workspace.say("general", "ping")
    trial.program.wait(lambda: trial.program.said("pong"), "for the answer to a ping")


def refresh(trial: Trial) -> None:
    """Slack ends the connection with a word before, or the gateway is restarted."""
    _back_after(trial, trial.server.begin_refresh, trial.server.end_refresh)


def cut(trial: Trial) -> None:
    """The TCP connection is reset."""
    _back_after(trial, trial.server.proxy.reset, lambda: None)


def kill(trial: Trial) -> None:
    """The gateway is killed with -9, and comes back."""
    assert isinstance(trial.server, BehindGateway)
    _back_after(trial, trial.server.kill, trial.server.start)


SOCKET_MODE: Final[Mapping[str, Scenario]] = {
    "connect": connect,
    "events": events,
    "sends": sends,
    "slash": slash,
    "modal": modal,
    "select": select,
    "refresh": refresh,
    "cut": cut,
    "kill": kill,
}
RTM: Final[Mapping[str, Scenario]] = {
    "connect": connect,
    "events": events,
    "sends": sends,
    "ping": ping,
    "refresh": refresh,
    "cut": cut,
    "kill": kill,
}


def _open_form(trial: Trial) -> None:
    for _ in range(_TRIES):
        if trial.person.views:
            return
        trial.person.slash("/form")
        trial.workspace.wait(lambda: trial.person.views, _SOON)
    raise AssertionError(f"no form opened\n{trial.program.errors()}")


def _tries(
    trial: Trial,
    do: Callable[[], SentEnvelope],
    is_right: Callable[[SentEnvelope], bool],
) -> None:
    """Have a person do something until it is answered as it should be."""
    answers: list[object] = []
    for _ in range(_TRIES):
        sent = do()
        trial.workspace.wait(partial(getattr, sent, "acknowledged"), _SOON)
        if is_right(sent):
            return
        answers.append(sent.answer)
    raise AssertionError(f"answered {answers}\n{trial.program.errors()}")


def _back_after(trial: Trial, strike: Callable[[], None], mend: Callable[[], None]) -> None:
    """Strike while a person speaks on; all is handled, over RTM from the return on."""
    before, hellos = trial.say(3), trial.hellos()
    if trial.is_rtm:
        trial.expect(before)
    strike()
    trial.lose_acknowledgements()
    between = trial.say(3)
    mend()
    between += trial.say(3)
    if trial.is_rtm:
        trial.program.wait(lambda: _is_back(trial, hellos), "for the return", 2 * SECONDS)
        trial.expect(trial.say(3))
        return
    trial.expect(before + between)
    trial.expect(trial.say(3))


def _is_back(trial: Trial, hellos: int) -> bool:
    if trial.library.may_end and not trial.program.is_running:
        trial.program.restart()
    return trial.hellos() > hellos
