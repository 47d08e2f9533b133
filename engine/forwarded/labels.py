"""The names that header fields have in the header block of a forward, per language.

Each language lists its own spellings, written as clients show them; case, width and surrounding marks do not matter
(`normalised`). A label means one field in every language, so that a block may mix languages, as Gmail's do.
"""

from __future__ import annotations

import enum
import unicodedata

__all__ = ["FIELDS", "LABELS", "LANGUAGES", "RAW_FIELDS", "Field", "normalised"]


class Field(enum.Enum):
    """What a line of a header block holds. `OTHER` is a field that says nothing about parties, date or subject."""

    AUTHOR = enum.auto()
    TO = enum.auto()
    CC = enum.auto()
    DATE = enum.auto()
    SUBJECT = enum.auto()
    OTHER = enum.auto()


# Of one language: author; to; cc; date; subject; other.
TABLE: dict[str, tuple[str, str, str, str, str, str]] = {
    "en": (
        "From",
        "To",
        "Cc|Copy",
        "Date|Sent|Sent on",
        "Subject",
        "Bcc|Reply-To|Reply to|Sender|Importance|Priority|Attachments|Attachment|Categories|Sensitivity|Organization"
        "|Resent-From|Resent-To|Resent-Date|When|Where|Required Attendees|Optional Attendees|Newsgroups|Followup-To",
    ),
    "de": (
        "Von|Absender",
        "An|Empfänger",
        "Kopie|Kopie (CC)|Kopie an",
        "Datum|Gesendet|Gesendet am|Gesendet um",
        "Betreff",
        "Blindkopie|Blindkopie (BCC)|Antwort an|Antwort-an|Wichtigkeit|Priorität|Anlagen|Anlage|Anhänge|Kategorien"
        "|Vertraulichkeit|Organisation",
    ),
    "fr": (
        "De|Expéditeur",
        "À|A|Pour|Destinataire|Destinataires",
        "Copie à|Copie|Cc",
        "Date|Envoyé|Envoyé le|Date d'envoi|Date d’envoi",
        "Objet|Sujet",
        "Cci|Copie cachée à|Réponse à|Répondre à|Importance|Priorité|Pièces jointes|Pièce jointe|Catégories",
    ),
    "es": (
        "De|Remitente",
        "Para|A|Destinatario",
        "CC|Copia|Con copia",
        "Fecha|Enviado|Enviado el|Enviada|Enviado en|Enviado a las",
        "Asunto",
        "CCO|Responder a|Importancia|Prioridad|Datos adjuntos|Archivos adjuntos|Categorías",
    ),
    "it": (
        "Da|Mittente",
        "A|Destinatario",
        "Cc|Copia|Per conoscenza",
        "Data|Inviato|Inviato il|Data invio",
        "Oggetto",
        "Ccn|Rispondi a|Priorità|Importanza|Allegati|Categorie",
    ),
    "nl": (
        "Van|Afzender",
        "Aan|Ontvanger",
        "CC|Kopie",
        "Datum|Verzonden|Verzonden op|Verstuurd",
        "Onderwerp",
        "BCC|Antwoord aan|Beantwoorden|Urgentie|Prioriteit|Bijlagen|Categorieën",
    ),
    "pt": (
        "De|Remetente",
        "Para|Destinatário",
        "CC|Cópia|Com cópia",
        "Data|Enviado|Enviada|Enviado em|Enviada em|Enviado a|Enviada a",
        "Assunto",
        "CCO|Bcc|Responder para|Responder a|Prioridade|Importância|Anexos|Categorias",
    ),
    "sv": (
        "Från|Avsändare",
        "Till|Mottagare",
        "Kopia|Kopia till",
        "Datum|Skickat|Skickades|Sänt",
        "Ämne",
        "Hemlig kopia|Dold kopia|Svara till|Svar till|Prioritet|Bilagor|Bifogade filer",
    ),
    "da": (
        "Fra|Afsender",
        "Til|Modtager",
        "Cc|Kopi|Kopi til",
        "Dato|Sendt",
        "Emne",
        "Skjult kopi|Svar til|Prioritet|Vedhæftede filer|Vedhæftet",
    ),
    "no": (
        "Fra|Avsender",
        "Til|Mottaker",
        "Kopi|Kopi til",
        "Dato|Sendt",
        "Emne",
        "Blindkopi|Svar til|Prioritet|Vedlegg",
    ),
    "fi": (
        "Lähettäjä",
        "Vastaanottaja|Vastaanottajat",
        "Kopio",
        "Päivämäärä|Päiväys|Lähetetty|Lähetysaika|Pvm",
        "Aihe",
        "Piilokopio|Vastausosoite|Tärkeys|Prioriteetti|Liitteet",
    ),
    "pl": (
        "Od|Nadawca",
        "Do|Adresat|Odbiorca",
        "DW|Do wiadomości|Kopia|UDW do",
        "Data|Wysłano|Wysłane|Data wysłania",
        "Temat",
        "UDW|Odpowiedz do|Ważność|Priorytet|Załączniki",
    ),
    "cs": (
        "Od|Odesílatel",
        "Komu|Příjemce|Pro",
        "Kopie",
        "Datum|Odesláno|Posláno",
        "Předmět",
        "Skrytá|Skrytá kopie|Odpověď|Odpovědět komu|Důležitost|Přílohy",
    ),
    "sk": (
        "Od|Odosielateľ",
        "Komu|Pre|Príjemca",
        "Kópia",
        "Dátum|Odoslané|Poslané",
        "Predmet",
        "Skrytá kópia|Odpovedať|Dôležitosť|Prílohy",
    ),
    "ru": (
        "От|От кого|Отправитель",
        "Кому|Получатель|Получатели",
        "Копия|Копии",
        "Дата|Отправлено|Дата отправки|Когда",
        "Тема",
        "Скрытая копия|Ответить|Обратный адрес|Важность|Приоритет|Вложения",
    ),
    "uk": (
        "Від|Від кого|Відправник|Надіслав",
        "Кому|Одержувач|Отримувач",
        "Копія",
        "Дата|Надіслано|Відправлено|Дата надсилання",
        "Тема",
        "Прихована копія|Відповісти|Зворотна адреса|Важливість|Вкладення",
    ),
    "tr": (
        "Kimden|Gönderen|Gönderici",
        "Kime|Alıcı|Alıcılar",
        "Bilgi|Kopya",
        "Tarih|Gönderildi|Gönderilen|Gönderilme|Gönderme Tarihi|Gönderim Tarihi|Gönderilme Tarihi",
        "Konu",
        "Gizli|Yanıt|Yanıtla|Yanıtlama Adresi|Önem|Öncelik|Ekler",
    ),
    "ja": (
        "差出人|送信者|送信元",
        "宛先|受信者|送信先",
        "CC|カーボンコピー|写し",
        "送信日時|日付|日時|送信日|送信時刻",
        "件名|題名",
        "BCC|返信先|重要度|優先度|添付ファイル|分類項目",
    ),
    "zh": (
        "发件人|寄件者|寄件人|發件人|发信人|發信人",
        "收件人|收件者|收信人",
        "抄送|副本|抄送人|副本抄送",
        "发送时间|发件时间|日期|时间|寄件日期|傳送時間|傳送日期|时间日期|發送時間|時間|发送日期|已发送|已傳送",
        "主题|主旨|主題",
        "密送|密件抄送|密件副本|回复|回覆|答复至|重要性|優先順序|附件",
    ),
    "ro": (
        "De la|Expeditor|Expeditorul",
        "Către|Catre|Destinatar|Destinatarul",
        "Cc|Copie",
        "Dată|Data|Trimis|Trimis la",
        "Subiect|Subiectul",
        "Cci|Răspunde la|Importanță|Atașări",
    ),
    "hu": (
        "Feladó",
        "Címzett|Címzettek",
        "Másolat|Másolatot kap",
        "Dátum|Elküldve|Küldve",
        "Tárgy",
        "Titkos másolat|Válaszcím|Fontosság|Mellékletek",
    ),
    "hr": (
        "Šalje|Pošiljatelj",
        "Prima|Primatelj|Za",
        "Kopija|Kopija za",
        "Datum|Poslano",
        "Naslov|Predmet",
        "Skrivena kopija|Odgovori|Važnost|Privici",
    ),
    "et": ("Saatja", "Adressaat|Saaja", "Koopia", "Kuupäev|Saadetud", "Teema", "Pimekoopia|Vasta|Manused"),
    "ca": ("De|Remitent", "Per a|A", "A/c|Còpia", "Data|Enviat|Enviat el", "Assumpte", "Respon a|Importància"),
    "el": (
        "Από|Αποστολέας",
        "Προς|Παραλήπτης",
        "Κοιν.|Κοινοποίηση",
        "Ημερομηνία|Στάλθηκε|Εστάλη",
        "Θέμα",
        "Κρυφή κοινοποίηση|Σπουδαιότητα|Συνημμένα",
    ),
    "bg": ("От|Подател", "До|Получател", "Копие", "Дата|Изпратено", "Относно", "Важност|Прикачени файлове"),
    "ko": (
        "보낸 사람|보낸사람|발신",
        "받는 사람|받는사람|수신",
        "참조",
        "보낸 날짜|보낸날짜|날짜|보냄|일시",
        "제목",
        "숨은 참조|회신|중요도|첨부 파일",
    ),
}

# Fields of a message as it travels. Their presence means that somebody pasted a raw header, which only a client that
# marks the forward with a separator does.
RAW_FIELDS = frozenset(
    (
        "received",
        "return-path",
        "delivered-to",
        "message-id",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
        "dkim-signature",
        "authentication-results",
        "in-reply-to",
        "references",
        "user-agent",
        "x-mailer",
    )
)


def normalised(label: str) -> str:
    """One spelling of a label: full width, case, inner and outer space, and marks for bold text undone."""
    text = unicodedata.normalize("NFKC", label).casefold()
    return unicodedata.normalize("NFC", " ".join(text.strip(" \t*_'\"|\u200b\u200e\u200f\ufeff").split()))


def _by_label() -> tuple[dict[str, Field], dict[str, tuple[str, ...]]]:
    fields: dict[str, Field] = {}
    languages: dict[str, tuple[str, ...]] = {}
    for language, columns in TABLE.items():
        for field, labels in zip(Field, columns, strict=True):
            for label in labels.split("|"):
                key = normalised(label)
                fields.setdefault(key, field)
                if language not in languages.get(key, ()):
                    languages[key] = (*languages.get(key, ()), language)
    return fields, languages


LABELS = {
    (language, field): tuple(labels.split("|"))
    for language, columns in TABLE.items()
    for field, labels in zip(Field, columns, strict=True)
}
FIELDS, LANGUAGES = _by_label()  # of a normalised label: its field; the languages that use it, in the table's order
