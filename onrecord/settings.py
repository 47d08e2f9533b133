"""Settings: one commented TOML file, overridden by the environment, and refused with the key, the value and the mend.

`ONRECORD_` begins the name of a variable, `__` separates levels: `ONRECORD_CAPTURE__POLICY=closed`.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from certs import CertificatePair
from engine.secret import Secret
from onrecord.oauth.issuer import Issuer, is_safe_endpoint, with_defaults
from proxy.capture import LOG_FOLDER
from proxy.folder_names import folder_named
from proxy.limits import CapturePolicy, Deadlines, Limits
from proxy.notices import NoticeOptions
from proxy.recorder import RecorderOptions
from proxy.route import Listener, ListenerKind, Provider, ProviderKind, Tls
from store.key_ring import KeyRing

__all__ = ["Settings", "SettingsError", "config_path", "load"]

# Where mail lies that nobody has asked to be logged. Drafts, Junk and Trash are known by `folder_named`.
USUAL_FOLDERS = frozenset(("inbox", "sent", "sent items", "sent messages", "sent mail", "archive", "all mail"))
UNITS = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
SIZE = re.compile(r"\s*([0-9]+)\s*([A-Za-z]*)\s*")
HOSTNAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
ORIGIN = re.compile(r"https://[a-z0-9][a-z0-9.-]{0,252}(?::[0-9]{1,5})?")
SIZES = {
    "limits": ("command_line", "auth_line", "reply_line", "message", "header_section", "capture_memory"),
    "recorder": ("parse_memory", "max_attachment", "max_text"),
}


class SettingsError(Exception):
    """Settings that cannot be used. The text has one line for each trouble: key, value, mend."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Section):
    """Where the log is kept."""

    url: str = "sqlite:///onrecord.sqlite"


class TlsSettings(_Section):
    """What our listeners show."""

    certificates: tuple[CertificatePair, ...] = ()


class CaptureSettings(_Section):
    """What a failing capture does to mail, and the mailbox folder by which users ask for a log; "" for none."""

    policy: CapturePolicy = CapturePolicy.OPEN
    log_folder: Annotated[str, Field(max_length=255)] = LOG_FOLDER


class DnsSettings(_Section):
    """Whom we ask for the keys and policies of senders' domains: "address" or "address:port"; none: the system's."""

    nameservers: tuple[str, ...] = ()


class WebSettings(_Section):
    """The pages: where they are served, and `url` as browsers reach them where a proxy stands before."""

    address: str = "127.0.0.1"
    port: int = 8480
    url: str = ""

    @property
    def origins(self) -> tuple[str, ...]:
        """Those under which browsers may reach the pages; the first is the one to show."""
        if self.url:
            return (self.url.rstrip("/"),)
        return tuple(f"http://{host}:{self.port}" for host in ("localhost", "127.0.0.1", "[::1]"))


class LogSettings(_Section):
    """How the program reports."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(BaseSettings):
    """All settings. Paths are absolute once loaded."""

    model_config = SettingsConfigDict(
        env_prefix="ONRECORD_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    hostname: str = "localhost"
    data: Path = Path()
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    hash_key_file: Path = Path("keys/hash.key")
    sealing_key_file: Path = Path("keys/sealing.key")
    store: StoreSettings = StoreSettings()
    tls: TlsSettings = TlsSettings()
    capture: CaptureSettings = CaptureSettings()
    limits: Limits = Limits()
    deadlines: Deadlines = Deadlines()
    recorder: RecorderOptions = RecorderOptions()
    dns: DnsSettings = DnsSettings()
    notices: NoticeOptions = NoticeOptions()
    log: LogSettings = LogSettings()
    web: WebSettings | None = None
    oauth: dict[str, Issuer] = {}
    provider: tuple[Provider, ...] = ()
    listener: tuple[Listener, ...] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which comes as arguments."""
        return env_settings, init_settings

    @property
    def database_url(self) -> str:
        """The store's URL with an absolute path."""
        return self.store.url

    @property
    def spools(self) -> Path:
        """The folder of all spools of this node."""
        return self.data / "spool"

    @property
    def bell(self) -> Path:
        """The file that changes when the directory does."""
        return self.data / "directory.bell"

    def hash_key(self) -> bytes:
        """The key of keyed hashes. Raises `SettingsError`."""
        try:
            key = bytes.fromhex(self.hash_key_file.read_text("ascii").strip())
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"hash_key_file = {str(self.hash_key_file)!r}: cannot be read as hexadecimal digits; "
                f"run `onrecord init`, or restore the file from a backup ({type(error).__name__})"
            ) from error
        if len(key) < 16:
            raise SettingsError(f"hash_key_file = {str(self.hash_key_file)!r}: holds fewer than 16 octets; make 32")
        return key

    def key_ring(self) -> KeyRing:
        """The keys that seal the secrets of connected mailboxes."""
        return KeyRing(self.sealing_key_file)

    def client_secret(self, issuer: str) -> Secret | None:
        """What proves to an OAuth issuer who we are, where it gave us something. Raises `SettingsError`."""
        path = self.oauth[issuer].client_secret_file
        if path is None:
            return None
        try:
            return Secret(path.read_text("utf-8").strip().encode())
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"oauth.{issuer}.client_secret_file = {str(path)!r}: cannot be read ({type(error).__name__}); "
                "write the client secret there"
            ) from error

    def notice_password(self) -> Secret:
        """The password that the notices are sent with. Raises `SettingsError`."""
        path = self.notices.password_file
        if path is None:
            return Secret(b"")
        try:
            return Secret(path.read_text("utf-8").strip().encode())
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"notices.password_file = {str(path)!r}: cannot be read ({type(error).__name__}); "
                "write the password there"
            ) from error


def config_path(given: Path | None) -> Path | None:
    """The settings file: as given, or from the environment."""
    named = os.environ.get("ONRECORD_CONFIG")
    return given or (Path(named) if named else None)


def load(path: Path | None) -> Settings:
    """Reads the settings file. Raises `SettingsError`."""
    if path is None:
        raise SettingsError(
            "no settings file: name one with -c FILE or ONRECORD_CONFIG=FILE, or make one with: onrecord init DIR"
        )
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); make one with: onrecord init DIR") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not valid TOML: {error}") from error
    try:
        _convert_sizes(values)
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaint(each) for each in error.errors())) from error
    settings = _absolute(settings, path.resolve().parent)
    _check(settings)
    return settings


def _convert_sizes(values: dict[str, Any]) -> None:
    for section, keys in SIZES.items():
        table = values.get(section)
        for key in keys:
            if isinstance(table, dict) and key in table:
                try:
                    table[key] = _octets(table[key])
                except ValueError as error:
                    raise SettingsError(f"{section}.{key} = {table[key]!r}: {error}") from error


def _octets(value: Any) -> Any:
    """A size: a number of octets, or a string such as "10 MiB". Raises `ValueError`."""
    if not isinstance(value, str):
        return value
    match = SIZE.fullmatch(value)
    if match is None or match[2].lower() not in UNITS:
        raise ValueError('write a number of octets, or a size such as "10 MiB"')
    return int(match[1]) * UNITS[match[2].lower()]


def _complaint(error: Any) -> str:
    """One trouble of pydantic's in our words."""
    place = ".".join(str(each) for each in error["loc"])
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _known_keys(error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        mend = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
        return f"{place}: there is no such setting; {mend}"
    value = error.get("input")
    shown = repr(value) if isinstance(value, str | int | float | bool) else "as it is"
    return f"{place} = {shown}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    tables: dict[str, Any] = {
        "": Settings.model_fields,
        "store": StoreSettings.model_fields,
        "capture": CaptureSettings.model_fields,
        "dns": DnsSettings.model_fields,
        "notices": asdict(NoticeOptions()),
        "log": LogSettings.model_fields,
        "web": WebSettings.model_fields,
        "oauth": Issuer.model_fields,
        "tls": TlsSettings.model_fields,
        "certificates": [each.name for each in fields(CertificatePair)],
        "limits": asdict(Limits()),
        "deadlines": asdict(Deadlines()),
        "recorder": asdict(RecorderOptions()),
        "provider": [each.name for each in fields(Provider)],
        "listener": [each.name for each in fields(Listener)],
    }
    names = [each for each in location if isinstance(each, str) and each in tables]
    return list(tables[names[-1] if names else ""])


def _absolute(settings: Settings, home: Path) -> Settings:
    """Resolves relative paths: the data folder against the file's, all others against the data folder."""
    data = (home / settings.data).resolve()
    pairs = tuple(
        CertificatePair(certificate=data / each.certificate, key=data / each.key) for each in settings.tls.certificates
    )
    providers = tuple(
        Provider(**{name: getattr(each, name) for name in _names(Provider)} | {"ca_file": _under(data, each.ca_file)})
        for each in settings.provider
    )
    prefix = "sqlite:///"
    url = settings.store.url
    if url.startswith(prefix):
        url = prefix + str(data / url.removeprefix(prefix))
    return settings.model_copy(
        update={
            "data": data,
            "hash_key_file": data / settings.hash_key_file,
            "sealing_key_file": data / settings.sealing_key_file,
            "oauth": {name: _absolute_issuer(name, each, data) for name, each in settings.oauth.items()},
            "tls": TlsSettings(certificates=pairs),
            "provider": providers,
            "notices": replace(
                settings.notices,
                ca_file=_under(data, settings.notices.ca_file),
                password_file=_under(data, settings.notices.password_file),
            ),
            "store": StoreSettings(url=url),
        }
    )


def _absolute_issuer(name: str, given: Issuer, data: Path) -> Issuer:
    issuer = with_defaults(name, given)
    files = {each: _under(data, getattr(issuer, each)) for each in ("client_secret_file", "ca_file")}
    return issuer.model_copy(update=files)


def _names(kind: Any) -> list[str]:
    return [each.name for each in fields(kind)]


def _under(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path


def _check(settings: Settings) -> None:
    """What one value cannot say alone."""
    troubles = [
        *_check_general(settings),
        *_check_notices(settings),
        *_check_web(settings.web),
        *_check_issuers(settings),
        *_check_providers(settings),
        *_check_listeners(settings),
    ]
    if troubles:
        raise SettingsError("\n".join(troubles))


def _check_general(settings: Settings) -> list[str]:
    troubles = []
    if not HOSTNAME.fullmatch(settings.hostname):
        troubles.append(f"hostname = {settings.hostname!r}: is no host name; write one such as relay.example.com")
    if not settings.store.url.startswith("sqlite:///"):
        troubles.append(f"store.url = {settings.store.url!r}: only sqlite:///FILE is supported")
    for name, seconds in asdict(settings.deadlines).items():
        if seconds < 0 or (seconds == 0 and name != "failed_login_delay"):
            troubles.append(f"deadlines.{name} = {seconds!r}: must be more than 0 seconds")
    for name in ("keep_skipped_days", "keep_emails_days"):
        if (days := getattr(settings.recorder, name)) is not None and days <= 0:
            troubles.append(f"recorder.{name} = {days!r}: must be more than 0")
    for name, number in asdict(settings.limits).items():
        if number <= 0:
            troubles.append(f"limits.{name} = {number!r}: must be more than 0")
    if (trouble := _why_not_for_log(settings.capture.log_folder)) is not None:
        troubles.append(f"capture.log_folder = {settings.capture.log_folder!r}: {trouble}")
    for each in settings.dns.nameservers:
        if not _is_nameserver(each):
            troubles.append(
                f'dns.nameservers: {each!r} is none; write an address such as "192.0.2.1" or "192.0.2.1:53"'
            )
    return troubles


def _why_not_for_log(name: str) -> str | None:
    """Why the folder for the log cannot be called so. What lies in it is logged, so it must be no usual one."""
    if name and not name.strip():
        return 'is blank; write a name such as "Log to CRM", or "" for no such folder'
    if not name.isprintable():
        return "has characters that no mailbox name has; write a name such as 'Log to CRM'"
    folder = folder_named(name)
    if folder is not None or " ".join(name.split()).casefold() in USUAL_FOLDERS:
        return "is a folder that mailboxes have anyway; write a name of its own, such as 'Log to CRM'"
    return None


def _check_notices(settings: Settings) -> list[str]:
    notices = settings.notices
    if notices.host is None:
        return []
    troubles = []
    if notices.tls is Tls.NONE and not _is_loopback(notices.host):
        troubles.append(f"notices.tls = 'none': only for a host on loopback, not {notices.host!r}; use 'starttls'")
    if not 0 < notices.port < 65536:
        troubles.append(f"notices.port = {notices.port!r}: is no port; ports are 1 to 65535")
    if "@" not in notices.sender:
        troubles.append(f"notices.sender = {notices.sender!r}: is no address; write the one that notices come from")
    if (notices.username is None) != (notices.password_file is None):
        troubles.append("notices.username: goes with notices.password_file; set both, or none to send without a login")
    return troubles


def _check_web(web: WebSettings | None) -> list[str]:
    if web is None:
        return []
    troubles = []
    if not _is_loopback(web.address):
        troubles.append(
            f"web.address = {web.address!r}: only on a loopback address; let a proxy with TLS stand before it, and "
            "name its address in web.url"
        )
    if not 0 < web.port < 65536:
        troubles.append(f"web.port = {web.port!r}: is no port; ports are 1 to 65535")
    if web.url and ORIGIN.fullmatch(web.url.rstrip("/")) is None:
        troubles.append(f"web.url = {web.url!r}: write an address such as https://onrecord.example.com, without a path")
    return troubles


def _check_issuers(settings: Settings) -> list[str]:
    troubles = []
    for name, issuer in settings.oauth.items():
        place = f"oauth.{name}"
        if not issuer.client_id:
            troubles.append(f"{place}.client_id = '': register this installation at {name}, and write its id here")
        if not issuer.scopes:
            troubles.append(f"{place}.scopes: is empty; write what lets a program read mail by IMAP")
        for endpoint in ("authorization_endpoint", "token_endpoint", "device_endpoint", "revocation_endpoint"):
            url = getattr(issuer, endpoint)
            if not is_safe_endpoint(url) and (url or endpoint == "token_endpoint"):
                troubles.append(f"{place}.{endpoint} = {url!r}: write an address that begins with https://")
        if issuer.redirect_host not in ("127.0.0.1", "localhost"):
            troubles.append(f"{place}.redirect_host = {issuer.redirect_host!r}: write '127.0.0.1' or 'localhost'")
    return troubles


def _check_providers(settings: Settings) -> list[str]:
    troubles = []
    seen: dict[str, str] = {}
    domains: dict[tuple[ProviderKind, str], str] = {}
    for each in settings.provider:
        place = f"provider {each.name!r}"
        if each.name in seen:
            troubles.append(f"{place}: the name is used twice; rename one")
        seen[each.name] = each.name
        if each.tls is Tls.NONE and not _is_loopback(each.host):
            troubles.append(
                f"{place}.tls = 'none': only for a host on loopback, not {each.host!r}; use 'starttls' or 'implicit'"
            )
        if not 0 < each.port < 65536:
            troubles.append(f"{place}.port = {each.port!r}: is no port; ports are 1 to 65535")
        for domain in each.domains:
            if domain != domain.lower() or "@" in domain:
                troubles.append(f"{place}.domains: {domain!r} must be a domain in lower case, without '@'")
            if (each.kind, domain) in domains:
                other = domains[each.kind, domain]
                troubles.append(f"{place}.domains: {domain!r} leads to provider {other!r} already")
            domains[each.kind, domain] = each.name
    return troubles


def _check_listeners(settings: Settings) -> list[str]:
    troubles = []
    providers = {each.name: each for each in settings.provider}
    seen: set[tuple[str, int]] = set()
    for each in settings.listener:
        place = f"listener on {each.address}:{each.port}"
        if each.provider is not None and each.provider not in providers:
            known = ", ".join(sorted(providers)) or "none"
            troubles.append(f"{place}.provider = {each.provider!r}: there is no such provider; there are: {known}")
        if each.kind is ListenerKind.CAPTURE:
            troubles += _check_capture_listener(each, place)
        else:
            troubles += _check_route(each, place, providers)
        if each.tls is Tls.NONE and not _is_loopback(each.address):
            troubles.append(f"{place}.tls = 'none': only on a loopback address; use 'starttls' or 'implicit'")
        if (each.address, each.port) in seen:
            troubles.append(f"{place}: is listed twice; change one port")
        seen.add((each.address, each.port))
        if not 0 <= each.port < 65536:
            troubles.append(f"{place}.port = {each.port!r}: is no port; ports are 1 to 65535")
        if each.tls is not Tls.NONE and not settings.tls.certificates:
            troubles.append(f"{place}.tls = {each.tls.value!r}: needs [tls] certificates; run: onrecord init DIR")
    return troubles


def _check_route(listener: Listener, place: str, providers: dict[str, Provider]) -> list[str]:
    """A listener for mail clients leads to a provider of its own kind."""
    kind = ProviderKind(listener.kind)
    if listener.provider is None:
        if any(each.domains and each.kind is kind for each in providers.values()):
            return []
        return [f"{place}: names no provider, and no provider of kind {kind.value!r} has domains; set one of both"]
    provider = providers.get(listener.provider)
    if provider is None or provider.kind is kind:
        return []
    return [
        f"{place}.provider = {listener.provider!r}: is of kind {provider.kind.value!r}, the listener of "
        f"{listener.kind.value!r}; name a provider of its kind"
    ]


def _check_capture_listener(listener: Listener, place: str) -> list[str]:
    """Servers that bring mail from outside log in nowhere, and their mail goes nowhere but into the log."""
    troubles = []
    if listener.provider is not None:
        troubles.append(f"{place}.provider = {listener.provider!r}: a capture listener relays nothing; leave it out")
    if listener.known_users_only:
        troubles.append(f"{place}.known_users_only = True: nobody logs in on a capture listener; leave it out")
    if listener.tls is Tls.IMPLICIT:
        troubles.append(f"{place}.tls = 'implicit': other servers begin in clear; a capture listener needs 'starttls'")
    return troubles


def _is_nameserver(text: str) -> bool:
    address, port = text, "53"
    if text.count(":") == 1:
        address, _, port = text.partition(":")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return port.isdecimal() and 0 < int(port) < 65536


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
