"""A folder such as a small company has: notes, web pages, PDF, Office files, tables, mail and a little code.

    python -m benchmarks.mixed_folder FOLDER --files 1000 --seed 7

The prose comes from sentence patterns and word lists of our own. The same seed gives the same texts; the archives that
Office files are carry the time they were written, so their bytes differ.
"""

from __future__ import annotations

import argparse
import csv
import html
import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

SHARES = {
    ".md": 30, ".html": 20, ".txt": 10, ".pdf": 12, ".docx": 10, ".pptx": 4,
    ".xlsx": 5, ".csv": 4, ".json": 2, ".eml": 2, ".py": 1,
}  # fmt: skip
SHORTEST, LONGEST = 300, 8000  # characters of text in one file

# ---------------------------------------------------------------- words


@dataclass(frozen=True, slots=True)
class Domain:
    """What one department writes about. doing: pairs of infinitive and participle."""

    things: tuple[str, ...]
    people: tuple[str, ...]
    places: tuple[str, ...]
    doing: tuple[tuple[str, str], ...]


def _domain(things: str, people: str, places: str, doing: str) -> Domain:
    def words(text: str) -> tuple[str, ...]:
        return tuple(part.strip() for part in text.split(","))

    pairs = tuple((first, second) for first, second in (pair.split("/") for pair in words(doing)))
    return Domain(words(things), words(people), words(places), pairs)


DOMAINS = {
    "water": _domain(
        "intake gate, spillway, turbine shaft, pressure gauge, settling basin, pump station, filter bed, valve chamber, "
        "reservoir wall, flow meter, sluice, surge tank, trash rack, drainage tunnel, chlorine tank",
        "operator, shift leader, dam engineer, diver, duty officer, hydrologist",
        "the upper reservoir, the valve house, the control room, the eastern bank, the treatment works",
        "inspect/inspected, drain/drained, flush/flushed, calibrate/calibrated, reseal/resealed, open/opened, shut/shut, "
        "measure/measured, grease/greased, bypass/bypassed",
    ),
    "library": _domain(
        "loan card, reading room, microfilm, catalogue entry, reservation, renewal, atlas, periodical, audiobook, donation, "
        "map collection, study desk, late fee, manuscript, interlibrary loan",
        "librarian, archivist, student, visiting scholar, volunteer, cataloguer",
        "the reading hall, the closed stacks, the branch in Mill Street, the returns desk, the children's corner",
        "lend/lent, reserve/reserved, catalogue/catalogued, rebind/rebound, renew/renewed, scan/scanned, shelve/shelved, "
        "withdraw/withdrawn, borrow/borrowed, index/indexed",
    ),
    "bakery": _domain(
        "sourdough starter, proofing basket, rye loaf, deck oven, kneading machine, flour silo, butter croissant, seeded roll, "
        "cooling rack, baking sheet, oat flour, yeast culture, allergen sheet, display counter, morning batch",
        "baker, apprentice, pastry chef, driver, shop assistant, hygiene inspector",
        "the bakehouse, the cold room, the market stall, the shop in Bridge Lane, the flour store",
        "knead/kneaded, bake/baked, chill/chilled, weigh/weighed, score/scored, glaze/glazed, label/labelled, "
        "freeze/frozen, proof/proofed, discard/discarded",
    ),
    "freight": _domain(
        "pallet, consignment note, loading bay, container, customs declaration, tail lift, trailer, route plan, parcel label, "
        "forklift, seal number, delivery window, cold chain, manifest, return shipment",
        "dispatcher, driver, customs broker, warehouse clerk, consignee, forwarder",
        "the northern depot, the container yard, the ferry terminal, dock seven, the cross-docking hall",
        "load/loaded, unload/unloaded, seal/sealed, reroute/rerouted, weigh/weighed, insure/insured, clear/cleared, "
        "track/tracked, consolidate/consolidated, redeliver/redelivered",
    ),
    "clinic": _domain(
        "blood sample, referral letter, waiting list, vaccination record, x-ray image, prescription, discharge note, "
        "infusion pump, sterile tray, appointment slot, allergy warning, ward round, wheelchair, consent form, hearing test",
        "nurse, physician, receptionist, pharmacist, patient, midwife",
        "the outpatient ward, the laboratory, the reception, the day clinic, the pharmacy",
        "examine/examined, refer/referred, schedule/scheduled, sterilise/sterilised, prescribe/prescribed, "
        "record/recorded, admit/admitted, discharge/discharged, vaccinate/vaccinated, monitor/monitored",
    ),
    "garden": _domain(
        "compost heap, seed tray, rose bed, greenhouse vent, irrigation hose, apple espalier, mulch layer, cold frame, "
        "pruning saw, soil sample, rain barrel, bulb order, hedge cutter, gravel path, beehive",
        "gardener, botanist, trainee, beekeeper, visitor, head gardener",
        "the walled garden, the palm house, the orchard, the nursery beds, the potting shed",
        "prune/pruned, water/watered, sow/sown, transplant/transplanted, mulch/mulched, graft/grafted, harvest/harvested, "
        "fertilise/fertilised, dig/dug, trim/trimmed",
    ),
    "bicycle": _domain(
        "brake cable, rear derailleur, spare tube, wheel bearing, chain guard, battery pack, torque wrench, saddle clamp, "
        "rental contract, cargo box, dynamo hub, repair ticket, child seat, frame number, puncture kit",
        "mechanic, customer, rental agent, courier, workshop leader, inspector",
        "the workshop, the rental station, the spare part store, the test track, the charging shelf",
        "tighten/tightened, replace/replaced, true/trued, lubricate/lubricated, rent/rented, adjust/adjusted, "
        "dismantle/dismantled, charge/charged, return/returned, register/registered",
    ),
    "insurance": _domain(
        "claim form, liability policy, premium notice, deductible, loss report, contract schedule, repair estimate, renewal offer, "
        "household cover, expert opinion, power of attorney, bank mandate, flood clause, no-claims bonus, travel cover",
        "policyholder, claims adjuster, broker, surveyor, witness, underwriter",
        "the regional office, the claims department, the call centre, the archive, the scene of the damage",
        "assess/assessed, settle/settled, cancel/cancelled, renew/renewed, reimburse/reimbursed, reject/rejected, "
        "document/documented, appeal/appealed, sign/signed, underwrite/underwritten",
    ),
    "network": _domain(
        "router, fibre splice, access point, firewall rule, backup job, patch panel, service ticket, mail relay, storage array, "
        "certificate, monitoring probe, maintenance window, user account, switch stack, log archive",
        "administrator, help desk agent, contractor, auditor, on-call engineer, project lead",
        "the server room, the branch office, the operations centre, rack twelve, the test environment",
        "restart/restarted, patch/patched, revoke/revoked, migrate/migrated, monitor/monitored, back up/backed up, "
        "document/documented, isolate/isolated, renew/renewed, restore/restored",
    ),
    "museum": _domain(
        "glass case, bronze figure, audio guide, loan agreement, oil painting, ticket desk, condition report, climate logger, "
        "guided tour, ceramic bowl, storage crate, school visit, wall text, coin cabinet, textile fragment",
        "curator, conservator, guard, guide, lender, registrar",
        "the east wing, the study collection, the print room, the foyer, the conservation studio",
        "restore/restored, exhibit/exhibited, catalogue/catalogued, photograph/photographed, lend/lent, insure/insured, "
        "pack/packed, dust/dusted, light/lit, hang/hung",
    ),
    "school": _domain(
        "timetable, report card, exam paper, sports hall, excursion, parents' evening, textbook, chemistry set, canteen menu, "
        "absence note, choir rehearsal, science fair, library pass, homework diary, scholarship",
        "teacher, pupil, head of year, caretaker, parent, exchange student",
        "the assembly hall, room twenty-four, the staff room, the sports ground, the music wing",
        "mark/marked, postpone/postponed, excuse/excused, rehearse/rehearsed, collect/collected, announce/announced, "
        "supervise/supervised, enrol/enrolled, revise/revised, hand in/handed in",
    ),
    "energy": _domain(
        "solar panel, inverter, smart meter, tariff sheet, heat pump, grid connection, battery cabinet, feed-in contract, "
        "wind forecast, insulation layer, storage heater, transformer, annual statement, cable duct, emergency generator",
        "installer, tenant, grid planner, meter reader, energy adviser, landlord",
        "the roof terrace, the boiler room, the substation, the customer centre, the wind farm at Holm",
        "install/installed, connect/connected, bill/billed, insulate/insulated, dismantle/dismantled, approve/approved, "
        "read out/read out, ventilate/ventilated, subsidise/subsidised, inspect/inspected",
    ),
}

WORDS = {
    "adj": "old new spare damaged narrow heavy temporary seasonal approved broken second reliable faulty urgent modest bulky "
    "unlabelled borrowed northern outdated fragile costly routine independent",
    "name": "Ada Bruno Carla Dmitri Elif Farid Greta Hiro Ines Jonas Katya Liam Mona Nadia Omar Petra Quentin Rosa Samir "
    "Tove Ursula Viktor Wanda Yusuf Zoe",
    "surname": "Abel Brandt Costa Dahl Eriksen Fontaine Gruber Hansen Ibarra Janssen Keller Lindqvist Moreau Novak Okafor "
    "Petrov Rossi Schmidt Tanaka Varga Weber Young",
    "month": "January February March April May June July August September October November December",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "unit": "hours days weeks minutes months",
    "measure": "metres litres kilograms degrees millimetres kilowatts",
    "often": "usually rarely always sometimes often seldom",
    "manner": "carefully slowly twice again together separately immediately quietly thoroughly partly",
}  # fmt: skip
POOLS = {name: tuple(text.split()) for name, text in WORDS.items()} | {
    "reason": (
        "the budget for {year} had already been spent",
        "nobody had written down who is responsible",
        "spare parts take {n} weeks to arrive",
        "the weather did not allow anything else",
        "two departments had asked for it independently",
        "the supplier changed the contract in {month}",
        "an audit had found {n} smaller faults",
        "it is cheaper than hiring a contractor",
        "the old procedure led to complaints",
        "the law has required it since {year}",
        "demand doubles in {month}",
        "a {adj} {thing} cannot be repaired on site",
        "the {person} on duty is the only one with a key",
        "records from before {year} are incomplete",
    ),
    "effect": (
        "the {thing} stays where it is until {day}",
        "costs fall by about {n} percent",
        "the {person} has to be told within {n} hours",
        "nothing else changes for the {person}",
        "a second {thing} is ordered",
        "work in {place} stops for the rest of the day",
        "the matter goes to {name} {surname}",
        "the warranty ends",
        "every {thing} gets a number of its own",
        "we switch to the {adj} {thing}",
        "the deadline moves to {month}",
        "visitors are sent to {place} instead",
    ),
    "sentence": (
        "The {thing} in {place} was {done} in {month} {year}.",
        "Before anyone may {do} the {thing}, the {person} checks whether the {other} has been {done2}.",
        "A {adj} {thing} should be {done} {manner}, because {reason}.",
        "If the {thing} is {adj}, {effect}.",
        "Since {year} the {person} {often} has to {do} each {thing} {manner}.",
        "It takes about {n} {unit} to {do} a {thing}, and {m} more when the {other} is {adj}.",
        "{name} {surname}, {person} in {place}, recommends that the {thing} be {done} every {day}.",
        "On {day} morning the {person} found that the {thing} had not been {done} at all.",
        "Why this matters is easy to see: {reason}.",
        "Please {do} the {adj} {thing} first and the {other} afterwards.",
        "When the {person} is absent, {effect}.",
        "The {other} and the {thing} are kept apart in {place}, so that neither is {done} by mistake.",
        "In {month}, {n} of {m}{n} cases concerned the {thing}; most of them could be {done} within {m} {unit}.",
        "Nobody knows why the {thing} was {done2} in {year}, but {reason}.",
        "As long as the {other} is not {adj}, there is no need to {do2} the {thing}.",
        "We measured it {n} times in {place} and got between {m} and {m}{n} {measure}.",
        "The {person} signs, the {adj} {thing} is {done}, and a copy goes to {place}.",
        "Compared with {year}, the {thing} now lasts {n} {unit} longer.",
        "Ask the {person} for the {other} if you want to {do} it yourself.",
        "Although {reason}, the {thing} can still be {done} on request.",
        "There are {n} ways to {do} a {thing}, and the {adj} one is {often} the quickest.",
        "A note from {name} says that {effect} as soon as the {other} has been {done}.",
        "Do not {do} the {thing} while somebody is working on the {other} in {place}.",
        "The fee is {m}{n} euros for the first {thing} and {n} euros for each further one.",
        "Every {person} receives a short training of {n} {unit} before they {do} a {thing} alone.",
        "The {adj} {thing} was lent to {place} and came back {n} {unit} later than agreed.",
        "According to the report of {n} {month} {year}, {reason}.",
        "Once the {other} has been {done}, {effect}.",
        "{name} and {name2} compared the {thing} with the {other} and could not find a difference of more than {n} {measure}.",
        "The {person} may refuse to {do2} a {thing} that is {adj} or {adj2}.",
        "You will find the {other} on the left as you enter {place}.",
        "No {thing} leaves {place} without a label, a date and the initials of the {person}.",
        "After {n} {unit} the {thing} is {done} {manner}; after {m}{n} {unit} it is replaced.",
        "The question is {often} whether to {do} or to {do2} the {adj} {thing}.",
        "Between {month} and {month2} the {person} works in {place} and the {other} is closed to visitors.",
        "Most complaints of the last {n} months are about the {thing}, fewer about the {other}.",
        "What remains to be {done} is the {adj} {thing} in {place}.",
        "Should the {thing} fail on a {day}, call the {person}; on any other day, {effect}.",
        "That is {often} enough, unless {reason}.",
        "Our own tests in {month} {year} showed that a {adj} {thing} can be {done} in under {n} {unit}.",
    ),
    "heading": (
        "Before you {do} the {thing}",
        "How the {thing} is {done}",
        "When the {thing} is {adj}",
        "Questions about the {thing}",
        "The {thing} and the {other}",
        "What the {person} needs to know",
        "Costs and deadlines for the {thing}",
        "Who may {do} a {thing}",
        "After the {thing} has been {done}",
        "Safety in {place}",
        "Changes since {year}",
        "A {adj} {thing}: what to do",
        "Notes from {month} {year}",
        "Working with the {other}",
    ),
    "item": (
        "the {adj} {thing}",
        "a {thing}, {done} {manner}",
        "{n} {unit} for the {other}",
        "the signature of the {person}",
        "photographs of {place}",
        "the {other} of {year}",
        "proof that the {thing} was {done}",
        "a {adj2} {other} as reserve",
    ),
}


class Writer:
    """Writes English about one domain. All chance comes from `chance`, so a seed decides every word."""

    def __init__(self, domain: Domain, chance: random.Random) -> None:
        self.domain, self.chance = domain, chance

    def fill(self, pattern: str) -> str:
        """Replace the slots of a pattern; what a slot brings in may hold slots itself."""
        things = self.chance.sample(self.domain.things, 2)
        (do, done), (do2, done2) = self.chance.sample(self.domain.doing, 2)
        fixed = {
            "thing": things[0], "other": things[1], "do": do, "done": done, "do2": do2, "done2": done2,
            "n": str(self.chance.randint(2, 19)), "m": str(self.chance.randint(2, 9)),
            "year": str(self.chance.randint(1987, 2026)),
        }  # fmt: skip

        def slot(found: re.Match[str]) -> str:
            name = found[1]
            if name in fixed:
                return fixed[name]
            if name in ("person", "place"):
                return self.chance.choice(self.domain.people if name == "person" else self.domain.places)
            return self.fill(self.chance.choice(POOLS[name.rstrip("2")]))

        filled = re.sub(r"\{(\w+)\}", slot, pattern)
        return re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", filled)

    def one(self, pool: str) -> str:
        text = self.fill(self.chance.choice(POOLS[pool]))
        return text[0].upper() + text[1:]

    def paragraph(self) -> str:
        return " ".join(self.one("sentence") for _ in range(self.chance.randint(2, 6)))

    def items(self) -> list[str]:
        return [self.one("item") for _ in range(self.chance.randint(3, 6))]


@dataclass(frozen=True, slots=True)
class Section:
    heading: str
    paragraphs: tuple[str, ...]
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Article:
    """What one file says, before it has a format."""

    title: str
    author: str
    written: datetime
    sections: tuple[Section, ...]
    rows: tuple[tuple[str, ...], ...]  # the first one holds the names of the columns
    department: str


def article(writer: Writer, department: str, length: int) -> Article:
    """Prose of about `length` characters, and about as much in table rows."""
    chance = writer.chance
    sections: list[Section] = []
    size = 0
    while size < length:
        heading = writer.one("heading")
        paragraphs = [writer.paragraph() for _ in range(chance.randint(1, 4))]
        while len(paragraphs) > 1 and size + sum(map(len, paragraphs)) > length * 1.2:
            paragraphs.pop()
        items = writer.items() if chance.random() < 0.25 else []
        sections.append(Section(heading, tuple(paragraphs), tuple(items)))
        size += len(heading) + sum(map(len, paragraphs)) + sum(map(len, items))
    columns = ("Number", "Item", "Place", "Responsible", "Due", "Quantity", "Remark")
    rows, size = [columns], 0
    while size < length:
        row = (
            f"{department[:2].upper()}-{chance.randint(1000, 99999)}",
            writer.fill("{adj} {thing}"),
            writer.fill("{place}").removeprefix("the "),
            writer.fill("{name} {surname}"),
            f"{chance.randint(2019, 2026)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}",
            str(chance.randint(1, 900)),
            writer.one("sentence") if chance.random() < 0.4 else "",
        )
        rows.append(row)
        size += sum(map(len, row))
    written = datetime(2021, 1, 1, 8, tzinfo=UTC) + timedelta(minutes=chance.randrange(5 * 365 * 24 * 60))
    return Article(
        writer.one("heading"), writer.fill("{name} {surname}"), written, tuple(sections), tuple(rows), department
    )


# ---------------------------------------------------------------- formats


def as_markdown(it: Article) -> str:
    lines = [f"# {it.title}", "", f"*{it.author}, {it.written:%d %B %Y}*", ""]
    for n, section in enumerate(it.sections):
        lines += [f"## {section.heading}", ""]
        for paragraph in section.paragraphs:
            lines += [paragraph, ""]
        lines += [f"- {item}" for item in section.items] + [""] * bool(section.items)
        if n == 1 and len(it.sections) > 3:
            lines += ["| " + " | ".join(row[:4]) + " |" for row in (it.rows[0], ("---",) * 4, *it.rows[1:6])] + [""]
    return "\n".join(lines)


def as_html(it: Article) -> str:
    links = "".join(f'<li><a href="/{name}/">{name.title()}</a></li>' for name in DOMAINS)
    body = []
    for section in it.sections:
        body.append(f"<h2>{html.escape(section.heading)}</h2>")
        body += [f"<p>{html.escape(paragraph)}</p>" for paragraph in section.paragraphs]
        if section.items:
            body.append("<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in section.items) + "</ul>")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(it.title)} - Intranet</title>
<style>body {{ font: 16px/1.5 sans-serif; margin: 0 auto; max-width: 60rem }} nav li {{ display: inline }}</style>
<script>document.addEventListener("click", event => console.log(event.target.tagName));</script></head>
<body><header><nav><ul>{links}</ul></nav></header>
<main><article><h1>{html.escape(it.title)}</h1>
<p class="meta">By {it.author}, <time datetime="{it.written:%Y-%m-%d}">{it.written:%d %B %Y}</time></p>
{chr(10).join(body)}
</article></main>
<footer><p>Internal use only. Questions: <a href="mailto:web@example.com">web team</a>.</p></footer></body></html>
"""


def as_text(it: Article) -> str:
    lines = [it.title.upper(), "", f"{it.author}, {it.written:%d %B %Y}", ""]
    for section in it.sections:
        lines += [section.heading, "-" * len(section.heading), ""]
        for paragraph in section.paragraphs:
            lines += [*_wrapped(paragraph, 88), ""]
        lines += [f"  * {item}" for item in section.items] + [""] * bool(section.items)
    return "\n".join(lines)


def _wrapped(paragraph: str, width: int) -> list[str]:
    lines = [""]
    for word in paragraph.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] += " " * bool(lines[-1]) + word
    return lines


def write_pdf(it: Article, path: Path) -> None:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.set_creation_date(it.written)
    pdf.set_title(it.title)
    pdf.set_author(it.author)
    pdf.add_page()
    whole = {"new_x": "LMARGIN", "new_y": "NEXT"}
    pdf.set_font("Helvetica", "B", 18)
    pdf.multi_cell(0, 9, it.title, **whole)
    for section in it.sections:
        pdf.ln(4)
        pdf.set_font("Helvetica", "B", 13)
        pdf.multi_cell(0, 7, section.heading, **whole)
        pdf.set_font("Helvetica", "", 11)
        for paragraph in [*section.paragraphs, *(f"- {item}" for item in section.items)]:
            pdf.multi_cell(0, 5.5, paragraph, **whole)
            pdf.ln(2)
    pdf.output(str(path))


def write_docx(it: Article, path: Path) -> None:
    import docx

    document = docx.Document()
    document.core_properties.title, document.core_properties.author = it.title, it.author
    document.core_properties.created = document.core_properties.modified = it.written
    document.add_heading(it.title, 0)
    for n, section in enumerate(it.sections):
        document.add_heading(section.heading, 1)
        for paragraph in section.paragraphs:
            document.add_paragraph(paragraph)
        for item in section.items:
            document.add_paragraph(item, style="List Bullet")
        if n == 1 and len(it.sections) > 3:
            table = document.add_table(rows=0, cols=4)
            for row in it.rows[:6]:
                for cell, value in zip(table.add_row().cells, row, strict=False):
                    cell.text = value
    document.save(str(path))


def write_pptx(it: Article, path: Path) -> None:
    import pptx

    show = pptx.Presentation()
    first = show.slides.add_slide(show.slide_layouts[0])
    first.shapes.title.text = it.title
    first.placeholders[1].text = f"{it.author}, {it.written:%d %B %Y}"
    for section in it.sections:
        for paragraph in section.paragraphs:
            slide = show.slides.add_slide(show.slide_layouts[1])
            slide.shapes.title.text = section.heading
            slide.placeholders[1].text = "\n".join([*re.split(r"(?<=\.) ", paragraph), *section.items])
    show.save(str(path))


def write_xlsx(it: Article, path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = it.department.title()
    for n, row in enumerate(it.rows):
        sheet.append([int(value) if n and value.isdecimal() else value for value in row])
    book.properties.creator, book.properties.created = it.author, it.written.replace(tzinfo=None)
    book.save(path)


def write_csv(it: Article, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(it.rows)


def as_json(it: Article) -> str:
    records = [dict(zip(it.rows[0], row, strict=True)) for row in it.rows[1:]]
    about: dict[str, Any] = {"title": it.title, "author": it.author, "date": f"{it.written:%Y-%m-%d}"}
    return json.dumps({**about, "records": records}, indent=2)


def write_eml(it: Article, path: Path) -> None:
    message = EmailMessage()
    message["Subject"], message["Date"] = it.title, it.written
    message["From"] = f"{it.author} <{it.author.split()[0].lower()}@example.com>"
    message["To"] = f"{it.department.title()} <{it.department}@example.com>"
    paragraphs = [p for section in it.sections for p in (section.heading + ":", *section.paragraphs)]
    message.set_content("Hello all,\n\n" + "\n\n".join(paragraphs) + f"\n\nRegards,\n{it.author.split()[0]}\n")
    path.write_bytes(message.as_bytes())


def as_python(it: Article) -> str:
    lines = [f'"""{it.title}."""', "", "from __future__ import annotations", ""]
    for number, section in enumerate(it.sections):
        name = re.sub(r"\W+", "_", section.heading.lower()).strip("_")
        lines += ["", f"def {name}_{number}(amount: float, *, days: int = {number + 3}) -> float:"]
        lines += [f'    """{section.heading}."""']
        for n, paragraph in enumerate(section.paragraphs):
            lines += [f"    # {line}" for line in _wrapped(paragraph, 100)]
            lines += [f"    if days > {7 * (n + 1)}:", f"        amount += {n + 1}.5 * days"]
        lines += ["    return round(amount, 2)", ""]
    return "\n".join(lines)


def _text(render: Callable[[Article], str]) -> Callable[[Article, Path], None]:
    def write(it: Article, path: Path) -> None:
        path.write_text(render(it), "utf-8")

    return write


FORMATS: dict[str, Callable[[Article, Path], None]] = {
    ".md": _text(as_markdown), ".html": _text(as_html), ".txt": _text(as_text), ".pdf": write_pdf, ".docx": write_docx,
    ".pptx": write_pptx, ".xlsx": write_xlsx, ".csv": write_csv, ".json": _text(as_json), ".eml": write_eml,
    ".py": _text(as_python),
}  # fmt: skip


def kinds(files: int) -> list[str]:
    """One ending per file, in the shares of SHARES and well mixed, so that every stretch of the list is a fair sample."""
    given = dict.fromkeys(SHARES, 0)
    chosen = []
    for n in range(1, files + 1):
        kind = max(SHARES, key=lambda k: SHARES[k] * n / 100 - given[k])  # the one furthest behind its share
        given[kind] += 1
        chosen.append(kind)
    return chosen


def write_folder(folder: Path, *, files: int = 1000, seed: int = 7, of_kinds: list[str] | None = None) -> list[Path]:
    """Write the folder and return its files in the order of their numbers. of_kinds: the endings, instead of the shares."""
    written = []
    for n, kind in enumerate(of_kinds or kinds(files)):
        chance = random.Random(f"{seed} {n}")  # each file by itself: more files leave the first ones as they are
        department = chance.choice(list(DOMAINS))
        length = round(math.exp(chance.uniform(math.log(SHORTEST), math.log(LONGEST))))
        it = article(Writer(DOMAINS[department], chance), department, length)
        name = re.sub(r"[^a-z0-9]+", "-", it.title.lower()).strip("-")
        path = folder / department / f"{n:04}-{name}{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        FORMATS[kind](it, path)
        written.append(path)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    written = write_folder(options.folder, files=options.files, seed=options.seed)
    size = sum(path.stat().st_size for path in written)
    print(f"{len(written)} files, {size / 1e6:.1f} MB, in {options.folder}")


if __name__ == "__main__":
    main()
