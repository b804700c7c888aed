"""Facts about `rtmpump check` where programs of the gateway are configured."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from tests.support.cli import environment, rtmpump

TOKEN = "Gateway-Token-0123456789abcdef"
OWN = '[http]\nlisten = "127.0.0.1:0"\n[gateway]\nlisten = "127.0.0.1:0"\n'


def check(folder: Path, text: str) -> tuple[int, str, str]:
    """Run `rtmpump check` on a configuration; return its exit code and what it prints."""
    file = folder / "config.toml"
    file.write_text(text)
    file.chmod(0o600)
    done = rtmpump(folder, "check", env={"SLACK_API_TOKEN": "xoxb-1"})
    assert TOKEN not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def token_file(folder: Path, text: str, name: str = "helpdesk") -> str:
    """Write a file with a token for its owner alone; return the key that names it."""
    file = folder / name
    file.write_text(text)
    file.chmod(0o600)
    return f'token_file = "{file}"\n'


def pair(folder: Path, name: str, until: datetime | None = None) -> str:
    """Write a certificate and its key; return the keys that name them."""
    made = trustme.CA().issue_cert("127.0.0.1", not_after=until)
    cert, key = folder / f"{name}-cert.pem", folder / f"{name}-key.pem"
    made.cert_chain_pems[0].write_to_path(str(cert))
    made.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    return f'tls_cert = "{cert}"\ntls_key = "{key}"\n'


def test_all_is_well(tmp_path: Path) -> None:
    """The files are read, and the port and the certificate are named."""
    text = f"{OWN}{pair(tmp_path, 'a')}[gateway.clients.helpdesk]\n"
    code, out, errors = check(tmp_path, text + token_file(tmp_path, f"xapp-{TOKEN}\n"))
    assert (code, errors) == (0, "")
    assert f"gateway.clients.helpdesk.token_file = {tmp_path}/helpdesk  (config.toml:" in out
    assert f"certificate of the gateway {tmp_path}/a-cert.pem: good until " in out
    assert "port 127.0.0.1:0 of the gateway: free\n" in out


def test_without_programs_nothing_of_the_gateway_is_looked_at(tmp_path: Path) -> None:
    """Who does not use it needs neither its library nor its port."""
    code, out, _ = check(tmp_path, OWN)
    assert (code, "of the gateway" in out) == (0, False)


@pytest.mark.parametrize(
    ("content", "problem", "fix"),
    [
        (None, "can't read the file: no such file or directory", "make one with: openssl"),
        ("\n", "the file must hold one line, the token; it has 0", "make one with: openssl"),
        (f"{TOKEN}\n{TOKEN}\n", "the file must hold one line, the token; it has 2", "make one"),
        ("xoxb-too-short", "must have at least 24 characters behind xoxb- or xapp-", "make one"),
    ],
)
def test_a_token_file_that_is_wrong(
    tmp_path: Path, content: str | None, problem: str, fix: str
) -> None:
    """One line: the place of the key, the key, the file, and what to do."""
    key = token_file(tmp_path, content or "")
    if content is None:
        (tmp_path / "helpdesk").unlink()
    code, _, errors = check(tmp_path, f"{OWN}[gateway.clients.helpdesk]\n{key}")
    assert code == 78
    where = "config.toml:6: gateway.clients.helpdesk.token_file"
    assert errors.startswith(f"rtmpump: {where}: {tmp_path}/helpdesk: {problem}; {fix}")
    assert errors.count("\n") == 1


def test_a_token_in_the_place_of_its_file_is_not_shown(tmp_path: Path) -> None:
    """What may be a token never gets into an error."""
    code, _, errors = check(tmp_path, f'[gateway.clients.helpdesk]\ntoken_file = "{TOKEN}"\n')
    assert code == 78
    wanted = "gateway.clients.helpdesk.token_file: can't read the file: no such file or directory"
    assert errors.startswith(f"rtmpump: config.toml:2: {wanted}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_token_file_that_is_closed(tmp_path: Path) -> None:
    """For this user."""
    key = token_file(tmp_path, TOKEN)
    (tmp_path / "helpdesk").chmod(0)
    code, _, errors = check(tmp_path, f"[gateway.clients.helpdesk]\n{key}")
    assert (code, "can't read the file: permission denied" in errors) == (78, True)


def test_two_programs_with_one_token(tmp_path: Path) -> None:
    """In two files it is still one."""
    text = f"{OWN}[gateway.clients.a]\n{token_file(tmp_path, TOKEN, 'a')}"
    text += f"[gateway.clients.b]\n{token_file(tmp_path, f'xoxb-{TOKEN}', 'b')}"
    code, _, errors = check(tmp_path, text)
    assert code == 78
    keys = "gateway.clients.b.token_file and gateway.clients.a.token_file must differ"
    assert errors == f"rtmpump: config.toml:8: {keys}: make one with: openssl rand -hex 24\n"


def test_a_token_file_that_all_may_read(tmp_path: Path) -> None:
    """A warning, as for the tokens of Slack, with what to do."""
    key = token_file(tmp_path, TOKEN)
    (tmp_path / "helpdesk").chmod(0o644)
    code, _, errors = check(tmp_path, f"{OWN}[gateway.clients.helpdesk]\n{key}")
    assert code == 0
    what = "gateway.clients.helpdesk.token_file: all users may read it; chmod o= "
    assert f"warning: {tmp_path}/helpdesk (mode 0644): {what}{tmp_path}/helpdesk" in errors


def test_certificates_that_nobody_would_take(tmp_path: Path) -> None:
    """One that has expired, one with the key of another, one that is not there."""
    client = f'[gateway.clients.a]\ntoken = "{TOKEN}"\n'
    old = pair(tmp_path, "old", datetime(2024, 1, 1, tzinfo=UTC))
    code, _, errors = check(tmp_path, OWN + old + client)
    assert (code, errors) == (
        78,
        "rtmpump: gateway.tls_cert: certificate has expired; renew it\n",
    )
    mixed = pair(tmp_path, "new").splitlines()[0] + "\n" + old.splitlines()[1] + "\n"
    code, _, errors = check(tmp_path, OWN + mixed + client)
    assert code == 78
    assert "gateway.tls_cert or tls_key: can't be loaded: [X509: KEY_VALUES_MISMATCH]" in errors
    (tmp_path / "old-key.pem").unlink()
    code, _, errors = check(tmp_path, OWN + old + client)
    assert (code, "No such file or directory" in errors) == (78, True)


def test_a_port_that_another_program_has(tmp_path: Path) -> None:
    """The error names the key of the gateway."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        text = OWN.replace('[gateway]\nlisten = "127.0.0.1:0"', f'[gateway]\nlisten = "{listen}"')
        code, _, errors = check(tmp_path, f'{text}[gateway.clients.a]\ntoken = "{TOKEN}"\n')
    problem = f"gateway.listen: can't listen on {listen}: Address already in use"
    assert (code, errors) == (1, f"rtmpump: {problem}; choose another port\n")


def test_the_extra_is_missing(tmp_path: Path) -> None:
    """It says what to install, as `rtmpump gateway` itself does."""
    (tmp_path / "config.toml").write_text(f'{OWN}[gateway.clients.a]\ntoken = "{TOKEN}"\n')
    (tmp_path / "config.toml").chmod(0o600)
    code = "import sys; sys.modules['aiohttp'] = None; from rtmpump.cli import main; main()"
    for command in ("check", "gateway"):
        done = subprocess.run(
            [sys.executable, "-c", code, command],
            cwd=tmp_path,
            env=environment({"SLACK_API_TOKEN": "xoxb-1"}),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        fix = "rtmpump gateway needs aiohttp; install it with pip install 'rtmpump[gateway]'"
        assert (done.returncode, done.stderr) == (78, f"rtmpump: {fix}\n")


def test_it_warns_of_what_a_program_would_miss(tmp_path: Path) -> None:
    """What is allowed and does nothing is named with its key and what to do."""
    text = (
        f'{OWN}[slack]\nmode = "socket"\ntoken = "xoxb-1"\napp_token = "xapp-1"\n'
        '[outbound]\napi_methods = ["views.open"]\n[events]\nignore = ["user_typing"]\n'
        f'[gateway.clients.a]\ntoken = "{TOKEN}"\napi_methods = ["views.open", "reactions.add"]\n'
        'events = ["interactive.#", "user_typing", "rtmpump.#", "message"]\n'
    )
    code, _, errors = check(tmp_path, text)
    assert code == 0
    begin = "rtmpump: warning: gateway.clients.a."
    assert [line for line in errors.splitlines() if line.startswith(begin)] == [
        f"{begin}api_methods: the pump's list lacks reactions.add, so these calls fail with "
        "not_allowed; add them to outbound.api_methods",
        f"{begin}events: events.ignore names user_typing, so it is not published; "
        "take it out of one of the two",
        f"{begin}events: rtmpump.# goes to no program; leave it out",
        f"{begin}events: what the program answers to interactive.view_submission, "
        "interactive.block_suggestion does not reach Slack; "
        "add it to slack.answered, unless it gives no answers",
    ]
