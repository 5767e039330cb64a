"""Which language a text is in: short texts, listed languages, mixed texts, and what must not decide."""

import json
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.text.languages import FOLDER, Identifier, grams, identifier, language_of, script_of

SENTENCES = {
    "en": "Could you tell me when the next train to the airport leaves?",
    "de": "Können Sie mir sagen, wann der nächste Zug zum Flughafen fährt?",
    "es": "¿Podría decirme cuándo sale el próximo tren al aeropuerto?",
    "fr": "Pourriez-vous me dire quand part le prochain train pour l'aéroport ?",
    "it": "Potrebbe dirmi quando parte il prossimo treno per l'aeroporto?",
    "pt": "Poderia me dizer quando sai o próximo trem para o aeroporto?",
    "nl": "Kunt u mij zeggen wanneer de volgende trein naar de luchthaven vertrekt?",
    "sv": "Kan du säga mig när nästa tåg till flygplatsen går?",
    "da": "Kan du sige mig, hvornår det næste tog til lufthavnen kører?",
    "no": "Kan du si meg når det neste toget til flyplassen går?",
    "fi": "Voisitko kertoa, milloin seuraava juna lentoasemalle lähtee?",
    "pl": "Czy może mi pan powiedzieć, kiedy odjeżdża następny pociąg na lotnisko?",
    "cs": "Můžete mi říct, kdy odjíždí další vlak na letiště?",
    "hu": "Meg tudná mondani, mikor indul a következő vonat a repülőtérre?",
    "ro": "Îmi puteți spune când pleacă următorul tren spre aeroport?",
    "tr": "Havaalanına giden bir sonraki trenin ne zaman kalktığını söyler misiniz?",
    "id": "Bisakah Anda memberi tahu saya kapan kereta berikutnya ke bandara berangkat?",
    "vi": "Bạn có thể cho tôi biết chuyến tàu tiếp theo đến sân bay khởi hành lúc nào không?",
    "ru": "Не могли бы вы сказать, когда отправляется следующий поезд в аэропорт?",
    "uk": "Чи не могли б ви сказати, коли відправляється наступний потяг до аеропорту?",
    "bg": "Бихте ли ми казали кога тръгва следващият влак за летището?",
    "el": "Μπορείτε να μου πείτε πότε φεύγει το επόμενο τρένο για το αεροδρόμιο;",
    "ar": "هل يمكنك أن تخبرني متى يغادر القطار التالي إلى المطار؟",
    "fa": "می‌توانید به من بگویید قطار بعدی فرودگاه کی حرکت می‌کند؟",
    "he": "האם תוכל לומר לי מתי יוצאת הרכבת הבאה לשדה התעופה?",
    "hi": "क्या आप मुझे बता सकते हैं कि हवाई अड्डे के लिए अगली ट्रेन कब जाती है?",
    "bn": "আপনি কি বলতে পারেন বিমানবন্দরের পরের ট্রেন কখন ছাড়বে?",
    "th": "ช่วยบอกหน่อยได้ไหมว่ารถไฟขบวนต่อไปไปสนามบินออกเมื่อไหร่",
    "zh": "你能告诉我下一班去机场的火车什么时候开吗？",
    "ja": "空港行きの次の電車がいつ出るか教えていただけますか。",
    "ko": "공항으로 가는 다음 기차가 언제 출발하는지 알려 주시겠어요?",
}


@pytest.mark.parametrize(("language", "text"), SENTENCES.items())
def test_a_sentence_is_told_in_thirty_languages(language: str, text: str):
    found = identifier().identify(text)

    assert found.language == language
    assert found.sure


@pytest.mark.parametrize(("language", "text"), SENTENCES.items())
def test_three_words_do_where_the_languages_are_listed(language: str, text: str):
    words = text.split()
    few = " ".join(words[:3]) if len(words) > 3 else text[:8]

    assert identifier().identify(few, among=("en", "de", "fr", "tr", "th", language)).language == language


def test_only_listed_languages_are_named():
    found = identifier().identify(SENTENCES["nl"], among=("de", "en"))

    assert found.language in ("de", "en")


@pytest.mark.parametrize(
    ("text", "script"),
    [("Hello", "Latin"), ("Привет", "Cyrillic"), ("你好", "Han"), ("こんにちは世界", "Kana"), ("안녕", "Hangul"),
     ("مرحبا", "Arabic"), ("नमस्ते", "Devanagari"), ("123 !?", ""), ("", ""), ("Χαίρετε", "Greek"), ("გამარჯობა", "Georgian")],
)  # fmt: skip
def test_the_script_is_told(text: str, script: str):
    assert script_of(text) == script


@pytest.mark.parametrize(
    "text",
    [
        "Please ask Herr Müller-Lüdenscheidt or Señora Peña in the Straße des 17. Juni",
        "The variable `größe_der_schrift = 12` is set in ~/Einstellungen/schrift.toml",
        "Order 4711-0815 for Jean-François Béranger is late",
        "see https://beispiel.example/wie/man/das/macht and mail info@überall.example",
    ],
)
def test_names_numbers_and_code_do_not_decide(text: str):
    assert identifier().identify(text).language == "en"


@pytest.mark.parametrize("text", ["", "   ", "12345", "?!…", "😀", "\ud800", "\x00", "`x = 1`"])
def test_a_text_without_words_has_no_language_and_nobody_is_sure(text: str):
    found = identifier().identify(text)

    assert found.language == "" or not found.sure


def test_what_could_be_several_languages_is_not_sure():
    assert not identifier().identify("a").sure
    assert identifier().identify("no").confidence < 0.9


def test_a_text_in_two_languages_is_cut_where_it_changes():
    text = (
        "Hello, I need some help with this. Je voudrais savoir quand mon colis arrive. Danke für die schnelle Antwort!"
    )
    found = identifier().stretches(text)

    assert [stretch.language for stretch in found] == ["en", "fr", "de"]
    assert text[found[1].start : found[1].end] == "Je voudrais savoir quand mon colis arrive"


def test_a_text_in_two_scripts_is_cut_where_it_changes():
    found = identifier().stretches("我的订单还没有到。 Please send it again to my address.")

    assert [stretch.language for stretch in found] == ["zh", "en"]


def test_one_foreign_word_does_not_cut_a_text():
    assert [s.language for s in identifier().stretches("Das Meeting war sehr gut und hat allen gefallen.")] == ["de"]


@given(st.text(max_size=200))
def test_any_text_has_an_answer_and_its_stretches_lie_within_it(text: str):
    found = identifier().identify(text)

    assert 0.0 <= found.confidence <= 1.0
    stretches = identifier().stretches(text)
    assert all(0 <= s.start < s.end <= len(text) for s in stretches)
    assert all(one.end <= other.start for one, other in pairwise(stretches))


def test_many_threads_and_many_new_words_get_the_same_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penstock.text.languages.MOST_WORDS", 50)
    own = Identifier()
    expected = {text: identifier().identify(text).language for text in SENTENCES.values()}

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: own.identify(list(expected)[n % len(expected)]).language, range(600)))

    assert found == [list(expected.values())[n % len(expected)] for n in range(600)]


def test_the_n_grams_of_a_word_are_within_its_borders():
    assert set(grams("ab")) == {"=ab", "a", "b", "_a", "ab", "b_", "_ab", "ab_", "_ab_"}


def test_documents_get_a_language_or_none():
    assert language_of(" ".join([SENTENCES["de"]] * 3)) == "de"
    assert language_of("4711 0815") == ""


def test_the_card_has_the_hash_of_the_model():
    card = json.loads((FOLDER / "card.json").read_text("utf-8"))

    assert card["sha256"]["model.npz"] == sha256((FOLDER / "model.npz").read_bytes()).hexdigest()
    assert set(SENTENCES) <= set(card["languages"])
