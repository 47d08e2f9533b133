"""Dates as clients write them, and those that stay unread because they could be two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.forwarded import parse_date
from engine.forwarded.calendars import DAYS, MONTHS, ORDERS
from engine.forwarded.dates import parse_in_any

LANGUAGES = sorted(MONTHS)
HOUR = timedelta(hours=1)

# The third day of each month, as people of the language write it.
MONTHS_IN_FULL = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "da": "januar februar marts april maj juni juli august september oktober november december",
    "no": "januar februar mars april mai juni juli august september oktober november desember",
    "fi": "tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesäkuuta heinäkuuta elokuuta syyskuuta lokakuuta"
    " marraskuuta joulukuuta",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
    "cs": "ledna února března dubna května června července srpna září října listopadu prosince",
    "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    "uk": "січня лютого березня квітня травня червня липня серпня вересня жовтня листопада грудня",
    "tr": "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık",
}
# As phones and webmail abbreviate them.
MONTHS_IN_SHORT = {
    "en": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "de": "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
    "fr": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "es": "ene feb mar abr may jun jul ago sept oct nov dic",
    "it": "gen feb mar apr mag giu lug ago set ott nov dic",
    "nl": "jan. feb. mrt. apr. mei jun. jul. aug. sep. okt. nov. dec.",
    "pt": "jan. fev. mar. abr. mai. jun. jul. ago. set. out. nov. dez.",
    "sv": "jan. feb. mars apr. maj juni juli aug. sep. okt. nov. dec.",
    "da": "jan. feb. mar. apr. maj jun. jul. aug. sep. okt. nov. dec.",
    "no": "jan. feb. mars apr. mai juni juli aug. sep. okt. nov. des.",
    "fi": "tammik. helmik. maalisk. huhtik. toukok. kesäk. heinäk. elok. syysk. lokak. marrask. jouluk.",
    "pl": "sty lut mar kwi maj cze lip sie wrz paź lis gru",
    "ru": "янв. февр. мар. апр. мая июн. июл. авг. сент. окт. нояб. дек.",
    "uk": "січ. лют. бер. квіт. трав. черв. лип. серп. вер. жовт. лист. груд.",
    "tr": "Oca Şub Mar Nis May Haz Tem Ağu Eyl Eki Kas Ara",
}


@pytest.mark.parametrize("language", sorted(MONTHS_IN_FULL))
def test_months_in_full_are_read(language: str) -> None:
    for month, name in enumerate(MONTHS_IN_FULL[language].split(), 1):
        assert parse_date(f"3 {name} 2025 10:12", language) == datetime(2025, month, 3, 10, 12)


@pytest.mark.parametrize("language", sorted(MONTHS_IN_SHORT))
def test_months_in_short_are_read(language: str) -> None:
    for month, name in enumerate(MONTHS_IN_SHORT[language].split(), 1):
        assert parse_date(f"3 {name} 2025 10:12", language) == datetime(2025, month, 3, 10, 12), name


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Monday, March 3, 2025 10:12 AM", "en"),
        ("On Monday, March 3rd, 2025 at 10:12 AM", "en"),
        ("mar. 3 mars 2025 à 10:12", "fr"),  # the abbreviation of Tuesday is no month
        ("mar, 3 mar 2025 a las 10:12", "es"),
        ("lunes, 3 de marzo de 2025 10:12", "es"),
        ("lun. 3 mar 2025 alle 10.12", "it"),
        ("seg., 3 de mar. de 2025 às 10:12", "pt"),
        ("03/03/2025 10:12", "fr"),
        ("3.3.2025 klo 10.12", "fi"),
        ("3. 3. 2025 v 10:12", "cs"),
        ("03.03.25 10:12", "de"),
        ("2025-03-03 10:12", "en"),
        ("2025-03-03T10:12", "sv"),
        ("3-3-2025 10:12", "nl"),
        ("2025/03/03 10:12", "ja"),
        ("2025年3月3日(月) 10時12分", "ja"),
        ("2025年3月3日 午前10:12", "ja"),
        ("2025年3月3日 星期一 上午 10:12", "zh"),
        ("2025년 3월 3일 오전 10:12", "ko"),
        ("2025. 03. 03. 10:12", "hu"),
        ("3 Mart 2025 Pazartesi 10:12", "tr"),
        ("10:12, 3 March 2025", "en"),
    ],
)
def test_layouts_are_read(text: str, language: str) -> None:
    assert parse_date(text, language) == datetime(2025, 3, 3, 10, 12)


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("3 March 2025 12:12 AM", 0),
        ("3 March 2025 12:12 PM", 12),
        ("3 March 2025 1:12 p.m.", 13),
        ("3 March 2025 11:12\u202fPM", 23),
        ("3 March 2025 23:12", 23),
    ],
)
def test_halves_of_the_day_are_read(text: str, hour: int) -> None:
    assert parse_date(text, "en") == datetime(2025, 3, 3, hour, 12)


class TestZones:
    @pytest.mark.parametrize(
        ("zone", "offset"),
        [
            ("+0100", HOUR),
            ("+01:00", HOUR),
            ("GMT+1", HOUR),
            ("(GMT+01:00)", HOUR),
            ("UTC+5:30", 5.5 * HOUR),
            ("-0330", -3.5 * HOUR),
            ("UTC", 0 * HOUR),
            ("MESZ", 2 * HOUR),
            ("PDT", -7 * HOUR),
        ],
    )
    def test_a_zone_that_is_written_counts(self, zone: str, offset: timedelta) -> None:
        date = parse_date(f"3 March 2025 10:12 {zone}", "en", UTC)
        assert date == datetime(2025, 3, 3, 10, 12, tzinfo=timezone(offset))
        assert date.utcoffset() == offset

    def test_without_one_the_given_zone_counts(self) -> None:
        zone = timezone(9 * HOUR)
        assert parse_date("2025年3月3日 10:12", "ja", zone) == datetime(2025, 3, 3, 10, 12, tzinfo=zone)

    def test_without_any_the_date_is_naive(self) -> None:
        date = parse_date("3 March 2025 10:12", "en")
        assert date is not None
        assert date.tzinfo is None

    @pytest.mark.parametrize("zone", ["CST", "IST", "XYZ", "+2500"])
    def test_a_zone_that_could_be_two_leaves_no_date(self, zone: str) -> None:
        assert parse_date(f"3 March 2025 10:12 {zone}", "en") is None


class TestDoubt:
    @pytest.mark.parametrize(
        ("text", "language"),
        [
            ("3/4/2025 10:12", "en"),
            ("3 jui 2025 10:12", "fr"),
            ("3 März 10:12", "de"),
            ("3 March 2025", "en"),
            ("March 2025 10:12", "en"),
            ("3 or 4 March 2025 10:12", "en"),
            ("31 February 2025 10:12", "en"),
            ("3 March 25 10:12", "en"),
            ("3 March 2025 25:12", "en"),
            ("3 March 1825 10:12", "en"),
            ("3 Smarch 2025 10:12", "en"),
            ("yesterday", "en"),
            ("", "en"),
        ],
    )
    def test_what_is_not_certain_is_not_read(self, text: str, language: str) -> None:
        assert parse_date(text, language) is None

    def test_numbers_that_can_be_read_in_one_way_only_are_read(self) -> None:
        assert parse_date("3/14/2025 10:12", "en") == parse_date("14/3/2025 10:12", "en")

    def test_the_day_of_the_week_settles_which_number_is_the_month(self) -> None:
        assert parse_date("Thu 3/4/2025 10:12", "en") == datetime(2025, 4, 3, 10, 12)
        assert parse_date("Tue 3/4/2025 10:12", "en") == datetime(2025, 3, 4, 10, 12)
        assert parse_date("Sat 3/4/2025 10:12", "en") is None

    def test_a_date_of_the_wire_is_english_whatever_the_labels_are(self) -> None:
        # "mar" would be November in Finnish.
        assert parse_date("Mon, 3 Mar 2025 10:12:33", "fi") == datetime(2025, 3, 3, 10, 12, 33)

    def test_other_languages_are_asked_and_have_to_agree(self) -> None:
        assert parse_in_any("3 maaliskuuta 2025 10:12", ["en"])[0] == datetime(2025, 3, 3, 10, 12)
        # October in Croatian, November in Polish and Czech.
        assert parse_in_any("3 listopada 2025 10:12", ["en"])[0] is None
        assert parse_in_any("3 listopada 2025 10:12", ["hr"])[0] == datetime(2025, 10, 3, 10, 12)
        assert parse_in_any("3 listopada 2025 10:12", ["pl"])[0] == datetime(2025, 11, 3, 10, 12)

    def test_numbers_in_doubt_are_not_settled_by_other_languages(self) -> None:
        assert parse_in_any("3/4/2025 10:12", ["en"])[0] is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_table_has_twelve_months_and_seven_days(language: str) -> None:
    assert len(MONTHS[language]) == 12
    assert len(DAYS.get(language, range(7))) == 7


@settings(deadline=None)
@given(st.text(), st.sampled_from([*LANGUAGES, *ORDERS, "", "xx"]))
def test_no_text_raises(text: str, language: str) -> None:
    parse_date(text, language)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["3", "12", "2025", ":", ".", "/", "年", "AM", "GMT", "+", "mar", " ", ", "]), max_size=12)
)
def test_no_date_like_text_raises(pieces: list[str]) -> None:
    for language in ("en", "fi", "ja"):
        parse_date("".join(pieces), language)
