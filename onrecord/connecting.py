"""Connecting mailboxes: a login is kept only after it has opened the mailbox at the user's own provider."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from certs import client_context
from engine.address import canonical
from engine.secret import Secret
from onrecord.checking import MENDS, PATIENCE
from onrecord.mailbox_access import lack_of_access, require_access
from onrecord.mailbox_credentials import ConnectedCredentials
from onrecord.oauth.client import OAuthClient
from onrecord.oauth.consent import Consent
from onrecord.oauth.device import wait_for_device
from onrecord.oauth.failure import OAuthError
from onrecord.oauth.issuer import consents_of
from onrecord.settings import Settings, SettingsError
from proxy.failures import DialError
from proxy.imap.own_login import LoginRefused, MailboxCredentials, choose_mechanism
from proxy.mailbox_dial import dial_mailbox
from proxy.mailbox_login import ConnectedMailbox, CredentialsUnavailable, MailboxClosed, open_mailbox
from proxy.route import Provider, ProviderKind, Tls, provider_of_login
from store.database import Database, StoreUnavailable
from store.directory import Directory
from store.directory_record import PortalRecord, UserRecord, checked_address
from store.mailbox_secret import MailboxSecret, Password, Tokens
from store.mailboxes import Forgotten, Mailboxes, MailboxRecord, NewMailbox
from store.sealing import Sealer, SealingKey

__all__ = ["ConnectError", "Connecting", "Ending", "Wanted", "mailbox_provider", "provider_context", "unreachable"]

REVOCATION_SECONDS = 10.0  # that somebody waits for what the issuer may not even do


class ConnectError(Exception):
    """A mailbox that cannot be connected or opened; the text says why and how to mend it, and holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which mailbox is to be connected. Without `provider` the domain of the address chooses; `login` is the address
    unless it is another. One that `is_read` at once needs a user whose mailboxes may be read.
    """

    address: str
    user: str
    is_read: bool = False
    portal: str | None = None
    provider: str | None = None
    login: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Who and where, all of it looked up."""

    home: PortalRecord
    user: UserRecord
    address: str
    login: str
    provider: Provider
    context: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of the consent for a mailbox that is disconnected, as it is told."""

    is_revoked: bool
    text: str


class Connecting:
    """Connects mailboxes and tries whether they open. `tell` shows the user what to do for a consent."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        directory: Directory,
        *,
        tell: Callable[[str], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._directory = directory
        self._ring = settings.key_ring()
        self._client = OAuthClient(settings.oauth, settings.client_secret)
        self._tell = tell
        self._sleep = sleep
        self.mailboxes = Mailboxes(database, Sealer(self._ring.read))
        self._source = ConnectedCredentials(self.mailboxes, self._client)

    def close(self) -> None:
        """Asks issuers nothing more."""
        self._client.close()

    # -- connecting ---------------------------------------------------------------------------------------------------

    async def by_password(self, wanted: Wanted, password: Secret) -> MailboxRecord:
        """Connects with a password. Raises `AccessError`, `ConnectError`, `DirectoryError` or `SealingError`."""
        place = await self._place(wanted)
        return await self._keep(place, Password(password), password, issuer=None)

    async def by_browser(self, wanted: Wanted, issuer: str, *, port: int = 0) -> MailboxRecord:
        """Connects with a consent that the user gives in a browser of this machine. Raises as `by_password`."""
        place = await self._place(wanted)
        await self._require_tokens(place)
        try:
            async with Consent(self._client, issuer, hint=place.address, port=port) as consent:
                self._tell(f"open this page in a browser on this machine, as {place.address}:\n{consent.address}")
                tokens = await consent.tokens()
        except OAuthError as error:
            raise ConnectError(str(error)) from error
        return await self._keep(place, tokens, tokens.access, issuer=issuer)

    async def by_device(self, wanted: Wanted, issuer: str) -> MailboxRecord:
        """Connects with a consent that the user gives on any device. Raises as `by_password`."""
        place = await self._place(wanted)
        await self._require_tokens(place)
        try:
            code = await self._client.device_code(issuer)
            where = f"{code.address} and enter {code.user_code}"
            self._tell(f"open on any device, as {place.address}:\n{where}")
            tokens = await wait_for_device(self._client, issuer, code, sleep=self._sleep)
        except OAuthError as error:
            raise ConnectError(str(error)) from error
        return await self._keep(place, tokens, tokens.access, issuer=issuer)

    async def _place(self, wanted: Wanted) -> _Place:
        home = await self._directory.portal(wanted.portal)
        user = await self._directory.user(home.name, wanted.user)
        if wanted.is_read:
            require_access(user)
        address = checked_address(wanted.address)
        provider = _provider(wanted.provider, address, self._settings.provider)
        self._ring.read()  # told now, and not when the user has consented
        login = wanted.login or address
        if not login.isprintable():
            raise ConnectError(f"{login!r} is no login: it holds control characters; leave them out")
        return _Place(home, user, address, login, provider, provider_context(provider))

    async def _require_tokens(self, place: _Place) -> None:
        await self._mechanism(place, with_token=True)

    async def _mechanism(self, place: _Place, *, with_token: bool) -> str:
        """How the server takes a login. Raises `ConnectError`."""
        try:
            leg, opened = await dial_mailbox(place.provider, place.context, deadlines=PATIENCE)
        except DialError as error:
            raise unreachable(place.provider, error) from error
        leg.close()
        mechanism = choose_mechanism(opened.listed.upper().split(), with_token=with_token)
        if mechanism is None:
            what, other = ("tokens", "a password") if with_token else ("passwords", "--oauth")
            raise ConnectError(f"the server of {place.provider.name!r} takes no {what}; try {other}")
        return mechanism

    async def _keep(self, place: _Place, secret: MailboxSecret, shown: Secret, *, issuer: str | None) -> MailboxRecord:
        mechanism = await self._mechanism(place, with_token=isinstance(secret, Tokens))
        credentials = MailboxCredentials(login=place.login, mechanism=mechanism, secret=shown)
        await _try(place.provider, place.context, credentials)
        await self._make_connected(place)
        new = NewMailbox(
            address=place.address,
            server=place.provider.name,
            login=place.login,
            mechanism=mechanism,
            issuer=issuer,
            secret=secret,
        )
        if (lack := lack_of_access(place.user)) is not None:
            why, mend = lack
            self._tell(f"{why}, so nothing is logged until: {mend}")
        return await self.mailboxes.connect(self._directory, place.home, place.user, new)

    async def _make_connected(self, place: _Place) -> None:
        """Its mail counts as the user's connected mail (rules.md 3.1)."""
        subaddressed = frozenset(place.home.subaddressed_domains)
        known = {canonical(each, subaddressed) for each in place.user.connected}
        if canonical(place.address, subaddressed) not in known:
            connected = (*place.user.connected, place.address)
            await self._directory.set_user(place.home.name, place.user.account, connected=connected)

    # -- trying, and new keys -----------------------------------------------------------------------------------------

    async def try_now(self, record: MailboxRecord) -> str | None:
        """Logs in with what is kept; why that did not work, or `None`. The mailbox's state says it from then on."""
        try:
            provider = mailbox_provider(self._settings, record)
            mailbox = ConnectedMailbox(self._source, record.id, provider, provider_context(provider), PATIENCE)
            leg, _ = await mailbox.open()
        except LoginRefused as error:
            return f"the login was refused: {error}"
        except DialError as error:
            return str(unreachable(provider, error))
        except (ConnectError, CredentialsUnavailable, MailboxClosed) as error:
            return str(error)
        leg.close()
        return None

    async def take_back(self, forgotten: Forgotten) -> Ending:
        """Revokes the consent that opened a mailbox, as far as that can be done, and soon. Raises nothing of its own.

        The consent may be one for all that its user has connected with us (Google's is): then it stands for the others.
        """
        record, secret = forgotten.record, forgotten.secret
        issuer = record.issuer
        assert issuer is not None, "a password is nobody's consent"
        try:
            if any(_is_same_consent(each, record) for each in await self.mailboxes.all()):
                return Ending(False, "the consent stands: another connected mailbox has the same login")
            if not isinstance(secret, Tokens):
                raise ConnectError("the sealing key does not open its tokens")
            async with asyncio.timeout(REVOCATION_SECONDS):
                await self._client.revoke(issuer, secret.refresh)
        except (ConnectError, OAuthError, SettingsError, StoreUnavailable, TimeoutError) as error:
            why = str(error) or f"{issuer} does not answer in time"
            text = f"the consent was not revoked: {why}; {record.login} can take it back at {consents_of(issuer)}"
            return Ending(False, text)
        return Ending(True, f"the consent was revoked at {issuer}")

    async def rekey(self) -> tuple[int, list[bytes]]:
        """Makes a new sealing key where the keys are ours, and seals all secrets with the first key.

        How many were sealed anew, and the ids of keys that nothing is sealed with any more and that others have to
        take away. What was broken off goes on. Raises `SealingError`.
        """
        if not self._ring.exists and not await self.mailboxes.all():
            self._ring.write([SealingKey.make()])
            return 0, []
        keys = self._ring.read()
        if self._ring.is_ours and len(keys) == 1:
            keys = [SealingKey.make(), *keys]
            self._ring.write(keys)
        number = await self.mailboxes.reseal(self._directory)
        if self._ring.is_ours:
            self._ring.write(keys[:1])
            return number, []
        return number, [each.id for each in keys[1:]]


def _is_same_consent(one: MailboxRecord, other: MailboxRecord) -> bool:
    return one.issuer == other.issuer and one.login.casefold() == other.login.casefold()


def _provider(name: str | None, address: str, providers: tuple[Provider, ...]) -> Provider:
    """The IMAP server of an address. Raises `ConnectError`."""
    known = tuple(each for each in providers if each.kind is ProviderKind.IMAP)
    names = ", ".join(each.name for each in known) or "none"
    if name is None:
        if (found := provider_of_login(address, known)) is not None:
            return found
        raise ConnectError(f"no provider of kind 'imap' has the domain of {address}; name one with --provider: {names}")
    found = next((each for each in known if each.name == name), None)
    if found is None:
        raise ConnectError(f"there is no provider named {name!r} of kind 'imap' in the settings; there are: {names}")
    return found


def mailbox_provider(settings: Settings, record: MailboxRecord) -> Provider:
    """Where a connected mailbox lies. Raises `ConnectError`."""
    provider = next((each for each in settings.provider if each.name == record.server), None)
    if provider is None or provider.kind is not ProviderKind.IMAP:
        raise ConnectError(
            f"there is no provider named {record.server!r} of kind 'imap' in the settings; connect it anew"
        )
    return provider


def provider_context(provider: Provider) -> ssl.SSLContext | None:
    """How its server is verified; `None` when it speaks in clear."""
    return None if provider.tls is Tls.NONE else client_context(provider.ca_file)


async def _try(provider: Provider, context: ssl.SSLContext | None, credentials: MailboxCredentials) -> None:
    """Logs in and out. Raises `ConnectError`."""
    try:
        leg, _ = await open_mailbox(provider, context, credentials, deadlines=PATIENCE)
    except DialError as error:
        raise unreachable(provider, error) from error
    except LoginRefused as error:
        raise ConnectError(
            f"the login {credentials.login!r} was refused by the server of {provider.name!r}: {error}; "
            "nothing was connected"
        ) from error
    except ValueError as error:
        raise ConnectError(f"this login cannot be: {error}") from error
    leg.close()


def unreachable(provider: Provider, error: DialError) -> ConnectError:
    """What a user is told of a server that cannot be dialled."""
    text = f"the server of {provider.name!r} at {provider.host}:{provider.port}: {error}"
    mend = MENDS.get(error.failure)
    return ConnectError(f"{text}; {mend}" if mend else text)
