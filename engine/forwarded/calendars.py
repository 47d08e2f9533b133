"""How languages write dates: names of months and of days of the week, marks of the half of the day, order of numbers.

Names are matched from their beginning (three letters and more), so the full form stands for its abbreviations; where
an abbreviation is no beginning, or the genitive differs, it is listed too.
"""

from __future__ import annotations

from engine.forwarded.labels import normalised

__all__ = ["AFTERNOON", "DAYS", "MONTHS", "MORNING", "ORDERS", "ZONES"]

# January to December, forms of one month separated by "|".
MONTH_NAMES: dict[str, str] = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar|Jänner Februar|Feber März|Maerz|Mrz April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août|aout septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre|setiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "nl": "januari februari maart|mrt april mei juni juli augustus september oktober november december",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "da": "januar februar marts april maj juni juli august september oktober november december",
    "no": "januar februar mars april mai juni juli august september oktober november desember",
    "fi": "tammikuuta|tammikuu helmikuuta|helmikuu maaliskuuta|maaliskuu huhtikuuta|huhtikuu toukokuuta|toukokuu"
    " kesäkuuta|kesäkuu heinäkuuta|heinäkuu elokuuta|elokuu syyskuuta|syyskuu lokakuuta|lokakuu"
    " marraskuuta|marraskuu joulukuuta|joulukuu",
    "pl": "stycznia|styczeń lutego|luty marca|marzec kwietnia|kwiecień maja|maj czerwca|czerwiec lipca|lipiec"
    " sierpnia|sierpień września|wrzesień października|październik listopada|listopad grudnia|grudzień",
    "cs": "ledna|leden února|únor března|březen dubna|duben května|květen června|červen|čvn července|červenec|čvc"
    " srpna|srpen září října|říjen listopadu|listopad prosince|prosinec",
    "sk": "januára|január februára|február marca|marec apríla|apríl mája|máj júna|jún júla|júl augusta|august"
    " septembra|september októbra|október novembra|november decembra|december",
    "ru": "января|январь февраля|февраль марта|март апреля|апрель мая|май июня|июнь июля|июль августа|август"
    " сентября|сентябрь октября|октябрь ноября|ноябрь декабря|декабрь",
    "uk": "січня|січень лютого|лютий березня|березень квітня|квітень травня|травень червня|червень липня|липень"
    " серпня|серпень вересня|вересень жовтня|жовтень листопада|листопад грудня|грудень",
    "tr": "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık",
    "ro": "ianuarie februarie martie aprilie mai iunie iulie august septembrie octombrie|oct noiembrie|nov decembrie",
    "hu": "január február március április május június július augusztus szeptember október november december",
    "hr": "siječnja|siječanj veljače|veljača ožujka|ožujak travnja|travanj svibnja|svibanj lipnja|lipanj"
    " srpnja|srpanj kolovoza|kolovoz rujna|rujan listopada|listopad studenog|studenoga|studeni prosinca|prosinac",
    "et": "jaanuar veebruar märts aprill mai juuni juuli august september oktoober november detsember",
    "ca": "gener febrer març abril maig juny juliol agost setembre octubre novembre desembre",
    "el": "Ιανουαρίου|Ιανουάριος|Ιαν Φεβρουαρίου|Φεβρουάριος|Φεβ Μαρτίου|Μάρτιος|Μαρ Απριλίου|Απρίλιος|Απρ Μαΐου|Μάιος"
    " Ιουνίου|Ιούνιος|Ιουν Ιουλίου|Ιούλιος|Ιουλ Αυγούστου|Αύγουστος|Αυγ Σεπτεμβρίου|Σεπτέμβριος|Σεπ"
    " Οκτωβρίου|Οκτώβριος|Οκτ Νοεμβρίου|Νοέμβριος|Νοε Δεκεμβρίου|Δεκέμβριος|Δεκ",
    "bg": "януари февруари март април май юни юли август септември октомври ноември декември",
}

# Monday to Sunday. Needed where a day's abbreviation is also the beginning of a month, and to tell which of two
# numbers is the month.
DAY_NAMES: dict[str, str] = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag|Sonnabend Sonntag",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
    "it": "lunedì martedì mercoledì giovedì venerdì sabato domenica",
    "nl": "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
    "pt": "segunda terça quarta quinta sexta sábado domingo",
    "sv": "måndag tisdag onsdag torsdag fredag lördag söndag",
    "da": "mandag tirsdag onsdag torsdag fredag lørdag søndag",
    "no": "mandag tirsdag onsdag torsdag fredag lørdag søndag",
    "fi": "maanantai|maanantaina tiistai|tiistaina keskiviikko|keskiviikkona torstai|torstaina perjantai|perjantaina"
    " lauantai|lauantaina sunnuntai|sunnuntaina",
    "pl": "poniedziałek wtorek środa czwartek piątek sobota niedziela",
    "cs": "pondělí úterý středa čtvrtek pátek sobota neděle",
    "sk": "pondelok utorok streda štvrtok piatok sobota nedeľa",
    "ru": "понедельник вторник среда четверг пятница суббота воскресенье",
    "uk": "понеділок вівторок середа четвер п'ятниця|п’ятниця субота неділя",
    "tr": "Pazartesi Salı Çarşamba Perşembe Cuma Cumartesi Pazar",
    "ro": "luni marți miercuri joi vineri sâmbătă duminică",
    "hu": "hétfő kedd szerda csütörtök péntek szombat vasárnap",
    "hr": "ponedjeljak utorak srijeda četvrtak petak subota nedjelja",
    "ca": "dilluns dimarts dimecres dijous divendres dissabte diumenge",
}

# Before or after the time of day; dots and spaces inside do not count.
MORNING = frozenset(("am", "午前", "上午", "凌晨", "早上", "오전", "öö", "πμ", "dop"))
AFTERNOON = frozenset(("pm", "午後", "下午", "晚上", "中午", "오후", "ös", "μμ", "odp"))

# The order of day, month and year in numbers; every other language begins with the day. English has two orders and
# therefore none: only what can be read in one way is read.
ORDERS: dict[str, str] = {"en": "", "ja": "ymd", "zh": "ymd", "ko": "ymd", "hu": "ymd"}

# Names of zones that mean one offset wherever they are written, in minutes. Missing on purpose: CST, IST, BST and
# others that mean several.
ZONES: dict[str, int] = {
    "UTC": 0, "GMT": 0, "Z": 0, "UT": 0, "WET": 0, "WEST": 60, "CET": 60, "MEZ": 60, "CEST": 120, "MESZ": 120,
    "EET": 120, "OEZ": 120, "EEST": 180, "OESZ": 180, "MSK": 180, "TRT": 180, "JST": 540, "KST": 540, "HKT": 480,
    "EST": -300, "EDT": -240, "CDT": -300, "MST": -420, "MDT": -360, "PST": -480, "PDT": -420,
    "AEST": 600, "AEDT": 660, "NZST": 720, "NZDT": 780, "HNEC": 60, "HAEC": 120, "SEČ": 60, "SELČ": 120,
    "МСК": 180,
}  # fmt: skip


def _names(table: dict[str, str]) -> dict[str, tuple[tuple[str, ...], ...]]:
    return {
        language: tuple(tuple(normalised(form) for form in forms.split("|")) for forms in names.split())
        for language, names in table.items()
    }


MONTHS = _names(MONTH_NAMES)
DAYS = _names(DAY_NAMES)
