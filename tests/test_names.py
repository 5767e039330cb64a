"""The tagger: names, addresses and organisations in running text, and silence where there is nobody."""

import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import StorageError
from penstock.guard.gazetteers import COMMON, GIVEN, PLACE, SURNAME, Gazetteer, packed
from penstock.guard.names import FEATURES, LABELS, WINDOW, Features, Names, decoded

names = Names()


def found(text: str, kind: str = "PERSON", taken: list[tuple[int, int]] | None = None) -> list[str]:
    return [text[f.start : f.end] for f in names.find(text, taken=taken or []) if f.type == kind]


# ---------------------------------------------------------------- people and places


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Hello, my name is Sarah Mitchell and my order has not arrived.", "Sarah Mitchell"),
        ("Guten Tag, ich heiße Katharina Vogel und habe eine Frage.", "Katharina Vogel"),
        ("Bonjour, je m'appelle Camille Lefebvre et j'ai une question.", "Camille Lefebvre"),
        ("Hola, me llamo Javier Moreno y no puedo entrar.", "Javier Moreno"),
        ("Buongiorno, mi chiamo Giulia Ferrari, vorrei un rimborso.", "Giulia Ferrari"),
        ("Hallo, mijn naam is Daan Visser en ik heb een vraag.", "Daan Visser"),
        ("Olá, meu nome é Mariana Carvalho e preciso de ajuda.", "Mariana Carvalho"),
        ("Dzień dobry, nazywam się Piotr Nowak i mam pytanie.", "Piotr Nowak"),
        ("Hej, jag heter Erik Lindqvist och har en fråga.", "Erik Lindqvist"),
        ("Merhaba, adım Mehmet Yılmaz, bir sorum var.", "Mehmet Yılmaz"),
        ("Здравствуйте, меня зовут Алексей Смирнов, у меня вопрос.", "Алексей Смирнов"),
        ("مرحبا، اسمي أحمد الراشد ولدي سؤال.", "أحمد الراشد"),
        ("नमस्ते, मेरा नाम राजेश शर्मा है।", "राजेश शर्मा"),
        ("お世話になっております。田中太郎と申します。", "田中太郎"),
        ("안녕하세요, 제 이름은 김민수입니다.", "김민수"),
        ("您好，我叫张伟，想咨询订单。", "张伟"),
    ],
)
def test_a_person_is_found_in_every_language(text: str, name: str):
    assert found(text) == [name]


@pytest.mark.parametrize(
    "text",
    [
        "Please send it to 42 Oak Street, Springfield, IL 62704.",
        "Bitte liefern Sie an Lindenstraße 17, 10969 Berlin.",
        "J'habite au 12 rue de la République, 69002 Lyon.",
        "Vivo en Calle Mayor 15, 28013 Madrid.",
        "Abito in Via Garibaldi 8, 20121 Milano.",
        "Mój adres to ul. Długa 5/12, 31-147 Kraków.",
        "我的地址是北京市朝阳区建国路88号。",
    ],
)
def test_an_address_is_found_whole(text: str):
    (address,) = found(text, "ADDRESS")

    assert len(address) > 0.7 * (len(text) - 26)
    assert not address.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "Where is my card?",
        "Wo ist meine Karte?",
        "Cartão recusado duas vezes.",
        "Je passerai demain matin.",
        "вес 12 кг, рост 180 см",
        "Name, address, dob and zip are mandatory.",
        "Geburtsdatum und Straße sind Pflichtfelder.",
        "NIF, nombre y apellidos son obligatorios.",
        "The oven must be at 200 degrees for 40 minutes.",
        "Invoice INV-2024-13103 totals 1,284.50 and is due in 30 days.",
        "commit ffb56f674d6bf7173b216dadeeeeb16843d6a307 reverts the change from 2023-11-04.",
        "客户服务热线周一至周五开通。",
        "고객센터는 월요일부터 운영합니다.",
        "お客様の声を大切にします。",
    ],
)
def test_a_text_about_nobody_is_left_alone(text: str):
    personal = [f for f in names.find(text) if f.type in ("PERSON", "ADDRESS", "DATE_OF_BIRTH")]

    assert personal == []


@pytest.mark.parametrize(
    ("things", "people"),
    [
        ("Colours: Ruby, Amber and Jade", "Attendees: Ruby Walker, Amber Clarke and Jade Hughes"),
        ("Farben: Rose, Viola und Weiß", "Teilnehmer: Rose Schulz, Viola Krämer und Jan Weiß"),
        ("Fleurs : Rose, Violette, Iris", "Participants : Rose Martin, Violette Petit, Iris Dubois"),
        ("Colores: Rosa, Violeta y Celeste", "Asistentes: Rosa Moreno, Violeta Rubio y Celeste Díaz"),
        ("颜色：金黄、海棠、白银", "参加者：王伟、李娜、张敏"),
    ],
)
def test_things_in_a_list_are_left_alone_and_people_in_one_are_found(things: str, people: str):
    assert found(things) == []
    assert len(found(people)) == 3


# ---------------------------------------------------------------- promises


def test_findings_are_in_order_and_do_not_overlap():
    text = "Anna Schmidt wrote to Peter Wagner, Hauptstraße 5, 10115 Berlin. Maria Rossi answered."

    findings = names.find(text)

    assert len(findings) >= 3
    assert all(one.end <= other.start for one, other in pairwise(findings))
    assert all(0 < f.score <= 1 and f.rule == "names" for f in findings)


def test_what_rules_have_taken_is_never_part_of_a_finding():
    text = "My name is Sarah Mitchell, card 4111 1111 1111 1111."
    start = text.index("Sarah")

    assert found(text, taken=[(start, start + 14)]) == []
    assert found(text, taken=[(text.index("4111"), len(text) - 1)]) == ["Sarah Mitchell"]


def test_the_same_text_gives_the_same_findings_in_every_thread():
    text = "Contact John Smith, 10 High Street, London, or Wei Zhang."
    expected, seen = names.find(text), []
    fresh = Names()
    threads = [threading.Thread(target=lambda: seen.append(fresh.find(text))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [expected] * 8


def test_a_long_text_is_read_in_windows_and_nothing_is_lost_at_their_edges():
    line = "Hello, my name is Sarah Mitchell and my order has not arrived. "
    one = len(found(line))

    many = found(line * (3 * WINDOW // 12))

    assert one == 1
    assert len(many) == 3 * WINDOW // 12


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t", "\x00", "\ud800\udfff", "\ud83d", "\u200d" * 50, "a" * 100_000, "." * 100_000]
)
def test_strange_texts_are_read_without_complaint(text: str):
    assert isinstance(names.find(text), list)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.lists(st.tuples(st.integers(-5, 210), st.integers(-5, 210)), max_size=4))
def test_no_text_breaks_the_promises(text: str, spans: list[tuple[int, int]]):
    findings = names.find(text, taken=spans)

    assert all(0 <= f.start < f.end <= len(text) for f in findings)
    assert all(one.end <= other.start for one, other in pairwise(findings))
    whole = [(max(start, 0), min(end, len(text))) for start, end in spans if start < end]
    assert not any(f.start < end and start < f.end for f in findings for start, end in whole if start < end)


def test_a_folder_without_a_tagger_is_refused_by_name(tmp_path):
    with pytest.raises(StorageError, match=str(tmp_path)):
        Names(tmp_path).find("Anna")


# ---------------------------------------------------------------- parts


@given(st.dictionaries(st.text(min_size=1, max_size=12), st.integers(1, 15), max_size=50))
def test_a_gazetteer_knows_every_word_that_was_packed(words: dict[str, int]):
    gazetteer = Gazetteer(packed(words))

    assert all(gazetteer.kinds(word) & kinds == kinds for word, kinds in words.items())


def test_a_word_can_be_several_things_and_most_are_none():
    gazetteer = Gazetteer.of({"rose": GIVEN | COMMON, "paris": PLACE | GIVEN, "smith": SURNAME})

    assert gazetteer.kinds("rose") == GIVEN | COMMON
    assert gazetteer.kinds("unheard") == 0


def test_tokens_cover_every_character_that_is_not_space():
    text = "O'Brien-x_y 客户蔡勇 tel電話 マイケル・ジョンソン様 पूर्णिमा 12.34\n\n\ud800 محمَّد"
    tokens = Features(Gazetteer(b"")).tokens(text, [(3, 9)])
    covered = set()
    for start, end in zip(tokens.starts, tokens.ends, strict=True):
        covered.update(range(start, end))

    assert covered >= {at for at, character in enumerate(text) if not character.isspace()}
    assert tokens.features.shape == (len(tokens.starts), FEATURES)


def test_a_word_is_known_as_a_name_only_where_it_is_no_ordinary_word():
    features = Features(Gazetteer.of({"rose": GIVEN | COMMON, "smith": SURNAME, "paris": PLACE}))

    assert features.is_name("Smith")
    assert not any(map(features.is_name, ["Rose", "Paris", "Unheard", ""]))


@given(
    st.text(alphabet="王伟田中太郎김민수ーのa 1\U00020000\ud800", max_size=12), st.sets(st.integers(0, 11), max_size=6)
)
def test_characters_are_looked_up_all_at_once_as_they_would_be_one_by_one(text: str, known: set[int]):
    words = {text[at : at + size] for at in known for size in (1, 2, 3) if len(text[at : at + size]) == size}
    gazetteer = Gazetteer.of({word: 1 + len(word) for word in words if word})
    codes = np.array([ord(character) for character in text], np.uint32)

    for size, kinds in enumerate(Features(gazetteer)._kinds_of_parts(codes), 1):
        parts = [text[at : at + size] for at in range(len(text) - size + 1)]
        wide = [all("\u0800" <= character < "\U00010000" for character in part) for part in parts]
        assert kinds.tolist() == [gazetteer.kinds(part) if good else 0 for part, good in zip(parts, wide, strict=True)]


def test_a_character_has_the_same_features_wherever_its_neighbours_are_the_same():
    features = Features(Gazetteer.of({"田中": SURNAME}))
    alone, later = features.tokens("様田中太郎様"), features.tokens("tel. 12 様田中太郎様 x")

    assert (alone.features[2:4] == later.features[5:7]).all()
    assert not (alone.features[2] == alone.features[3]).all()


def test_labels_never_begin_inside():
    rng = np.random.default_rng(1)
    for _ in range(50):
        labels = decoded(rng.normal(size=(30, len(LABELS))).astype(np.float32))
        for before, label in zip([0, *labels], labels, strict=False):
            if label and label % 2 == 0:
                assert before in (label, label - 1)
