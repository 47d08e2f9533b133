"""The lines that clients put before a forwarded message, per client and language.

A line is compared without the dashes and other rules around its words (`words_of`). `CLOSING` are lines that end the
header block or the forward in clients that frame it.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.forwarded.labels import normalised

__all__ = ["CLOSING", "DASHES", "OPENINGS", "SEPARATORS", "Separator", "words_of"]

RULES = "-–—_=~*#>+•. \t\u00a0\u3000"  # what clients draw lines with


class Separator(NamedTuple):
    """Which client writes the line, in which language. Others write as these do, and count as them."""

    client: str
    language: str


# Without dashes and the like: (words, language), for each client.
TABLE: dict[str, tuple[tuple[str, str], ...]] = {
    "Gmail": (("Forwarded message", "en"),),
    "Apple Mail": (
        ("Begin forwarded message", "en"),
        ("Anfang der weitergeleiteten Nachricht", "de"),
        ("Anfang der weitergeleiteten E-Mail", "de"),
        ("Début du message réexpédié", "fr"),
        ("Début du message transféré", "fr"),
        ("Inicio del mensaje reenviado", "es"),
        ("Inizio messaggio inoltrato", "it"),
        ("Begin doorgestuurd bericht", "nl"),
        ("Início da mensagem reencaminhada", "pt"),
        ("Início da mensagem encaminhada", "pt"),
        ("Vidarebefordrat mejl", "sv"),
        ("Vidarebefordrat brev", "sv"),
        ("Start på videresendt besked", "da"),
        ("Begynder videresendt besked", "da"),
        ("Videresendt melding", "no"),
        ("Start på videresendt melding", "no"),
        ("Välitetty viesti alkaa", "fi"),
        ("Początek przekazywanej wiadomości", "pl"),
        ("Začátek přeposílané zprávy", "cs"),
        ("Začiatok preposlanej správy", "sk"),
        ("Начало переадресованного сообщения", "ru"),
        ("Начало пересылаемого сообщения", "ru"),
        ("Початок листа, що пересилається", "uk"),
        ("Початок переадресованого повідомлення", "uk"),
        ("İleti başlangıcı", "tr"),
        ("Yönlendirilen ileti başlangıcı", "tr"),
        ("転送されたメッセージ", "ja"),
        ("以下、転送されたメッセージ", "ja"),
        ("开始转发的邮件", "zh"),
        ("下面是被转发的邮件", "zh"),
        ("開始轉寄郵件", "zh"),
        ("以下為轉寄的郵件", "zh"),
        ("Începe mesajul redirecționat", "ro"),
        ("Továbbított levél kezdete", "hu"),
        ("Započni proslijeđenu poruku", "hr"),
        ("Inici del missatge reenviat", "ca"),
        ("Έναρξη προωθημένου μηνύματος", "el"),
        ("전달된 메시지", "ko"),
    ),
    "Thunderbird": (
        ("Forwarded Message", "en"),
        ("Original Message", "en"),
        ("Weitergeleitete Nachricht", "de"),
        ("Original-Nachricht", "de"),
        ("Message transféré", "fr"),
        ("Message original", "fr"),
        ("Mensaje reenviado", "es"),
        ("Mensaje original", "es"),
        ("Messaggio Inoltrato", "it"),
        ("Messaggio originale", "it"),
        ("Doorgestuurd bericht", "nl"),
        ("Originele bericht", "nl"),
        ("Mensagem reencaminhada", "pt"),
        ("Mensagem encaminhada", "pt"),
        ("Mensagem original", "pt"),
        ("Vidarebefordrat meddelande", "sv"),
        ("Originalmeddelande", "sv"),
        ("Videresendt meddelelse", "da"),
        ("Oprindelig meddelelse", "da"),
        ("Original meddelelse", "da"),
        ("Videresendt melding", "no"),
        ("Opprinnelig melding", "no"),
        ("Välitetty viesti / Fwd.Msg", "fi"),
        ("Välitetty viesti", "fi"),
        ("Alkuperäinen viesti", "fi"),
        ("Treść przekazanej wiadomości", "pl"),
        ("Wiadomość oryginalna", "pl"),
        ("Oryginalna wiadomość", "pl"),
        ("Přeposlaná zpráva", "cs"),
        ("Původní zpráva", "cs"),
        ("Preposlaná správa --- Forwarded Message", "sk"),
        ("Preposlaná správa", "sk"),
        ("Перенаправленное сообщение", "ru"),
        ("Пересылаемое сообщение", "ru"),
        ("Исходное сообщение", "ru"),
        ("Переслане повідомлення", "uk"),
        ("Початкове повідомлення", "uk"),
        ("İletilen İleti", "tr"),
        ("Özgün İleti", "tr"),
        ("Forwarded Message / 転送メッセージ", "ja"),
        ("転送メッセージ", "ja"),
        ("転送されたメッセージ", "ja"),
        ("元のメッセージ", "ja"),
        ("转发的消息", "zh"),
        ("转发的信息", "zh"),
        ("轉寄訊息", "zh"),
        ("轉寄的訊息", "zh"),
        ("Mesaj redirecționat", "ro"),
        ("Továbbított üzenet", "hu"),
        ("Proslijeđena poruka", "hr"),
        ("Missatge reenviat", "ca"),
        ("Edastatud kiri", "et"),
        ("Προωθημένο μήνυμα", "el"),
        ("Препратено съобщение", "bg"),
        ("전달된 메시지", "ko"),
    ),
    "Outlook": (
        ("Original Message", "en"),
        ("Original Appointment", "en"),
        ("Ursprüngliche Nachricht", "de"),
        ("Originalnachricht", "de"),
        ("Message d'origine", "fr"),
        ("Message d’origine", "fr"),
        ("Mensaje original", "es"),
        ("Messaggio originale", "it"),
        ("Oorspronkelijk bericht", "nl"),
        ("Mensagem original", "pt"),
        ("Ursprungligt meddelande", "sv"),
        ("Oprindelig meddelelse", "da"),
        ("Opprinnelig melding", "no"),
        ("Alkuperäinen viesti", "fi"),
        ("Oryginalna wiadomość", "pl"),
        ("Původní zpráva", "cs"),
        ("Pôvodná správa", "sk"),
        ("Исходное сообщение", "ru"),
        ("Вихідне повідомлення", "uk"),
        ("Оригінальне повідомлення", "uk"),
        ("Özgün İleti", "tr"),
        ("Orijinal Mesaj", "tr"),
        ("元のメッセージ", "ja"),
        ("邮件原件", "zh"),
        ("原始邮件", "zh"),
        ("原始郵件", "zh"),
        ("Mesaj original", "ro"),
        ("Eredeti üzenet", "hu"),
        ("원본 메시지", "ko"),
    ),
    "Yahoo": (
        ("Forwarded Message", "en"),
        ("Weitergeleitete Nachricht", "de"),
        ("Message transmis", "fr"),
        ("Message transféré", "fr"),
        ("Mensaje reenviado", "es"),
        ("Messaggio inoltrato", "it"),
        ("Doorgestuurd bericht", "nl"),
        ("Mensagem reencaminhada", "pt"),
        ("Mensagem encaminhada", "pt"),
        ("Vidarebefordrat meddelande", "sv"),
        ("Videresendt meddelelse", "da"),
        ("Videresendt melding", "no"),
        ("Edelleenlähetetty viesti", "fi"),
        ("Przekazana wiadomość", "pl"),
        ("Přeposlaná zpráva", "cs"),
        ("Preposlaná správa", "sk"),
        ("Пересылаемое сообщение", "ru"),
        ("Перенаправлене повідомлення", "uk"),
        ("İletilmiş Mesaj", "tr"),
        ("転送メッセージ", "ja"),
        ("転送されたメッセージ", "ja"),
        ("轉寄的郵件", "zh"),
        ("已转发邮件", "zh"),
        ("Mesaj redirecționat", "ro"),
        ("Továbbított üzenet", "hu"),
    ),
    "HubSpot": (
        ("Weitergeleitete Nachricht", "de"),
        ("Mensaje reenviado", "es"),
        ("Messaggio inoltrato", "it"),
        ("Doorgestuurd bericht", "nl"),
        ("Mensagem encaminhada", "pt"),
        ("Vidarebefordrat meddelande", "sv"),
        ("Videresendt meddelelse", "da"),
        ("Videresendt melding", "no"),
        ("Message transféré", "fr"),
        ("Edelleenlähetetty viesti", "fi"),
        ("メッセージを転送", "ja"),
        ("Wiadomość przesłana dalej", "pl"),
        ("转发的邮件", "zh"),
    ),
    "MailMate": (("Forwarded message", "en"),),
    "QQ Mail": (("原始邮件", "zh"), ("转发邮件信息", "zh"), ("转发邮件", "zh")),
    "Yandex Mail": (("Пересылаемое сообщение", "ru"), ("Пересланное сообщение", "ru")),
    "Mail.ru": (("Пересылаемое сообщение", "ru"), ("Пересланное письмо", "ru")),
    "WP and Onet": (("Wiadomość przekazana", "pl"), ("Przekazywana wiadomość", "pl")),
    "Seznam": (("Přeposlaný e-mail", "cs"), ("Původní e-mail", "cs"), ("Forwardovaná zpráva", "cs")),
    "Samsung": (
        ("Oorspronkelijk bericht", "nl"),
        ("Message d'origine", "fr"),
        ("Пересланное сообщение", "ru"),
        ("Alkuperäinen viesti", "fi"),
        ("Originalt meddelelse", "da"),
    ),
    "Outlook on the web": (
        ("Ursprüngliche Nachricht", "de"),
        ("Message transféré", "fr"),
        ("转发邮件", "zh"),
    ),
}

# How many dashes a client draws before the words; tells apart those who use the same words.
DASHES = {"Gmail": 10, "HubSpot": 10, "Thunderbird": 8, "Samsung": 8, "Outlook": 5, "Yahoo": 5, "Apple Mail": 0}

# Separators that name somebody: the words they begin with. (Opening words, client, language.)
OPENINGS: tuple[tuple[str, str, str], ...] = (
    ("Forwarded message from ", "mutt", "en"),
    ("Forwarded by ", "Notes", "en"),
    ("Weitergeleitet von ", "Notes", "de"),
    ("Réacheminé par ", "Notes", "fr"),
    ("Transféré par ", "Notes", "fr"),
    ("Reenviado por ", "Notes", "es"),
    ("Inoltrato da ", "Notes", "it"),
    ("Doorgestuurd door ", "Notes", "nl"),
    ("Encaminhado por ", "Notes", "pt"),
    ("Vidarebefordrat av ", "Notes", "sv"),
    ("Videresendt af ", "Notes", "da"),
    ("Videresendt av ", "Notes", "no"),
    ("Weitergeleitete Nachricht von ", "KMail", "de"),
)

CLOSING = frozenset(
    normalised(words)
    for words in (
        "End forwarded message",
        "End of forwarded message",
        "Ende der weitergeleiteten Nachricht",
        "Fin du message transféré",
        "Fin del mensaje reenviado",
        "Fine messaggio inoltrato",
        "Einde doorgestuurd bericht",
        "Fim da mensagem encaminhada",
        "Koniec przekazanej wiadomości",
        "Konec přeposlané zprávy",
        "Конец пересылаемого сообщения",
        "Завершение пересылаемого сообщения",
        "Кінець пересланого повідомлення",
    )
)


def words_of(line: str) -> str:
    """The words of a separator line, without what is drawn around them and without a final colon."""
    return normalised(line.strip(RULES).rstrip(":： \u00a0").strip(RULES))


def _by_words() -> dict[str, tuple[Separator, ...]]:
    found: dict[str, tuple[Separator, ...]] = {}
    for client, rows in TABLE.items():
        for words, language in rows:
            found[words_of(words)] = (*found.get(words_of(words), ()), Separator(client, language))
    return found


SEPARATORS = _by_words()
