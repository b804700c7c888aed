"""`check`: is the configuration right, and do Slack and RabbitMQ accept it?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import click

from rtmpump.cli.common import Loaded, config_option, load, one_line, print_json, risks, start_log
from rtmpump.cli.gateway_preflight import look_at_gateway
from rtmpump.cli.preflight import Finding, look
from rtmpump.config import Broker, Config, origins
from rtmpump.errors import (
    EXIT_CONFIG,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    ConfigError,
    LinkError,
    RtmpumpError,
    TokenRefused,
)
from rtmpump.links.rabbitmq.client import BrokerClient
from rtmpump.links.rabbitmq.topology import Exchange, Queue, lock, outbound
from rtmpump.links.slack.web_api import SlackApi

_WORST_FIRST: Final = (EXIT_CONFIG, EXIT_UNREACHABLE, EXIT_FAILED)


@click.command()
@config_option
@click.option("--connect", is_flag=True, help="Ask Slack and RabbitMQ as well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def check(config_file: str | None, connect: bool, as_json: bool) -> None:
    """Find all that `run` would stumble over; with --connect ask Slack and RabbitMQ too.

    It reads the configuration and the files that it names, and looks at the spool and the port. It
    shows what differs from the defaults. Where the configuration has programs of the gateway, it
    finds what `gateway` would stumble over as well.

    For Slack it calls rtm.connect once (Slack allows about one call a minute), in Socket Mode
    apps.connections.open; it opens no WebSocket. In RabbitMQ it declares nothing.

    \b
    rtmpump check --connect -c /etc/rtmpump/config.toml
    rtmpump check --unit rtmpump && systemctl restart rtmpump
    rtmpump check --unit rtmpump-gateway && systemctl restart rtmpump-gateway
    """  # noqa: D301 - click wants this control character
    try:
        loaded = load(config_file, need_token=True, need_clients=True)
        if not loaded.has_pump:
            loaded.require_clients()
    except RtmpumpError as error:
        if as_json:
            mistakes = [error, *error.more] if isinstance(error, ConfigError) else [error]
            print_json({"ok": False, "problems": [one_line(str(one)) for one in mistakes]})
        raise
    start_log(loaded.config)
    sys.exit(report_on(loaded, connect=connect, as_json=as_json))


def report_on(
    loaded: Loaded, *, connect: bool, as_json: bool = False, on_this_machine: bool = True
) -> int:
    """Check and print; return the exit code.

    `on_this_machine`: the daemon runs here as this user, so spool and port are looked at too.
    """
    findings = list(look(loaded)) if on_this_machine else []
    if on_this_machine and loaded.has_gateway:
        findings += look_at_gateway(loaded)
    report = _report(loaded, findings)
    if not as_json:
        _print_config(report)
    if connect:
        for service, ask in _services(loaded).items():
            report[service] = _asked(ask, loaded.to_connect())
            if not as_json:
                _print_service(service, report[service])
    good = [report[service]["ok"] for service in _SERVICES if service in report]
    report["ok"] = all(good) and not report["problems"]
    if as_json:
        print_json({key: value for key, value in report.items() if key != "exit"})
    return _exit_code(report)


def _report(loaded: Loaded, findings: list[Finding]) -> dict[str, Any]:
    errors = [finding.error for finding in findings if finding.error is not None]
    return {
        "ok": True,
        "file": str(loaded.file) if loaded.file else None,
        "unit": loaded.unit.name if loaded.unit else None,
        "risks": risks(loaded),
        "values": {
            name: {"value": origin.value, "from": origin.where}
            for name, origin in origins(
                loaded.config, loaded.file, loaded.env, has_tokens=loaded.has_pump
            ).items()
        },
        "said": [finding.said for finding in findings if finding.error is None],
        "problems": [str(error) for error in errors],
        "exit": errors[0].exit_code if errors else EXIT_DONE,
    }


def _in_words(risk: Mapping[str, str]) -> str:
    where = f"{risk['file']} (mode {risk['mode']})" if "file" in risk else ""
    return (
        ": ".join(part for part in (where, risk["key"], risk["risk"]) if part) + f"; {risk['fix']}"
    )


def _asked(ask: Callable[[Config], dict[str, Any]], config: Config) -> dict[str, Any]:
    """Ask one service; put an error into the report."""
    try:
        return {"ok": True, "exit": EXIT_DONE, **ask(config)}
    except LinkError as error:
        problem = f"is not reachable: {error.problem}"
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


def _services(loaded: Loaded) -> dict[str, Callable[[Config], dict[str, Any]]]:
    """Return whom to ask: the gateway has no token for Slack."""
    return {name: ask for name, ask in _SERVICES.items() if loaded.has_pump or name == "rabbitmq"}


_NAMES: Final = {"slack": "Slack", "rabbitmq": "RabbitMQ"}


def _print_config(report: dict[str, Any]) -> None:
    where = report["file"] or "no configuration file, only the environment"
    unit = f", as {report['unit']} runs it" if report["unit"] else ""
    click.echo(one_line(f"{where}{unit}; what differs from the defaults:"))
    width = max(map(len, report["values"]))
    for name, entry in report["values"].items():
        click.echo(one_line(f"  {name:<{width}} = {entry['value']}  ({entry['from']})"))
    for said in report["said"]:
        click.echo(one_line(said))
    for risk in report["risks"]:
        click.echo(one_line(f"rtmpump: warning: {_in_words(risk)}"), err=True)
    for problem in report["problems"]:
        click.echo(one_line(f"rtmpump: {problem}"), err=True)
    if not report["problems"]:
        click.echo("the configuration is fine")


def _print_service(service: str, result: dict[str, Any]) -> None:
    for line in result.get("said", ()):
        click.echo(one_line(f"{_NAMES[service]}: {line}"))
    if not result["ok"]:
        click.echo(one_line(f"rtmpump: {_NAMES[service]} {result['problem']}"), err=True)


def _exit_code(report: dict[str, Any]) -> int:
    codes = [report["exit"]]
    codes += [report[service]["exit"] for service in _SERVICES if service in report]
    return next((code for code in _WORST_FIRST if code in codes), EXIT_DONE)
