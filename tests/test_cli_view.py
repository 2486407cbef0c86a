"""How reports are drawn: hostile strings stay text, and all drawings say the same."""

from __future__ import annotations

import ast
import base64
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from small_internet import DOMAIN, FIRST, GOOD, SECOND, WITHOUT
from support import CA_AT_HAND, NO_STARTTLS, OTHER

import requiretls_client as rt
from requiretls_client import certificate, recording
from requiretls_client.assessment import assess
from requiretls_client.cli import hostview, page, picture, terminal
from requiretls_client.cli.view import View, view_of
from requiretls_client.cli.words import spoken, spoken_data
from requiretls_client.resolvconf import judge_trust

PACKAGE = Path(rt.__file__).parent
EVIL = "<script>alert(1)</script></script x<!--\x1b[31m\u202eevil\r\n\"'&\x9b\ud800[bold]$x{y}"


@pytest.fixture
def report(net):
    """Return a report with every kind of trouble in it."""
    net.host(FIRST, tls_extensions=WITHOUT)
    net.host(SECOND)
    net.host("mx3.example.net", **NO_STARTTLS)
    net.host("mx4.example.net", certificate=OTHER.issue("mx4.example.net"), tlsa=False)
    net.mx(FIRST, SECOND, "mx3.example.net", "mx4.example.net", "nowhere.example.net")
    return rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5)


def rich_text(view, **options):
    """Return what rich prints of a view."""
    console = pytest.importorskip("rich.console")
    out = io.StringIO()
    terminal.draw(
        view, console.Console(file=out, width=100, highlight=False, markup=False, **options)
    )
    return out.getvalue()


# -- hostile strings -------------------------------------------------------------------------------


def poisoned(value):
    """Return facts with every free text in them replaced by a hostile one."""
    if isinstance(value, dict):
        return {key: EVIL if key in FREE and isinstance(each, str) else poisoned(each)
                for key, each in value.items()}  # fmt: skip
    if isinstance(value, list):
        return [poisoned(each) for each in value]
    return value


FREE = {
    "target", "trust_reason", "problem", "text", "version", "cipher", "policy_id", "name", "domain",
    "canonical", "address_problem", "tlsa_problem", "tlsa_base", "host", "address_status",
    "server_hostname",
}  # fmt: skip


@pytest.fixture(params=["texts", "names"])
def hostile(request, report):
    """Return a report on facts that an enemy wrote: a recording, or servers and a DNS of his."""
    data = json.loads(recording.dump([report.facts]))
    if request.param == "names":  # what the DNS and the servers say; the hosts stay reachable
        for field in ("trust_reason",):
            data["checks"][0]["route"][field] = EVIL
        for visit in data["checks"][0]["strict"]:
            if visit["shown"]["is"] == "SessionFacts" and visit["shown"]["tls"]:
                visit["shown"]["tls"] |= {"cipher": EVIL, "names": [EVIL]}
            if visit["shown"].get("obstacle"):
                visit["shown"]["obstacle"]["text"] = EVIL
    else:
        data = {"schema": data["schema"], "checks": poisoned(data["checks"])}
    (facts,) = recording.load(json.dumps(data))
    return assess(facts)


def test_nothing_hostile_reaches_the_terminal(hostile):
    """Neither plain text nor rich lets a control character, a line or markup of others through."""
    view = view_of(hostile)
    assert "\\x1b[31m\\u202eevil" in terminal.plain(view)  # it is there, as text
    for text in (terminal.plain(view), rich_text(view), terminal.summary_line(view)):
        assert all(each.isprintable() for line in text.split("\n") for each in line.split("\t"))
    again = replace(hostile, target="x")
    assert terminal.plain(view_of(again)).count("\n") == terminal.plain(view).count("\n")
    assert "\x1b[31m" not in rich_text(view, force_terminal=True, color_system=None)


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text):
        """Read it."""
        super().__init__()
        self.tags, self.attributes, self.scripts, self.words = [], [], [], []
        self._in = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        """Note an element and its attributes."""
        self._in = tag
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        """Leave it."""
        self._in = None

    def handle_data(self, data):
        """Note its text."""
        (self.scripts if self._in == "script" else self.words).append(data)

    def handle_comment(self, data):
        """There must be none."""
        raise AssertionError("a comment")


def test_nothing_hostile_reaches_the_page(hostile):
    """No element, attribute, comment or control character comes from a foreign string."""
    text = page.page_of([hostile, hostile])
    assert all(each.isprintable() for line in text.split("\n") for each in line)
    found = Page(text)
    assert set(found.tags) <= {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "span",
        "dl", "dt", "dd", "div", "figure", "figcaption", "svg", "g", "rect", "text", "path", "ul",
        "li", "a", "details", "summary", "article", "footer", "script",
    }  # fmt: skip
    assert found.tags.count("script") == 1
    (data,) = found.scripts
    # Whatever a browser takes for the end of that element, or for a comment in it, is not there.
    block = text.partition('id="reports">')[2]
    assert re.fullmatch(r"[^<>&]*</script>\s*</body>\s*</html>\s*", block)
    assert json.loads(data)[0]["target"] == hostile.target
    assert "<script>alert(1)" in "".join(found.words)  # as text
    assert not [each for each in found.attributes if each[1].startswith("on") or each[1] == "style"]


def test_title_of_a_page_about_a_hostile_target(report):
    """It is on one target's page only, and ends where it has to."""
    text = page.page_of([replace(report, target=EVIL)])
    (title,) = re.findall(r"<title>(REQUIRETLS[^<>]*)</title>\s*<style>", text)
    assert html.unescape(title).startswith("REQUIRETLS, <script>alert(1)")


def test_every_text_of_a_view_is_escaped():
    """Whatever field of a view holds markup, the page has the elements that it has without."""

    def drawn(text):
        rows = (*[hostview.Row(hostview.FAIL, text, text, text, text)] * 3,)
        part = hostview.Part(text, hostview.FAIL, text, text, rows)
        view = View(text, "none", text, text, 1.0, part, (part,), rows)
        return Page(page._article(1, view, "h1") + page._index([view]))

    markup = "x\"'><b onclick='x'>&"
    plain, marked = drawn("x" * len(markup)), drawn(markup)
    assert marked.tags == plain.tags
    names = [[(tag, name) for tag, name, _ in each.attributes] for each in (marked, plain)]
    assert names[0] == names[1]


def test_nothing_hostile_reaches_json(hostile):
    """A line of JSON is one line of ASCII, whatever is in it."""
    text = json.dumps(spoken_data(hostile.as_dict()))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["target"] == hostile.target


def test_hostile_certificate(report):
    """Subject and issuer of a certificate are shown as text, and what is none is not shown."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, EVIL.replace("\ud800", "")[:60])]
    )
    day = datetime(2026, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(day).not_valid_after(day + timedelta(days=10))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    facts = certificate.describe(made.public_bytes(serialization.Encoding.DER))
    line = hostview.describe_certificate(facts, (day + timedelta(days=12)).timestamp())
    assert line.isprintable()
    assert line.endswith("; expired 2 days ago")
    assert "\\x1b[31m\\u202eevil" in line
    early = hostview.describe_certificate(facts, (day - timedelta(days=1)).timestamp())
    assert early.endswith("; not valid yet")
    assert certificate.describe(b"\x30\x00") is None
    many = replace(facts, names=tuple(f"n{n}.example.net" for n in range(100)))
    assert " and 97 more; issued by " in hostview.describe_certificate(many, day.timestamp())


# -- the page ------------------------------------------------------------------------------------


def test_page_policy(report):
    """The page allows its own style sheet by its hash, and nothing else at all."""
    text = page.page_of([report])
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert html.unescape(policy) == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_page_loads_nothing(report):
    """No attribute names another resource, and no style does."""
    text = page.page_of([report, report])
    links = {value for _, name, value in Page(text).attributes if name in ("href", "src", "srcset")}
    assert links == {"#check-1", "#check-2"}
    assert "url(" not in text
    assert "@import" not in text


def test_page_says_what_the_terminal_says(report):
    """Every row, reason and fix of the plain text is on the page, too."""
    view, words = view_of(report), "".join(Page(page.page_of([report])).words)
    assert view.headline.lower() in words
    for part in (view.policy, *view.hosts):
        for row in part.rows:
            for text in (row.label, row.text, row.why, row.fix):
                assert text in words
                assert text in terminal.plain(view)


def test_rich_says_what_the_terminal_says(report):
    """The tree has the same words, whatever the width makes of its lines."""
    view = view_of(report)
    drawn = set(re.findall(r"[\w.:]+", rich_text(view)))
    assert set(re.findall(r"[\w.:]{3,}", terminal.plain(view))) - drawn <= {"FAIL", "note", "why:",
                                                                           "fix:"}  # fmt: skip


def test_edges_differ_in_more_than_colour(report):
    """An edge of the picture has its state as a class with dashes of its own, and as a word."""
    text = page.page_of([report])
    assert {"qualifies", "refused", "holds"} <= set(re.findall(r'class="word[^>]*>(\w+)<', text))
    for state in ("note", "fail", "open"):
        assert f".edge.{state} {{ stroke-dasharray" in text


@pytest.mark.parametrize("count", [0, 1, 20])
def test_pictures_of_any_size(net, count):
    """A domain without hosts and one with twenty have both pictures, with every host in them."""
    names = [f"a-long-name-for-a-mail-host-{n}.of-a-department.example.net" for n in range(count)]
    net.records[f"{DOMAIN} MX"] = [f"{n} {name}" for n, name in enumerate(names)] or ["0 ."]
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5)
    text = page.page_of([report])
    assert text.count("<svg") == 2
    for drawn in re.findall(r"<svg.*?</svg>", text, re.S):
        width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn).groups())
        for box in re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', drawn):
            x, y, across, down = map(int, box)
            assert x >= 1, "a border is cut"
            assert x + across < width
            assert y + down < height
    for name in names:
        assert text.count(f"{name}: ") >= 2  # whole in the tooltips


def test_long_names_stay_in_their_box(net):
    """A name that had to be cut is fitted to its box, whatever the font of the reader is."""
    wide = ".".join(["w" * 60] * 2) + ".example.net"
    net.mx(GOOD, wide)
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5)
    drawn = picture.pictures(view_of(report))
    fitted = re.findall(r'<text class="name"[^>]* textLength="(\d+)"[^>]*>([^<]*)', drawn)
    assert [(room, name[:4]) for room, name in fitted] == [("302", "20 w"), ("276", "20 w")]


def test_without_rich(monkeypatch):
    """Where rich is not installed there is no console, and plain text is printed."""
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    assert terminal.console(colour=True) is None


def test_relay_has_no_look_ups(serve):
    """A named server is one part, its address as it was named."""
    server = serve()
    report = rt.check_relay(server.host, server.port, context=server.client_context(), timeout=5)
    view = view_of(report)
    assert view.policy is None
    (part,) = view.hosts
    assert part.lead == ""
    assert f"{server.host}:{server.port}, connected" in [row.text for row in part.rows]
    assert [row.label for row in part.rows] == ["address", "STARTTLS", "certificate", "REQUIRETLS"]
    assert "unless the program that sends it starts TLS" in view.fates[1].text
    assert "the server qualifies" in terminal.plain(view)


def test_relay_with_tls_at_once(serve):
    """Where TLS begins with the first byte, nobody misses STARTTLS."""
    server = serve(implicit_tls=True, certificate=CA_AT_HAND.issue("localhost"))
    context = CA_AT_HAND.context()
    report = rt.check_relay(server.host, server.port, timeout=5, context=context, implicit_tls=True)
    (part,) = view_of(report).hosts
    row = next(row for row in part.rows if row.label == "STARTTLS")
    assert row.text.startswith("not needed, TLS at once: TLSv1.3 ")


def test_addresses_that_differ(net):
    """Of a host with a good and a bad address both are shown, the bad one with its reason."""
    net.host(GOOD)
    net.mx(GOOD)
    net.records[f"{GOOD} A"].append("127.0.1.77")
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5)
    (part,) = view_of(report).hosts
    rows = [row for row in part.rows if row.label == "address"]
    assert [row.state for row in rows] == ["good", "note"]
    assert "127.0.1.77" in rows[1].text


# -- words ---------------------------------------------------------------------------------------

PYTHON = re.compile(
    r"\w\((?!e?s\))|\)\.|\b\w+=|Lookups|Resolver|SMTP_SSL|require_tls|tls_optional|_\w+\("
)
# Said only to callers of the library: in a session of theirs, or before anything is looked up.
NOT_IN_A_CHECK = re.compile(
    r"starttls\(\) or SMTP_SSL make|a subclass may|set require_tls=True in the constructor|"
    r"call starttls\(\) first|allow_cleartext_auth|call ehlo\(\)|say server_hostname= for the name "
    r"that its|one message cannot both"
)


def texts(name):
    """Yield the sentences that a module of the rules may say: its strings but the docstrings."""
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " in text.strip() and id(node) not in docs:
            yield text


@pytest.mark.parametrize("name", ["policy", "path", "descent", "route", "dane"])
def test_no_python_in_the_command_line(name):
    """Every text of the rules that speaks of Python arguments has words for the command line."""
    left = [text for text in texts(name)
            if not NOT_IN_A_CHECK.search(text) and PYTHON.search(spoken(text))]  # fmt: skip
    assert left == []


@pytest.mark.parametrize(("said", "words"), [(True, "--trust-ad was said"), (False, "nobody said")])
def test_trust_in_words_of_the_command_line(said, words):
    """Why the resolver is trusted is said with the option, not with the argument."""
    _, reason = judge_trust(["192.0.2.53"], trust_ad=said, file_says=False)
    assert words in spoken(reason)
