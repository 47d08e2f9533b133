"""Which folder a mailbox is by its name, where no server says so (RFC 6154 §2), and which is the one for the log.

Providers without SPECIAL-USE, and clients that never ask for it, are common; drafts and spam must not be taken for
correspondence because of that. The names are those that mail clients and servers give in their own languages.
"""

from __future__ import annotations

import re
import unicodedata

from engine.capture import Folder

__all__ = ["folder_called", "folder_named", "folder_of"]

MAX_NAME = 1024  # characters of a name that are looked at
# RFC 9051 §5.1.1: any character may divide the levels of a hierarchy; these do.
DIVIDERS = "/.\\"
LEVELS = re.compile(r"[/.\\]")
# What waits to be sent is no mail yet either.
NAMES = {
    Folder.DRAFTS: """drafts, draft, outbox, unsent messages, entwürfe, postausgang, brouillons, boîte d'envoi,
        borradores, bandeja de salida, bozze, posta in uscita, concepten, postvak uit, rascunhos, caixa de saída,
        utkast, kladder, kladde, luonnokset, wersje robocze, robocze, koncepty, rozepsané, черновики, чернетки,
        taslaklar, 下書き, 草稿, 草稿箱, entwurf, brouillon, borrador, bozza, concept, rascunho, szkice, konsepty""",
    Folder.JUNK: """junk, spam, junk e-mail, junk email, junk mail, bulk mail, junk-e-mail, junk-email, spamverdacht,
        unerwünscht, courrier indésirable, indésirables, pourriel, correo no deseado, no deseado, posta indesiderata,
        indesiderata, ongewenste e-mail, ongewenst, ongewenste reclame, lixo eletrónico, lixo eletrônico,
        lixo electrónico, skräppost, søppelpost, uønsket e-post, uønsket mail, uønsket post, roskaposti,
        wiadomości-śmieci, wiadomości śmieci, nevyžádaná pošta, нежелательная почта, спам, небажана пошта,
        gereksiz e-posta, önemsiz, önemsiz e-posta, istenmeyen, 迷惑メール, 垃圾邮件, 垃圾郵件, junkmail, junkemail,
        junk-mail, bulk, bulkmail, unerwünschte werbung, uønsket, uønsket e-mail, nevyžádaná, gereksiz""",
    Folder.TRASH: """trash, deleted, deleted items, deleted messages, bin, wastebasket, papierkorb,
        gelöschte elemente, gelöschte objekte, gelöscht, corbeille, éléments supprimés, messages supprimés, papelera,
        elementos eliminados, mensajes eliminados, cestino, posta eliminata, elementi eliminati, prullenbak,
        prullenmand, verwijderde items, lixo, lixeira, itens excluídos, itens eliminados, papperskorg, papperskorgen,
        borttagna objekt, papirkurv, papirkurven, slettede elementer, slettet post, slettede mails, roskakori,
        poistetut, kosz, elementy usunięte, usunięte, koš, odstraněná pošta, odstraněno, корзина, удаленные,
        удалённые, кошик, видалені, çöp, çöp kutusu, silinmiş öğeler, ゴミ箱, 削除済みアイテム, 已删除邮件,
        已删除, 废件箱, 垃圾桶, gelöschte, papirkorg, ごみ箱, 已刪除的郵件, 废纸篓""",
}


def folder_of(mailbox: str, use: Folder | None, *, log_folder: str) -> Folder | None:
    """The folder that a mailbox of that decoded name is. `use` is what its server says of it, and counts first.

    `log_folder` names the one for the log, "" that there is none. What lies in Drafts, Junk or Trash is not that one:
    whoever deletes the folder asks for nothing.
    """
    if (folder := use or folder_named(mailbox)) is not None:
        return folder
    return Folder.LOG if _is_named(mailbox, log_folder) else None


def _is_named(mailbox: str, wanted: str) -> bool:
    """Whether the last level of the name is `wanted`, which may hold what elsewhere divides levels."""
    if not wanted or len(mailbox) > MAX_NAME:
        return False
    name, wanted = _form(mailbox), _form(wanted)
    return name == wanted or (name.endswith(wanted) and name[-len(wanted) - 1] in DIVIDERS)


def folder_named(mailbox: str) -> Folder | None:
    """The folder of that decoded name, or that it lies in; `None` when it may hold correspondence."""
    for level in LEVELS.split(mailbox[:MAX_NAME]):
        if (folder := folder_called(level)) is not None:
            return folder
    return None


def folder_called(level: str) -> Folder | None:
    """The folder of that name at one level of the hierarchy."""
    return FOLDERS.get(_form(level))


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", " ".join(name.split())).casefold()


FOLDERS = {_form(name): folder for folder, names in NAMES.items() for name in names.split(",")}
