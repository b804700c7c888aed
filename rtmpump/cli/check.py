"""`check`: is the configuration right, and do Slack and RabbitMQ accept it?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import msgspec

from rtmpump.cli.common import Loaded, config_option, load, one_line, print_json, risks, start_log
from rtmpump.config import Broker, Config, Slack
from rtmpump.config.sources import from_env, from_file
from rtmpump.errors import (
    EXIT_CONFIG,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    LinkError,
    RtmpumpError,
    TokenRefused,
)
from rtmpump.links.rabbitmq.client import BrokerClient
from rtmpump.links.rabbitmq.topology import Exchange, Queue, lock, outbound
from rtmpump.links.slack.web_api import SlackApi

_TOKENS: Final = (
    ("slack.token", "SLACK_API_TOKEN", "slack-token"),
    ("slack.app_token", "SLACK_APP_TOKEN", "slack-app-token"),
)
_WORST_FIRST: Final = (EXIT_CONFIG, EXIT_UNREACHABLE, EXIT_FAILED)


@click.command()
@config_option
@click.option("--connect", is_flag=True, help="Ask Slack and RabbitMQ as well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def check(config_file: str | None, connect: bool, as_json: bool) -> None:
    """Validate the configuration; with --connect ask Slack and RabbitMQ too.

    For Slack it calls rtm.connect once (Slack allows about one call a minute), in Socket Mode
    apps.connections.open; it opens no WebSocket. In RabbitMQ it declares nothing.
    """
    try:
        loaded = load(config_file, need_token=True)
    except RtmpumpError as error:
        if as_json:
            print_json({"ok": False, "problem": one_line(str(error))})
        raise
    start_log(loaded.config)
    report = _report(loaded)
    if not as_json:
        _print_config(report)
        for risk in report["risks"]:
            click.echo(one_line(f"rtmpump: warning: {_in_words(risk)}"), err=True)
    if connect:
        for service, ask in _SERVICES.items():
            report[service] = _asked(ask, loaded.config)
            if not as_json:
                _print_service(service, report[service])
    report["ok"] = all(report[service]["ok"] for service in _SERVICES if service in report)
    if as_json:
        print_json({key: value for key, value in report.items() if key != "exit"})
    sys.exit(_exit_code(report))


def _report(loaded: Loaded) -> dict[str, Any]:
    return {
        "ok": True,
        "file": str(loaded.file) if loaded.file else None,
        "risks": risks(loaded),
        "values": {
            name: {"value": _shown(_value(loaded.config, name)), "from": where}
            for name, where in _sources(loaded, os.environ).items()
        },
    }


def _in_words(risk: Mapping[str, str]) -> str:
    where = f"{risk['file']} (mode {risk['mode']})" if "file" in risk else ""
    return (
        ": ".join(part for part in (where, risk["key"], risk["risk"]) if part) + f"; {risk['fix']}"
    )


def _sources(loaded: Loaded, env: Mapping[str, str]) -> dict[str, str]:
    """Return for each key that is set where its value comes from; later sources win."""
    names = {
        section.name: tuple(field.name for field in msgspec.structs.fields(section.type))
        for section in msgspec.structs.fields(Config)
    }
    given = [*(from_file(loaded.file, names) if loaded.file else []), *from_env(env, names)]
    sources = {one.name: one.where for one in given}
    slack = loaded.config.slack
    for token, variable, credential in _TOKENS[: 2 if slack.mode == "socket" else 1]:
        by_key = [one.where for one in given if one.name == token and one.value]
        others = _token_source(slack, env, token, variable, credential)
        sources[token] = by_key[-1] if by_key else others
    return sources


def _token_source(
    slack: Slack, env: Mapping[str, str], token: str, variable: str, credential: str
) -> str:
    """Return which source other than its key gave a token, in the order of `load`."""
    if env.get(variable, "").strip():
        return variable
    file = f"{token}_file"
    if getattr(slack, file.partition(".")[2]):
        return file
    return str(Path(env.get("CREDENTIALS_DIRECTORY", ""), credential))


def _value(config: Config, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(config, section), key)


def _shown(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | frozenset):
        return sorted(str(item) for item in value)
    return str(value)


def _asked(ask: Callable[[Config], dict[str, Any]], config: Config) -> dict[str, Any]:
    """Ask one service; put an error into the report."""
    try:
        return {"ok": True, "exit": EXIT_DONE, **ask(config)}
    except LinkError as error:
        problem = f"is not reachable: {error.detail or error.reason}"
        return {"ok": False, "exit": EXIT_UNREACHABLE, "problem": one_line(problem)}
    except TokenRefused as error:
        problem = f"refused the token ({error.code}); {error.fix}"
        return {"ok": False, "exit": error.exit_code, "problem": one_line(problem)}
    except RtmpumpError as error:
        return {"ok": False, "exit": error.exit_code, "problem": one_line(str(error))}


def _ask_slack(config: Config) -> dict[str, Any]:
    """Ask whose the token is, then make the only call that proves RTM (or Socket Mode)."""
    api = SlackApi(config.slack)
    may = "rtm.connect: this token may use RTM"
    if config.slack.mode == "socket":
        may = "apps.connections.open: the app-level token may use Socket Mode"
    api.auth_test()
    connected = api.sign_in()
    return {
        "team": connected.team,
        "team_name": connected.team_name,
        "bot": connected.bot,
        "bot_name": connected.bot_name,
        "said": [
            f"auth.test: the token is good, of {connected.bot_name} ({connected.bot}) "
            f"in {connected.team_name} ({connected.team})",
            may,
        ],
    }


def _ask_rabbitmq(config: Config) -> dict[str, Any]:
    """Connect with the URLs of the configuration, and ask for what must exist."""
    asked = [_look(config.broker, item) for item in _items(config)]
    node, vhost = asked[0].node, asked[0].vhost
    missing = [look.name for look in asked if not look.is_there]
    said = [f"connected to {node}, vhost {vhost}"]
    said += [f"{look.name} is there" for look in asked if look.is_there]
    said += [f"{name} is not there{_will_be(config.broker)}" for name in missing]
    there = {look.name: look.is_there for look in asked}
    facts: dict[str, Any] = {"node": node, "vhost": vhost, "there": there, "said": said}
    if missing and config.broker.declare != "active":
        problem = f"misses {', '.join(missing)}; import what `rtmpump topology --json` prints"
        facts |= {"ok": False, "exit": EXIT_FAILED, "problem": one_line(problem)}
    return facts


class _Look(NamedTuple):
    """The result of one look: does this exchange or queue exist?"""

    node: str
    vhost: str
    name: str
    is_there: bool


def _items(config: Config) -> list[Exchange | Queue]:
    queues = [item for item in outbound(config.outbound) if isinstance(item, Queue)]
    election = [lock(config.ha.lock)] if config.ha.enabled else []
    return [Exchange(config.events.exchange, "topic", {}), *queues, *election]


def _look(broker: Broker, item: Exchange | Queue) -> _Look:
    """Ask on a connection of its own: for a missing item the broker closes the channel."""
    with BrokerClient("check", broker) as client:
        node, vhost = client.node, client.vhost
        try:
            client.passive(item)
        except LinkError as error:
            if error.reason != "not_found":
                raise
            return _Look(node, vhost, item.name, False)
        return _Look(node, vhost, item.name, True)


def _will_be(broker: Broker) -> str:
    return " yet; `rtmpump run` declares it" if broker.declare == "active" else ""


_SERVICES: Final[dict[str, Callable[[Config], dict[str, Any]]]] = {
    "slack": _ask_slack,
    "rabbitmq": _ask_rabbitmq,
}
_NAMES: Final = {"slack": "Slack", "rabbitmq": "RabbitMQ"}


def _print_config(report: dict[str, Any]) -> None:
    click.echo(one_line(f"file: {report['file'] or 'none, defaults and environment alone'}"))
    for name, entry in report["values"].items():
        click.echo(one_line(f"  {name} = {entry['value']}  (from {entry['from']})"))
    click.echo("config is fine")


def _print_service(service: str, result: dict[str, Any]) -> None:
    for line in result.get("said", ()):
        click.echo(one_line(f"{_NAMES[service]}: {line}"))
    if not result["ok"]:
        click.echo(one_line(f"rtmpump: {_NAMES[service]} {result['problem']}"), err=True)


def _exit_code(report: dict[str, Any]) -> int:
    codes = [report[service]["exit"] for service in _SERVICES if service in report]
    return next((code for code in _WORST_FIRST if code in codes), EXIT_DONE)
