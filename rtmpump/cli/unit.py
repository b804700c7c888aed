"""What a systemd unit gives to the daemon, so that another command can take the same.

Laws:

- The unit's text is what `systemctl cat` prints: the files that systemd would load, in their order.
- Credentials are in the memory of this process alone, as `cli.credentials` has it, and only those
  that the command needs. Nothing of a credential is printed.
"""

from __future__ import annotations

import glob
import grp
import os
import pwd
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from rtmpump.cli.credentials import Copies, copies
from rtmpump.cli.unit_text import Settings, expanded, unescaped, variables, words
from rtmpump.config.mistakes import Mistakes
from rtmpump.config.values import reason
from rtmpump.errors import ConfigError, RtmpumpError

_SECONDS: Final = 30
# One of those that systemd gives to DynamicUser= (systemd.exec(5)); it stands for any of them.
_DYNAMIC: Final = 61184
NOT_INHERITED: Final = ("RTMPUMP_", "SLACK_", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY")
"""What systemd sets for a service, or what would configure another rtmpump."""
_COMMANDS: Final = ("run", "gateway")
_TOKENS: Final = ("slack-token", "slack-app-token")
# Where a credential without a path is looked for (systemd.exec(5)).
_STORES: Final = ("/etc/{}", "/run/{}", "/usr/local/lib/{}", "/usr/lib/{}")
_LOW_PORTS: Final = "CAP_NET_BIND_SERVICE"
_HOMES: Final = ("/home", "/root", "/run/user")


class UnitUser(NamedTuple):
    """The user that a service runs as, with its groups; `may_listen` on ports below 1024."""

    user: int
    group: int
    others: tuple[int, ...]
    may_listen: bool


class UnitRun(NamedTuple):
    """How the unit runs the daemon: its environment, its `-c FILE`, its user, where it may write.

    `command` is "run" or "gateway". `user` is None for a command that does not run as root, which
    can't become another user; `folder` is where relative paths begin, `places` are the folders that
    it sees and may write.
    """

    name: str
    command: str
    env: dict[str, str]
    config_file: str | None
    user: UnitUser | None
    folder: str
    places: UnitPlaces
    credentials: Copies

    def makes(self, path: Path) -> bool:
        """Return whether systemd makes the folder of this file (StateDirectory=)."""
        return _is_in(path, self.places.states)

    def may_write(self, path: Path) -> bool:
        """Return whether the service may write there (ProtectSystem=, ReadWritePaths=)."""
        return _is_in(path, self.places.writable) and not self.places.hides(str(path))

    def require_readable(self, files: Mapping[str, str]) -> None:
        """Open each file as the service's user; `files` are paths by their keys.

        Raises:
            ConfigError: one can't be read.
        """
        mistakes = Mistakes()
        with self.as_user():
            for key, file in files.items():
                if Path(file).is_relative_to(self.credentials.folder):
                    # systemd sees to it that the service can read these.
                    continue
                problem = f"the user of {self.name} can't read {file}"
                if setting := self.places.hides(os.path.realpath(file)):
                    fix = "move it, or hand it over with LoadCredential="
                    error = ConfigError(f"{problem}: {setting} hides it", key=key, fix=fix)
                    mistakes.add(error)
                    continue
                try:
                    os.close(os.open(file, os.O_RDONLY))
                except OSError as error:
                    mistakes.add(ConfigError(f"{problem}: {reason(error)}", key=key))
        mistakes.raise_all()

    @contextmanager
    def as_user(self, *, to_listen: bool = False) -> Iterator[None]:
        """Let files be opened and asked for as the service's user, with its own groups alone.

        `to_listen`: this user remains where the service may have every port, as its user can't.
        Nothing may be imported in it: that user need not be able to read this program.
        """
        if self.user is None or (to_listen and self.user.may_listen):
            yield
            return
        groups = os.getgroups()
        os.setgroups(self.user.others)
        os.setegid(self.user.group)
        os.seteuid(self.user.user)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)


class UnitPlaces(NamedTuple):
    """Folders of a unit: made by systemd, writable, hidden by a setting, and shown all the same."""

    states: tuple[str, ...]
    writable: tuple[str, ...]
    hidden: Mapping[str, str]
    shown: tuple[str, ...]

    def hides(self, file: str) -> str:
        """Return the setting that hides a file from the service, "" if none does."""
        if _is_in(Path(file), self.shown):
            return ""
        return next(
            (why for folder, why in self.hidden.items() if _is_in(Path(file), [folder])), ""
        )


def _is_in(path: Path, folders: Iterable[str]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


@contextmanager
def run_of(name: str, env: Mapping[str, str], *, need_token: bool = True) -> Iterator[UnitRun]:
    """Ask systemd for a unit, such as `rtmpump` or `rtmpump@acme`; `env` is this command's own.

    Without `need_token` its tokens are not read.

    Raises:
        RtmpumpError: there is no systemd or no such unit, it does not run rtmpump, or a credential
            of it can't be read.
    """
    name = name if name.endswith(".service") else f"{name}.service"
    text = _cat(name)
    with copies() as credentials:
        settings = Settings(name, text, str(credentials.folder))
        run = _run(settings, credentials, env)
        credentials.add(_credentials(settings, () if need_token else _TOKENS))
        yield run


def _cat(name: str) -> str:
    try:
        done = _ask(["systemctl", "cat", "--no-pager", "--", name])
    except FileNotFoundError:
        raise RtmpumpError("--unit needs systemd, and there is no systemctl here") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RtmpumpError(f"--unit {name}: systemctl cat failed: {error}") from error
    if done.returncode:
        raise RtmpumpError(f"--unit {name}: systemctl cat failed: {_problem(done)}")
    return done.stdout.decode("utf-8", "surrogateescape")


def _ask(command: list[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - each name is one argument, and no option
        command, input=given, capture_output=True, timeout=_SECONDS, check=False
    )


def _problem(done: subprocess.CompletedProcess[bytes]) -> str:
    said = done.stderr.decode("utf-8", "replace")
    return " ".join(said.split()) or f"exit code {done.returncode}"


def _run(settings: Settings, credentials: Copies, own: Mapping[str, str]) -> UnitRun:
    given = dict(_variable(word) for word in settings.words("Environment"))
    for file in settings.all("EnvironmentFile"):
        given |= _in_files(settings.name, file)
    given |= {"CREDENTIALS_DIRECTORY": str(credentials.folder), "INVOCATION_ID": "0"}
    states = [f"/var/lib/{name.partition(':')[0]}" for name in settings.words("StateDirectory")]
    if states:
        given["STATE_DIRECTORY"] = ":".join(states)
    try:
        command = expanded(words(settings.last("ExecStart")), given)
    except ValueError as error:
        raise RtmpumpError(f"--unit {settings.name}: its ExecStart=: {error}") from None
    runs = next((word for word in command[1:] if word in _COMMANDS), "")
    if not runs:
        started = " or ".join(f"`rtmpump {word}`" for word in _COMMANDS)
        raise RtmpumpError(f"--unit {settings.name}: it does not start {started}")
    inherited = {key: value for key, value in own.items() if not key.startswith(NOT_INHERITED)}
    start = _start(settings)
    config_file = _named_config(command) or given.get("RTMPUMP_CONFIG")
    return UnitRun(
        settings.name,
        runs,
        inherited | given,
        str(Path(start, config_file)) if config_file else None,
        _user(settings, states) if os.geteuid() == 0 else None,
        start,
        _places(settings, states),
        credentials,
    )


def _start(settings: Settings) -> str:
    start = settings.last("WorkingDirectory").removeprefix("-") or "/"
    if start != "~":
        return start
    try:
        return pwd.getpwnam(settings.last("User") or "root").pw_dir
    except KeyError:
        return "/"


def _places(settings: Settings, states: list[str]) -> UnitPlaces:
    own_paths = [path.lstrip("-+") for path in settings.words("ReadWritePaths")]
    is_strict = settings.last("ProtectSystem") == "strict"
    hidden = {
        path.lstrip("-+"): "InaccessiblePaths=" for path in settings.words("InaccessiblePaths")
    }
    home = settings.last("ProtectHome")
    if home == "tmpfs" or settings.says_yes("ProtectHome"):
        hidden |= dict.fromkeys(_HOMES, f"ProtectHome={home}")
    if settings.says_yes("PrivateTmp"):
        hidden |= dict.fromkeys(("/tmp", "/var/tmp"), "PrivateTmp=yes")  # noqa: S108
    bound = [*settings.words("BindPaths"), *settings.words("BindReadOnlyPaths")]
    shown = [path.lstrip("-").split(":")[1 if path.count(":") else 0] for path in bound]
    return UnitPlaces(
        tuple(states), tuple([*states, *own_paths] if is_strict else ["/"]), hidden, tuple(shown)
    )


def _named_config(command: list[str]) -> str | None:
    """Return the FILE of the last `-c FILE`, `-cFILE`, `--config FILE` or `--config=FILE`."""
    file, rest = None, iter(command[1:])
    for word in rest:
        if word in ("-c", "--config"):
            file = next(rest, None)
        elif word.startswith("--config="):
            file = word.removeprefix("--config=")
        elif word.startswith("-c"):
            file = word.removeprefix("-c")
    return file


def _variable(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def _in_files(name: str, pattern: str) -> dict[str, str]:
    """Read an EnvironmentFile=, which may be a pattern; one with `-` before it may be missing."""
    is_needed, pattern = not pattern.startswith("-"), pattern.removeprefix("-")
    found: dict[str, str] = {}
    for file in sorted(glob.glob(pattern)) or [pattern]:
        try:
            found |= variables(Path(file).read_bytes().decode("utf-8"))
        except FileNotFoundError as error:
            if is_needed:
                raise _unreadable(name, f"EnvironmentFile {file}", error) from error
        except OSError as error:
            raise _unreadable(name, f"EnvironmentFile {file}", error) from error
        except UnicodeDecodeError:
            if is_needed:
                problem = f"its EnvironmentFile {file} is not UTF-8 text, which systemd refuses"
                raise RtmpumpError(f"--unit {name}: {problem}") from None
    return found


def _user(settings: Settings, states: list[str]) -> UnitUser:
    """Return the user that the service runs as; a dynamic one has its state folder, if it ran."""
    is_dynamic = settings.says_yes("DynamicUser")
    name = settings.last("User") or (settings.prefix if is_dynamic else "root")
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
        user, group = entry.pw_uid, entry.pw_gid
        others = os.getgrouplist(entry.pw_name, group)
    except KeyError:
        if not is_dynamic and not name.isdecimal():
            problem = f"its User={name} does not exist"
            raise RtmpumpError(f"--unit {settings.name}: {problem}") from None
        folders = [Path(state) for state in states]
        owner = next((folder.stat().st_uid for folder in folders if folder.exists()), _DYNAMIC)
        user = group = int(name) if name.isdecimal() else owner
        others = []
    if named := settings.last("Group"):
        group = _group(settings.name, "Group", named, otherwise=group if is_dynamic else None)
    for named in settings.words("SupplementaryGroups"):
        others.append(_group(settings.name, "SupplementaryGroups", named))
    ambient = settings.words("AmbientCapabilities")
    # In a user namespace of its own the capability does not count for the machine's ports.
    may_listen = user == 0 or (_LOW_PORTS in ambient and not settings.says_yes("PrivateUsers"))
    return UnitUser(user, group, tuple(dict.fromkeys([group, *others])), may_listen)


def _group(unit: str, setting: str, name: str, otherwise: int | None = None) -> int:
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        if otherwise is not None:
            return otherwise
        raise RtmpumpError(f"--unit {unit}: its {setting}={name} does not exist") from None


def _credentials(settings: Settings, unneeded: Iterable[str]) -> dict[str, bytes]:
    """Return what systemd would give: LoadCredential=, and SetCredential= where one is missing."""
    found: dict[str, bytes] = {}
    for key in ("LoadCredential", "LoadCredentialEncrypted"):
        for name, place in map(_credential, settings.all(key)):
            if name not in unneeded and name not in found:
                is_plain = key == "LoadCredential"
                for one, file in _files_of(settings.name, name, place):
                    content = _loaded(settings.name, one, file, is_plain=is_plain)
                    found |= {} if content is None else {one: content}
    for name, value in map(_credential, settings.all("SetCredentialEncrypted")):
        if name not in unneeded and name not in found:
            found[name] = _decrypted(settings.name, name, "-", value.encode())
    for name, value in map(_credential, settings.all("SetCredential")):
        if name not in unneeded and name not in found:
            found[name] = unescaped(value).encode()
    _require_given(settings, {*found, *unneeded})
    return found


def _require_given(settings: Settings, found: Iterable[str]) -> None:
    """Raise RtmpumpError if one has neither a file nor a default: the unit would not start."""
    for key in ("LoadCredential", "LoadCredentialEncrypted"):
        for name, place in map(_credential, settings.all(key)):
            # One without a path may be in none of systemd's stores; a folder may be empty.
            if name not in found and place.startswith("/") and not Path(place).is_dir():
                error = FileNotFoundError(2, os.strerror(2))
                raise _unreadable(settings.name, f"credential {name} is {place}", error)


def _credential(value: str) -> tuple[str, str]:
    name, _, rest = value.partition(":")
    return name, rest


def _files_of(unit: str, name: str, place: str) -> list[tuple[str, str]]:
    """Return the credentials of one setting, each with its place: a folder has one in each file."""
    folder = Path(place)
    try:
        if not place.startswith("/") or not folder.is_dir():
            return [(name, place)]
        files = sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    except OSError as error:
        raise _unreadable(unit, f"credential {name} is {place}", error) from error
    return [found for one in files for found in _files_of(unit, f"{name}_{one.name}", str(one))]


def _loaded(unit: str, name: str, place: str, *, is_plain: bool) -> bytes | None:
    """Return what the file of a credential holds, None if it is missing."""
    store = "credstore" if is_plain else "credstore.encrypted"
    places = [Path(folder.format(store), place or name) for folder in _STORES]
    for file in [Path(place)] if place.startswith("/") else places:
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _unreadable(unit, f"credential {name} is {file}", error) from error
        return content if is_plain else _decrypted(unit, name, str(file))
    return None


def _decrypted(unit: str, name: str, file: str, given: bytes = b"") -> bytes:
    try:
        done = _ask(["systemd-creds", "decrypt", f"--name={name}", "--", file, "-"], given)
    except FileNotFoundError:
        problem = "there is no systemd-creds"
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = f"systemd-creds decrypt: {error}"
    else:
        if not done.returncode:
            return done.stdout
        problem = f"systemd-creds decrypt: {_problem(done)}"
    what = f"its credential {name} is encrypted, and can't be read here"
    raise RtmpumpError(f"--unit {unit}: {what}: {problem}")


def _unreadable(unit: str, what: str, error: OSError) -> RtmpumpError:
    problem = reason(error)
    fix = "" if os.geteuid() == 0 else "; ask as root, who alone may read it"
    return RtmpumpError(f"--unit {unit}: its {what}: {problem}{fix}")
