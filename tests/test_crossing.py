"""Questions in another language than the passages: they find them, are answered from them, and tell nobody what he may not read."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import take
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import WebSettings
from penstock.documents.collection import Collection
from penstock.documents.library import Library
from penstock.documents.quote import Quotes
from penstock.encoder import Encoder, shipped
from penstock.language.crossing import Dictionaries
from penstock.language.dictionaries import FOLDER, card, languages, stemmed
from penstock.language.sounds import Sounds, latin
from penstock.train.bilingual import Cut, entries, lines, train
from penstock.train.bilingual_pairs import Pair
from penstock.types import Caller, Document, Found, Status

SHOP = {
    "returns": "Books can be returned within thirty days of delivery. They must be in the condition in which they were sent.",
    "shipping": "Shipping to Norway takes five working days. Express delivery to other countries costs 12 euros.",
    "hours": "The shop opens at nine in the morning and closes at six in the evening. On Sundays it is closed.",
    "invoices": "Every invoice must be paid within fourteen days. We send invoices by email at the end of the month.",
    "password": "If you forgot your password, open the login page and request a new one. The link is valid for one hour.",
    "warranty": "All devices have a warranty of two years. Batteries are not covered by the warranty.",
    "parking": "There is free parking behind the building. Bicycles can be left in the garage.",
    "founder": "The company was founded in 1987 by Astrid Lindqvist in Copenhagen. Her daughter is the director today.",
    "model": "The coffee machine KX-4200 needs a new filter every three months.",
    "privacy": "We delete the personal data of our customers after ten years. Nobody sells them to others.",
    "meals": "Breakfast is served from seven to ten. Vegetarian dishes are marked on the menu.",
    "pets": "Dogs and cats may stay in the room for a small fee.",
}
ASKED = {
    "es": {
        "returns": "¿En cuántos días puedo devolver un libro?",
        "shipping": "¿Cuánto tarda el envío a Noruega?",
        "hours": "¿A qué hora abre la tienda?",
        "invoices": "¿Cuándo hay que pagar la factura?",
        "password": "¿Qué hago si olvidé mi contraseña?",
        "warranty": "¿Cuántos años de garantía tienen los dispositivos?",
        "parking": "¿Dónde puedo dejar mi bicicleta?",
        "founder": "¿Quién fundó la empresa?",
        "model": "¿Cada cuánto necesita la KX-4200 un filtro nuevo?",
        "privacy": "¿Cuándo se eliminan los datos personales de los clientes?",
    },
    "de": {
        "returns": "Wie lange kann ich Bücher zurückgeben?",
        "shipping": "Wie viele Arbeitstage dauert der Versand nach Norwegen?",
        "hours": "Wann öffnet das Geschäft am Morgen?",
        "invoices": "Wann muss die Rechnung bezahlt werden?",
        "password": "Was mache ich, wenn ich mein Passwort vergessen habe?",
        "warranty": "Wie viele Jahre Garantie haben die Geräte?",
        "parking": "Gibt es kostenlose Parkplätze?",
        "founder": "Wer hat die Firma gegründet?",
        "model": "Wann braucht die Kaffeemaschine KX-4200 einen neuen Filter?",
        "privacy": "Wann werden persönliche Daten der Kunden gelöscht?",
    },
    "fr": {
        "returns": "Combien de jours ai-je pour retourner un livre ?",
        "shipping": "Combien de temps prend la livraison en Norvège ?",
        "hours": "À quelle heure ouvre le magasin le matin ?",
        "invoices": "Quand faut-il payer la facture ?",
        "password": "Que faire si j'ai oublié mon mot de passe ?",
        "warranty": "Combien d'années de garantie ont les appareils ?",
        "parking": "Y a-t-il un parking gratuit ?",
        "founder": "Qui a fondé l'entreprise ?",
        "model": "Quand la KX-4200 a-t-elle besoin d'un nouveau filtre ?",
        "privacy": "Quand les données personnelles des clients sont-elles supprimées ?",
    },
    "it": {
        "returns": "Entro quanti giorni posso restituire un libro?",
        "shipping": "Quanto tempo richiede la spedizione in Norvegia?",
        "hours": "A che ora apre il negozio?",
        "invoices": "Quando si deve pagare la fattura?",
        "password": "Cosa faccio se ho dimenticato la password?",
        "warranty": "Quanti anni di garanzia hanno i dispositivi?",
        "parking": "C'è un parcheggio gratuito?",
        "founder": "Chi ha fondato l'azienda?",
        "model": "Ogni quanto la KX-4200 ha bisogno di un nuovo filtro?",
        "privacy": "Quando vengono eliminati i dati personali dei clienti?",
    },
    "pt": {
        "returns": "Em quantos dias posso devolver um livro?",
        "shipping": "Quanto tempo leva o envio para a Noruega?",
        "hours": "A que horas abre a loja?",
        "invoices": "Quando é preciso pagar a fatura?",
        "password": "O que faço se esqueci a minha senha?",
        "warranty": "Quantos anos de garantia têm os dispositivos?",
        "parking": "Há estacionamento gratuito?",
        "founder": "Quem fundou a empresa?",
        "model": "Quando a KX-4200 precisa de um filtro novo?",
        "privacy": "Quando são excluídos os dados pessoais dos clientes?",
    },
    "ro": {
        "returns": "În câte zile pot returna o carte?",
        "shipping": "Cât durează livrarea în Norvegia?",
        "hours": "La ce oră se deschide magazinul dimineața?",
        "invoices": "Când trebuie plătită factura?",
        "password": "Ce fac dacă am uitat parola?",
        "warranty": "Câți ani de garanție au dispozitivele?",
        "parking": "Există parcare gratuită?",
        "founder": "Cine a fondat compania?",
        "model": "Când are nevoie KX-4200 de un filtru nou?",
        "privacy": "Când sunt șterse datele personale ale clienților?",
    },
    "ru": {
        "returns": "В течение скольких дней можно вернуть книгу?",
        "shipping": "Сколько дней занимает доставка в Норвегию?",
        "hours": "Во сколько открывается магазин утром?",
        "invoices": "Когда нужно оплатить счёт?",
        "password": "Что делать, если я забыл пароль?",
        "warranty": "Сколько лет действует гарантия на устройства?",
        "parking": "Есть ли бесплатная парковка?",
        "founder": "Кто основал компанию?",
        "model": "Когда KX-4200 нужен новый фильтр?",
        "privacy": "Когда удаляются личные данные клиентов?",
    },
    "tr": {
        "returns": "Bir kitabı kaç gün içinde iade edebilirim?",
        "shipping": "Norveç'e gönderim kaç gün sürer?",
        "hours": "Mağaza sabah saat kaçta açılıyor?",
        "invoices": "Fatura ne zaman ödenmelidir?",
        "password": "Şifremi unuttum, ne yapmalıyım?",
        "warranty": "Cihazların garantisi kaç yıl?",
        "parking": "Ücretsiz otopark var mı?",
        "founder": "Şirketi kim kurdu?",
        "model": "KX-4200 ne zaman yeni bir filtreye ihtiyaç duyar?",
        "privacy": "Müşterilerin kişisel verileri ne zaman silinir?",
    },
    "ar": {
        "returns": "خلال كم يوم يمكنني إرجاع كتاب؟",
        "shipping": "كم يوما يستغرق الشحن إلى النرويج؟",
        "hours": "متى يفتح المتجر في الصباح؟",
        "invoices": "متى يجب دفع الفاتورة؟",
        "password": "ماذا أفعل إذا نسيت كلمة المرور؟",
        "warranty": "كم سنة ضمان الأجهزة؟",
        "parking": "هل يوجد موقف سيارات مجاني؟",
        "founder": "من أسس الشركة؟",
        "model": "متى تحتاج KX-4200 إلى مرشح جديد؟",
        "privacy": "متى يتم حذف البيانات الشخصية للعملاء؟",
    },
    "hi": {
        "returns": "मैं किताब कितने दिनों में वापस कर सकता हूँ?",
        "shipping": "नॉर्वे में शिपिंग में कितने दिन लगते हैं?",
        "hours": "दुकान सुबह कितने बजे खुलती है?",
        "invoices": "चालान का भुगतान कब करना है?",
        "password": "पासवर्ड भूल गया तो क्या करूँ?",
        "warranty": "उपकरणों की वारंटी कितने साल की है?",
        "parking": "क्या निःशुल्क पार्किंग है?",
        "founder": "कंपनी की स्थापना किसने की?",
        "model": "KX-4200 को नया फ़िल्टर कब चाहिए?",
        "privacy": "ग्राहकों का व्यक्तिगत डेटा कब हटाया जाता है?",
    },
    "zh": {
        "returns": "书可以在多少天内退回？",
        "shipping": "寄送到挪威需要几天？",
        "hours": "商店早上几点开门？",
        "invoices": "发票什么时候要付款？",
        "password": "忘记密码怎么办？",
        "warranty": "设备保修几年？",
        "parking": "有免费停车场吗？",
        "founder": "公司是谁创立的？",
        "model": "KX-4200 什么时候需要新的过滤器？",
        "privacy": "客户的个人数据什么时候删除？",
    },
}
QUESTIONS = [(language, source, question) for language, some in ASKED.items() for source, question in some.items()]
HIDDEN = "The Jacksonville warehouse keeps quinces."


def opened(home: Path, embedder: Callable[[], Encoder], *, cross: bool = True) -> Library:
    return Library(
        home, embedder, folder=home, collections={}, web=WebSettings(), cross=Dictionaries if cross else None
    )


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return shipped()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Iterator[Collection]:
    library = opened(tmp_path_factory.mktemp("shop"), lambda: encoder)
    collection = library.create("shop")
    take(collection, *(Document(f"{name}.md", text, language="en") for name, text in SHOP.items()))
    yield collection
    library.close()


def sources(found: Found) -> list[str]:
    return [hit.passage.source.removesuffix(".md") for hit in found.hits]


@pytest.mark.parametrize(("language", "source", "question"), QUESTIONS)
def test_a_question_in_another_language_finds_its_passage_among_the_first_three(
    shop: Collection, language: str, source: str, question: str
):
    found = shop.search(question)

    assert source in sources(found)[:3]
    assert found.asked


@pytest.mark.parametrize("language", ASKED)
def test_most_questions_of_a_language_are_answered_or_shown_what_is_related(shop: Collection, language: str):
    quotes = Quotes()
    answers = [(source, quotes.quote(question, shop.search(question))) for source, question in ASKED[language].items()]

    answered = [source for source, answer in answers if answer.status is not Status.NOT_FOUND]
    right = [source for source, answer in answers if answer.citations and answer.citations[0].source == f"{source}.md"]
    assert len(answered) >= 6
    assert len(right) >= 6
    assert all(answer.question == ASKED[language][source] for source, answer in answers)


def test_a_question_in_the_language_of_the_passages_is_searched_as_ever(tmp_path: Path, encoder: Encoder):
    documents = [Document(f"{name}.md", text, language="en") for name, text in SHOP.items()]
    found = []
    for name, cross in (("with", True), ("without", False)):
        library = opened(tmp_path / name, lambda: encoder, cross=cross)
        take(library.create("shop"), *documents)
        questions = [
            "How long can I return a book?",
            "Who founded it?",
            "I want a mastercard",
            "KX-4200",
            "filter",
            "?",
        ]
        found.append([library["shop"].search(question) for question in questions])
        library.close()

    assert found[0] == found[1]
    assert not any(one.asked for one in found[0])


def test_a_question_in_a_language_that_some_passages_are_in_stays_as_it_is(tmp_path: Path, encoder: Encoder):
    library = opened(tmp_path, lambda: encoder)
    german = Document("urlaub.md", "Alle Mitarbeiter haben dreißig Tage Urlaub im Jahr.", language="de")
    take(library.create("both"), german, Document("pets.md", SHOP["pets"], language="en"))

    found = library["both"].search("Wie viele Tage Urlaub haben Mitarbeiter?")
    library.close()

    assert not found.asked
    assert sources(found)[0] == "urlaub"


def test_a_few_passages_in_the_language_of_the_question_are_found_beside_the_english_ones(
    tmp_path: Path, encoder: Encoder
):
    library = opened(tmp_path, lambda: encoder)
    german = Document("urlaub.md", "Alle Mitarbeiter haben dreißig Tage Urlaub im Jahr.", language="de")
    take(library.create("both"), german, *(Document(f"{name}.md", text, language="en") for name, text in SHOP.items()))

    own, english = (
        library["both"].search(q) for q in ("Wie viele Tage Urlaub haben Mitarbeiter?", ASKED["de"]["invoices"])
    )
    library.close()

    assert sources(own)[0] == "urlaub"
    assert "invoices" in sources(english)[:3]


@pytest.mark.parametrize(
    ("question", "kept"),
    [("¿Qué filtro necesita la KX-4200?", "4200"), ("Что случилось в 1987 году?", "1987"), ("KX-4200 需要什么？", "4200"),
     ("متى أسست السيدة Lindqvist الشركة؟", "lindqvist"), ("ماذا حدث في عام ١٩٨٧؟", "1987")],
)  # fmt: skip
def test_numbers_codes_and_names_stay_themselves(shop: Collection, question: str, kept: str):
    assert kept in shop.search(question).asked.split()


@pytest.mark.parametrize(
    ("word", "language", "name"),
    [("линдквист", "ru", "lindqvist"), ("копенгагене", "ru", "copenhagen"), ("लिंडक्विस्ट", "hi", "lindqvist"),
     ("كوبنهاغن", "ar", "copenhagen"),
     ("コペンハーゲン", "ja", "copenhagen"), ("哥本哈根", "zh", "copenhagen"), ("杰克逊维尔", "zh", "jacksonville")],
)  # fmt: skip
def test_names_are_known_by_their_sound(word: str, language: str, name: str):
    names = Sounds(["astrid", "copenhagen", "delivery", "jacksonville", "lindqvist", "norway", "warranty"])

    assert [one for one, _ in names.like(latin(word), 0.4)][:1] == [name]


def test_words_that_nothing_is_known_of_break_nothing(shop: Collection):
    found = shop.search("Где находится зюзюблик квырдымбурский?")

    assert len(found.hits) > 0


@pytest.mark.parametrize(
    "question",
    ["", "¿?", "？？？", "……", "ь" * 4_000, "а " * 2_000, "ال" * 500, "数" * 3_000, "\u202eкнига\u202c", "кни\x00га",
     "🙂🙂", "Да", "'’'’'",
     "ß" * 300, "Wann ist die " + "donaudampf" * 390, "가" * 400, "马" * 1_000],
)  # fmt: skip
def test_hostile_questions_are_searched_all_the_same(shop: Collection, question: str):
    assert len(shop.search(question).hits) <= 8


@given(question=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_crosses_or_stays(question: str):
    crosser = Dictionaries(lambda: ["copenhagen", "warranty"])

    for language in ("de", "zh", "ar", "tr", "xx"):
        crossed = crosser.cross(question, language, lambda word: word == "warranty")
        assert crossed is None or (
            crossed.asked and all(0 < weight <= 1 for some in crossed.words for _, weight in some)
        )


def test_a_word_of_passages_that_the_caller_may_not_read_changes_nothing(tmp_path: Path, encoder: Encoder):
    secret = Document("secret.md", HIDDEN, language="en", access=("board",))
    documents = [Document(f"{name}.md", text, language="en") for name, text in SHOP.items()]
    found = []
    for name, some in (("with", [secret, *documents]), ("without", documents)):
        library = opened(tmp_path / name, lambda: encoder)
        take(library.create("shop"), *some)
        questions = [
            "Что хранит склад в Джексонвилле?",
            "¿Qué guarda el almacén de Jacksonville?",
            "杰克逊维尔的仓库里有什么？",
        ]
        found.append([library["shop"].search(question, caller=Caller("ann", ("hr",))) for question in questions])
        library.close()

    for question, one, other in zip(questions, *found, strict=True):
        assert (one.asked, one.terms, sources(one)) == (other.asked, other.terms, sources(other))
        assert [hit.score for hit in one.hits] == pytest.approx([hit.score for hit in other.hits])
        assert ("jacksonville" in one.terms) == ("Jacksonville" in question)


def test_whoever_may_read_a_passage_finds_it_by_a_name_in_other_letters(tmp_path: Path, encoder: Encoder):
    library = opened(tmp_path, lambda: encoder)
    take(library.create("shop"), *(Document(f"{name}.md", text, language="en") for name, text in SHOP.items()),
         Document("secret.md", HIDDEN, language="en", access=("board",)))  # fmt: skip

    found = library["shop"].search("Что хранит склад в Джексонвилле?", caller=Caller("eve", ("board",)))
    library.close()

    assert sources(found)[0] == "secret"


def test_the_dictionaries_are_the_recorded_ones_and_small():
    recorded = card()

    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.name != "card.json"}

    assert {name: sha256(data).hexdigest() for name, data in files.items()} == recorded["sha256"]
    assert sum(map(len, files.values())) < 5e6
    assert languages() == recorded["languages"].keys()
    free = {"MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "Unicode-3.0"}
    assert {source["licence"] for source in recorded["data"]} <= free


@pytest.mark.parametrize(
    ("language", "word", "english"),
    [("de", "Rechnungen", "invoice"), ("es", "contraseñas", "password"), ("ru", "паролей", "password"),
     ("zh", "密码", "password"), ("ar", "كتاب", "book"), ("hi", "किताबें", "book"), ("tr", "kitapları", "book"),
     ("pl", "hasła", "password"), ("ja", "電話", "phone")],
)  # fmt: skip
def test_a_dictionary_knows_ordinary_words_in_their_forms(language: str, word: str, english: str):
    crossed = Dictionaries(list).cross(word, language, lambda word: False)

    assert crossed is not None
    assert {stemmed(one, "en") for one, _ in crossed.words[0]} & {stemmed(english, "en")}


def test_a_compound_is_the_sum_of_its_parts():
    crossed = Dictionaries(list).cross("Rechnungsadresse Kundendaten", "de", lambda word: False)

    assert crossed is not None
    said = {stemmed(word, "en") for some in crossed.words for word, _ in some}
    assert {stemmed(word, "en") for word in ("invoice", "address", "customer", "data")} <= said


def test_a_language_without_a_dictionary_is_read_by_a_near_one_or_left_alone():
    crosser = Dictionaries(list)

    near, far = (crosser.cross("senha", language, lambda word: False) for language in ("gl", "sw"))

    assert near is not None
    assert near.asked == ("password",)
    assert far is None


def test_the_recipe_learns_what_stands_for_what(tmp_path: Path):
    made = train(None, tmp_path / "made", only=("de", "zh"))

    assert {"card.json", "de.npz", "english.txt", "zh.npz"} == {path.name for path in made.iterdir()}
    said = [
        Pair("de", "open file", "Datei öffnen"),
        Pair("de", "close file", "Datei schließen"),
        Pair("de", "file", "Datei"),
    ]
    learnt = entries(lines(said, Cut("de", {})))
    assert learnt["datei"][0][0] == "file"
