"""What a systemd unit gives to the daemon, so that another command can take the same.

Laws:

- The unit's text is what `systemctl cat` prints: the files that systemd would load, in their order.
- Credentials are copied into a folder that only the service's user may read, for as long as the
  command runs. Nothing of a credential is printed.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from rtmpump.config.mistakes import Mistakes
from rtmpump.config.values import reason
from rtmpump.errors import ConfigError, RtmpumpError

_SECONDS: Final = 30
# One of those that systemd gives to DynamicUser= (systemd.exec(5)); it stands for any of them.
_DYNAMIC: Final = 61184
# What systemd sets for a service with these settings, or what would configure another rtmpump.
_NOT_INHERITED: Final = ("RTMPUMP_", "SLACK_", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY")
_SECTION: Final = re.compile(r"\[(.+)\]$")


class UnitRun(NamedTuple):
    """How the unit runs the daemon: its environment, its `-c FILE`, its user, where it may write.

    `user` is None for a command that does not run as root, which can't become another user;
    `folder` is where relative paths begin, `states` are the folders that systemd makes for it.
    """

    name: str
    env: dict[str, str]
    config_file: str | None
    user: int | None
    folder: str
    states: tuple[str, ...]
    writable: tuple[str, ...]

    def makes(self, path: Path) -> bool:
        """Return whether systemd makes the folder of this file (StateDirectory=)."""
        return any(path.is_relative_to(folder) for folder in self.states)

    def may_write(self, path: Path) -> bool:
        """Return whether the service may write there (ProtectSystem=, ReadWritePaths=)."""
        return any(path.is_relative_to(folder) for folder in self.writable)

    def require_readable(self, files: Mapping[str, str]) -> None:
        """Open each file as the service's user; `files` are paths by their keys.

        Raises:
            ConfigError: one can't be read.
        """
        mistakes = Mistakes()
        with self.as_user():
            for key, file in files.items():
                try:
                    os.close(os.open(file, os.O_RDONLY))
                except OSError as error:
                    problem = f"the user of {self.name} can't read {file}: {reason(error)}"
                    mistakes.add(ConfigError(problem, key=key))
        mistakes.raise_all()

    @contextmanager
    def as_user(self) -> Iterator[None]:
        """Let files be opened and asked for as the service's user, with its own group alone.

        Nothing may be imported in it: that user need not be able to read this program.
        """
        if self.user is None:
            yield
            return
        groups = os.getgroups()
        os.setgroups([])
        os.setegid(_group(self.user))
        os.seteuid(self.user)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)


@contextmanager
def run_of(name: str, env: Mapping[str, str]) -> Iterator[UnitRun]:
    """Ask systemd for a unit, such as `rtmpump` or `rtmpump@acme`; `env` is this command's own.

    Raises:
        RtmpumpError: there is no systemd or no such unit, it does not run rtmpump, or a credential
            of it can't be read.
    """
    name = name if name.endswith(".service") else f"{name}.service"
    text = _cat(name)
    with tempfile.TemporaryDirectory(prefix="rtmpump-") as folder:
        settings = _Settings(name, text, folder)
        run = _run(settings, folder, env)
        _copy_credentials(settings, Path(folder), run.user)
        yield run


def _cat(name: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the name is one argument, after "--"
            ["systemctl", "cat", "--no-pager", "--", name],  # noqa: S607 - where PATH has it
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise RtmpumpError("--unit needs systemd, and there is no systemctl here") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RtmpumpError(f"--unit {name}: systemctl cat failed: {error}") from error
    if done.returncode:
        problem = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise RtmpumpError(f"--unit {name}: systemctl cat failed: {problem}")
    return done.stdout


class _Settings:
    """The section [Service] of a unit and its drop-ins (systemd.syntax(7)), specifiers filled in.

    `%d` becomes `folder`.
    """

    def __init__(self, name: str, text: str, folder: str) -> None:
        self.name = name
        prefix, _, instance = name.removesuffix(".service").partition("@")
        self.prefix = prefix
        self._specifiers = {
            **{"%": "%", "i": instance, "I": instance, "p": prefix, "P": prefix, "n": name},
            **{"N": name.removesuffix(".service"), "d": folder},
            **{"S": "/var/lib", "E": "/etc", "C": "/var/cache", "L": "/var/log", "t": "/run"},
        }
        self._values: dict[str, list[str]] = {}
        section = ""
        for line in text.replace("\\\n", " ").splitlines():
            if header := _SECTION.match(line.strip()):
                section = header[1]
            elif section == "Service" and not line.lstrip().startswith(("#", ";")):
                key, _, value = line.partition("=")
                self._assign(key.strip(), value.strip())

    def _assign(self, key: str, value: str) -> None:
        if value:
            self._values.setdefault(key, []).append(value)
        else:
            self._values.pop(key, None)

    def all(self, key: str) -> list[str]:
        """Return all values of a setting that is a list, without those that were reset."""
        return [
            re.sub("%(.)", lambda found: self._specifiers.get(found[1], found[0]), value)
            for value in self._values.get(key, [])
        ]

    def last(self, key: str) -> str:
        """Return the value of a setting, "" if it has none."""
        return next(reversed(self.all(key)), "")

    def words(self, key: str) -> list[str]:
        """Return the words of all values, in which quotes count."""
        return [word for value in self.all(key) for word in shlex.split(value)]


def _run(settings: _Settings, folder: str, own: Mapping[str, str]) -> UnitRun:
    command = shlex.split(settings.last("ExecStart"))
    if "run" not in command[1:]:
        raise RtmpumpError(f"--unit {settings.name}: it does not start `rtmpump run`")
    env = {key: value for key, value in own.items() if not key.startswith(_NOT_INHERITED)}
    env |= dict(_variable(word) for word in settings.words("Environment"))
    for file in settings.all("EnvironmentFile"):
        env |= _in_file(settings.name, file)
    env |= {"CREDENTIALS_DIRECTORY": folder, "INVOCATION_ID": "0"}
    states = [f"/var/lib/{name}" for name in settings.words("StateDirectory")]
    if states:
        env["STATE_DIRECTORY"] = ":".join(states)
    own_paths = [path.lstrip("-+") for path in settings.words("ReadWritePaths")]
    start = settings.last("WorkingDirectory").lstrip("-") or "/"
    config_file = _named_config(command) or env.get("RTMPUMP_CONFIG")
    return UnitRun(
        settings.name,
        env,
        str(Path(start, config_file)) if config_file else None,
        _user(settings, states) if os.geteuid() == 0 else None,
        start,
        tuple(states),
        tuple([*states, *own_paths] if settings.last("ProtectSystem") == "strict" else ["/"]),
    )


def _named_config(command: list[str]) -> str | None:
    for option, file in pairwise(command):
        if option in ("-c", "--config"):
            return file
    return None


def _variable(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def _in_file(name: str, file: str) -> dict[str, str]:
    """Read an EnvironmentFile=; one with `-` before it may be missing."""
    try:
        text = Path(file.lstrip("-")).read_text("utf-8")
    except OSError as error:
        if file.startswith("-") and isinstance(error, FileNotFoundError):
            return {}
        raise _unreadable(name, f"EnvironmentFile {file}", error) from error
    lines = (shlex.split(line, comments=True) for line in text.splitlines())
    return dict(_variable(line[0]) for line in lines if line)


def _user(settings: _Settings, states: list[str]) -> int:
    """Return the user that the service runs as; a dynamic one has its state folder, if it ran."""
    is_dynamic = settings.last("DynamicUser").lower() in ("yes", "true", "on", "1")
    name = settings.last("User") or (settings.prefix if is_dynamic else "root")
    try:
        return int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        if not is_dynamic:
            problem = f"its User={name} does not exist"
            raise RtmpumpError(f"--unit {settings.name}: {problem}") from None
    folders = [Path(state) for state in states]
    return next((folder.stat().st_uid for folder in folders if folder.exists()), _DYNAMIC)


def _group(user: int) -> int:
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        return user


def _copy_credentials(settings: _Settings, folder: Path, user: int | None) -> None:
    """Give the files as systemd would: LoadCredential=, and SetCredential= where one is missing."""
    defaults = dict(_credential(value) for value in settings.all("SetCredential"))
    files = dict(_credential(value) for value in settings.all("LoadCredential"))
    for name in {**defaults, **files}:
        (folder / name).write_bytes(_content(settings.name, name, files, defaults))
        (folder / name).chmod(0o400)
        if user is not None:
            os.chown(folder / name, user, -1)
    if user is not None:
        os.chown(folder, user, -1)


def _credential(value: str) -> tuple[str, str]:
    name, _, rest = value.partition(":")
    return name, rest


def _content(unit: str, name: str, files: Mapping[str, str], defaults: Mapping[str, str]) -> bytes:
    try:
        if name in files:
            return Path(files[name]).read_bytes()
    except FileNotFoundError as error:
        if name not in defaults:
            raise _unreadable(unit, f"credential {name} is {files[name]}", error) from error
    except OSError as error:
        raise _unreadable(unit, f"credential {name} is {files[name]}", error) from error
    # systemd takes C-style escapes here (systemd.exec(5)).
    return defaults[name].encode().decode("unicode_escape").encode("latin-1")


def _unreadable(unit: str, what: str, error: OSError) -> RtmpumpError:
    problem = reason(error)
    fix = "" if os.geteuid() == 0 else "; ask as root, who alone may read it"
    return RtmpumpError(f"--unit {unit}: its {what}: {problem}{fix}")
