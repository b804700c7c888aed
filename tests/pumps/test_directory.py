"""Facts about the directory of channel names, against a simulated workspace over sockets."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from rtmpump import config
from rtmpump.core.channel_events import Concerned
from rtmpump.links.lifecycle import Lifecycle, RetryDetails
from rtmpump.links.slack.web_api import SlackApi
from rtmpump.pumps.directory import Directory
from rtmpump.sandbox.slack.faults import HttpAnswer, Reset
from rtmpump.sandbox.slack.workspace import Workspace
from tests.support.links import LinkLog
from tests.support.waiting import wait_until

LIST = "conversations.list"
PATIENCE = 100.0


class Office:
    """A workspace, a running directory, and the answers that it gave."""

    def __init__(self, workspace: Workspace, fresh_for: float = 3600.0) -> None:
        self.workspace = workspace
        self.stop = threading.Event()
        self.later = 0.0
        self.ups: list[str] = []
        self.downs: list[RetryDetails] = []
        slack = config.Slack(token=config.Secret(workspace.token), api_url=workspace.api_url)
        self.directory = Directory(
            SlackApi(slack),
            policy=config.Retry(initial=0.01, max=0.05, jitter="none"),
            lifecycle=Lifecycle(LinkLog(self.ups, self.downs), self.stop),
            fresh_for=fresh_for,
            now=lambda: time.monotonic() + self.later,
        )
        self.answers: queue.Queue[tuple[str, str | None, str]] = queue.Queue()
        self.threads: set[threading.Thread] = set()
        self.thread = threading.Thread(target=self.directory.run, daemon=True)
        self.thread.start()

    def look(self, name: str, *, not_id: str = "") -> str | None:
        """Look a name up; a later answer goes to `answers`."""

        def answer(found: str | None, why: str) -> None:
            self.threads.add(threading.current_thread())
            self.answers.put((name, found, why))

        return self.directory.lookup(name, answer, not_id=not_id)

    def ask(self, name: str, *, not_id: str = "") -> tuple[str | None, str]:
        """Look a name up that isn't known at once; the answer to it."""
        assert self.look(name, not_id=not_id) is None
        told, found, why = self.answers.get(timeout=PATIENCE)
        assert told == name
        return found, why

    @property
    def asked(self) -> int:
        """How often Slack was asked for a list."""
        return sum(call.method == LIST for call in self.workspace.calls)

    def faults(self, *faults: Any) -> None:
        """What the next calls meet."""
        self.workspace.faults.api_errors[LIST] = deque(faults)

    def rename(self, old: str, new: str) -> Concerned:
        """Give a channel another name; what Slack's event says of it."""
        id = self.workspace.channels[new] = self.workspace.channels.pop(old)
        return Concerned(frozenset({id}), frozenset({new}))

    def close(self) -> None:
        """Stop it; it has to end."""
        self.directory.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """One workspace."""
    with Workspace() as workspace:
        yield workspace


@pytest.fixture
def office(workspace: Workspace) -> Iterator[Office]:
    """A directory of it."""
    office = Office(workspace)
    yield office
    office.close()


def test_the_first_lookup_asks_slack(office: Office) -> None:
    """None at once, the id later from the directory's thread; from then on at once."""
    assert office.ask("general") == ("C0GENERAL", "")
    assert office.threads == {office.thread}
    assert (office.look("general"), office.look("secret")) == ("C0GENERAL", "G0SECRET")
    assert office.asked == 1


def test_a_name_that_is_not_there_is_answered_not_found(office: Office) -> None:
    """With a sentence that names it; asked again soon, Slack isn't bothered."""
    found, why = office.ask("nowhere")
    assert (found, why) == (None, "there is no channel 'nowhere' that this token can see")
    assert office.ask("nowhere")[0] is None
    assert office.ask("elsewhere")[0] is None
    assert office.asked == 1


def test_an_old_list_is_not_trusted_with_a_missing_name(workspace: Workspace) -> None:
    """A channel may be new: the list is asked for again, and known names stay at once."""
    office = Office(workspace, fresh_for=0)
    assert office.ask("new") == (None, "there is no channel 'new' that this token can see")
    workspace.channels["new"] = "C0NEW"
    assert office.look("general") == "C0GENERAL"
    assert office.ask("new") == ("C0NEW", "")
    assert office.asked == 2
    office.close()


def test_many_lookups_share_one_refresh(office: Office) -> None:
    """Those that come while Slack is being asked are answered by the same list, each once."""
    office.workspace.down()
    names = ["general", "random", "nowhere", "general"] * 50
    assert {office.look(name) for name in names} == {None}
    office.workspace.up()
    told = [office.answers.get(timeout=PATIENCE) for _ in names]
    assert sorted(name for name, _, _ in told) == sorted(names)
    ids = {"general": "C0GENERAL", "random": "C0RANDOM", "nowhere": None}
    assert all(found == ids[name] for name, found, _ in told)
    assert office.asked == 1
    assert office.answers.empty()


def test_a_change_makes_the_names_of_its_channel_stale(office: Office) -> None:
    """A renamed channel is found under its new name, and no more under the old one."""
    office.ask("general")
    office.directory.changed(office.rename("general", "main"))
    assert office.ask("general")[0] is None
    assert office.look("main") == "C0GENERAL"
    assert office.asked == 2


def test_names_that_did_not_change_stay_known(office: Office) -> None:
    """Neither an event about another channel nor a list under way makes them wait."""
    office.ask("general")
    office.faults(*[Reset()] * 1000)
    office.directory.changed(office.rename("general", "main"))
    assert office.look("random") == "C0RANDOM"
    assert office.look("main") is None
    assert office.workspace.wait(lambda: office.asked > 1, PATIENCE)
    assert office.look("random") == "C0RANDOM"
    office.faults()
    assert office.answers.get(timeout=PATIENCE) == ("main", "C0GENERAL", "")
    assert office.look("general") is None


def test_a_name_that_another_channel_has_now(office: Office) -> None:
    """A new channel under a known name: the old one must not get what is meant for it."""
    office.ask("general")
    office.workspace.channels["general"] = "C0NEW"
    office.directory.changed(Concerned(frozenset({"C0NEW"}), frozenset({"general"})))
    assert office.ask("general") == ("C0NEW", "")


def test_an_event_that_names_no_channel_makes_all_names_stale(office: Office) -> None:
    """And so does a gap, in which any channel may have changed."""
    office.ask("general")
    office.workspace.channels.update(general="C0RANDOM", random="C0GENERAL")
    office.directory.changed()
    assert office.ask("general") == ("C0RANDOM", "")
    assert office.look("random") == "C0GENERAL"


def test_a_change_during_a_refresh_counts(office: Office) -> None:
    """The list that was under way may be of before: the next lookup of that name asks again."""
    office.ask("random")
    office.faults(*[Reset()] * 1000)
    office.directory.changed(Concerned(frozenset({"C0GENERAL"}), frozenset()))
    asked = office.asked
    assert office.look("general") is None
    assert office.workspace.wait(lambda: office.asked > asked, PATIENCE)
    office.directory.changed(Concerned(frozenset({"C0GENERAL"}), frozenset()))
    office.faults()
    assert office.answers.get(timeout=PATIENCE)[1] == "C0GENERAL"
    assert office.look("random") == "C0RANDOM"
    asked = office.asked
    assert office.ask("general") == ("C0GENERAL", "")
    assert office.asked == asked + 1


def test_a_flood_of_events_during_a_refresh(office: Office) -> None:
    """They are not kept without end: then any channel may have changed."""
    office.faults(*[Reset()] * 1000)
    assert office.look("general") is None
    assert office.workspace.wait(lambda: office.asked, PATIENCE)
    for number in range(1500):
        office.directory.changed(Concerned(frozenset({f"C{number}"}), frozenset()))
    office.faults()
    assert office.answers.get(timeout=PATIENCE)[1] == "C0GENERAL"
    assert office.ask("random") == ("C0RANDOM", "")


def test_a_name_that_changed_in_silence_is_right_after_ten_minutes(office: Office) -> None:
    """An app need not subscribe to these events; a name that nobody used in that time waits."""
    office.ask("general")
    office.rename("general", "main")
    office.workspace.channels["general"] = "C0NEW"
    assert office.look("general") == "C0GENERAL"
    office.later = 600.0
    assert office.ask("general") == ("C0NEW", "")
    assert office.look("main") == "C0GENERAL"


def test_names_in_use_are_asked_for_again_before_they_are_too_old(office: Office) -> None:
    """No lookup waits, and no name is more than ten minutes old."""
    office.ask("general")
    office.workspace.channels["general"] = "C0NEW"
    office.later = 200.0
    assert office.look("general") == "C0GENERAL"
    assert office.asked == 1
    office.later = 310.0
    assert office.look("general") == "C0GENERAL"
    assert office.workspace.wait(lambda: office.asked == 2, PATIENCE)
    wait_until(lambda: office.look("general") == "C0NEW")
    assert office.asked == 2


def test_a_name_is_as_old_as_the_question_for_it(office: Office) -> None:
    """A list of many pages takes minutes, and its first page is of their beginning."""
    office.faults(*[Reset()] * 1000)
    assert office.look("general") is None
    assert office.workspace.wait(lambda: office.asked, PATIENCE)
    office.later = 400.0
    office.faults()
    assert office.answers.get(timeout=PATIENCE)[1] == "C0GENERAL"
    office.later = 650.0
    assert office.ask("general") == ("C0GENERAL", "")


def test_a_list_that_is_refused_while_names_are_known(office: Office) -> None:
    """They stay known for their ten minutes, and Slack is asked once a minute, not each time."""
    office.ask("general")
    office.faults(*["team_access_not_granted"] * 100)
    office.later = 310.0
    assert office.look("general") == "C0GENERAL"
    assert office.workspace.wait(lambda: office.asked == 2, PATIENCE)
    wait_until(lambda: office.downs)
    for _ in range(20):
        assert office.look("general") == "C0GENERAL"
        # The directory had its turn when it answers this.
        assert "team_access_not_granted" in office.ask("nowhere")[1]
    assert office.asked == 2
    office.later = 600.0
    assert "team_access_not_granted" in office.ask("general")[1]


def test_an_id_that_slack_refused_is_looked_up_anew(workspace: Workspace) -> None:
    """Another channel may have the name by now; the answer may be the same id still."""
    office = Office(workspace, fresh_for=0)
    office.ask("general")
    assert office.ask("general", not_id="C0GENERAL") == ("C0GENERAL", "")
    workspace.channels["general"] = "C0NEW"
    assert office.look("general") == "C0GENERAL"
    assert office.ask("general", not_id="C0GENERAL") == ("C0NEW", "")
    assert office.look("general", not_id="C0GENERAL") == "C0NEW"
    assert office.asked == 3
    office.close()


def test_many_refused_ids_cost_few_lists(office: Office) -> None:
    """The first one asks anew; what that list said is believed for a moment."""
    office.ask("general")
    for _ in range(20):
        assert office.ask("general", not_id="C0GENERAL") == ("C0GENERAL", "")
    assert office.asked == 2


def test_a_name_is_found_however_its_accents_are_written(office: Office) -> None:
    """Slack may keep them decomposed."""
    office.workspace.channels["cafe\u0301"] = "C0CAFE"
    assert office.ask("caf\u00e9") == ("C0CAFE", "")


def test_trouble_with_the_list_is_reported_as_that_of_a_link(office: Office) -> None:
    """Each try with its reason; once it is over, that as well; and nothing where there is none."""
    assert office.ask("general") == ("C0GENERAL", "")
    assert (office.ups, office.downs) == ([], [])
    office.directory.changed()
    office.faults("invalid_auth", Reset(), Reset())
    assert office.ask("general") == ("C0GENERAL", "")
    assert {retry.link for retry in office.downs} == {"channel_list"}
    assert [retry.attempt for retry in office.downs] == [1, 2, 3]
    assert office.downs[0].reason == "invalid_auth"
    assert office.ups == ["3 channels"]


def test_transient_errors_keep_lookups_waiting(office: Office) -> None:
    """Resets, HTML, rate limits and a bad token: none is lost, one answer at the end."""
    slow = HttpAnswer(429, {"Retry-After": "1"})
    office.faults(Reset(), HttpAnswer(500), "internal_error", "odd_code", "invalid_auth", slow)
    assert office.ask("general") == ("C0GENERAL", "")
    assert office.asked == 7
    assert office.answers.empty()
    times = [call.time for call in office.workspace.calls]
    assert times[-1] - times[-2] >= 0.9


@pytest.mark.parametrize(
    "code",
    [
        "missing_scope",
        "unknown_method",
        "access_denied",
        "missing_argument",
        "team_access_not_granted",
    ],
)
def test_a_refused_list_answers_all_with_its_code(office: Office, code: str) -> None:
    """What no try can mend answers all that wait, and is not asked for again at once."""
    messages = {"messages": ["[ERROR] in Slack's words"]}
    refusal = {"ok": False, "error": code, "response_metadata": messages}
    office.faults(refusal, refusal)
    found, why = office.ask("general")
    assert (found, code in why, "[ERROR] in Slack's words" in why) == (None, True, True)
    assert [retry.reason for retry in office.downs] == [code]
    asked = office.asked
    assert code in office.ask("random")[1]
    assert office.asked == asked
    office.faults()
    office.directory.changed()
    assert office.ask("general") == ("C0GENERAL", "")


def test_a_stop_leaves_who_waits_unanswered(office: Office) -> None:
    """While Slack is away it ends promptly, and no answer says "not found"."""
    office.workspace.down()
    assert office.look("general") is None
    office.close()
    assert office.answers.empty()


def test_nothing_is_answered_after_a_stop(office: Office) -> None:
    """Not even what the list that is there could answer: the end comes first."""
    assert office.ask("nowhere")[0] is None
    office.close()
    assert office.look("nowhere") is None
    office.directory.run()
    assert office.answers.empty()


def test_a_stop_is_noticed_without_a_wake(office: Office) -> None:
    """Nobody has to call wake(), it is only faster."""
    office.stop.set()
    office.thread.join(PATIENCE)
    assert not office.thread.is_alive()


def test_bugs_go_through(workspace: Workspace) -> None:
    """An answer that raises ends the thread's work with its error: nothing is swallowed."""
    slack = config.Slack(token=config.Secret(workspace.token), api_url=workspace.api_url)
    directory = Directory(SlackApi(slack), policy=config.Retry(), lifecycle=Lifecycle())

    def answer(_found: str | None, _why: str) -> None:
        raise KeyError("bug")

    assert directory.lookup("general", answer) is None
    with pytest.raises(KeyError, match="bug"):
        directory.run()
