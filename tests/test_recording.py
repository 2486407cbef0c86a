"""Facts of a check as a file: they come back as they were, and give the same report again."""

from __future__ import annotations

import json

import pytest
import small_internet
from small_internet import DOMAIN, FIRST, GOOD, SECOND, WITHOUT
from support import CA_AT_HAND, NO_STARTTLS, OTHER

import requiretls_client as rt
from requiretls_client import recording
from requiretls_client.assessment import assess
from requiretls_client.cli import picture, terminal
from requiretls_client.cli.view import view_of

TROUBLES = sorted(name for name in vars(small_internet) if name.startswith("by_"))


def replayed(report):
    """Return the report that comes of a report's facts after a way through a file."""
    (facts,) = recording.load(recording.dump([report.facts]))
    assert facts == report.facts
    return assess(facts)


@pytest.mark.parametrize("trouble", ["", *TROUBLES])
def test_replay_of_a_domain(net, trouble):
    """In every kind of trouble the recorded facts give the very report again, without a network."""
    net.host(GOOD)
    net.mx(GOOD)
    if trouble:
        getattr(small_internet, trouble)(net)
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5)
    again = replayed(report)
    assert again == report
    assert again.explain() == report.explain()
    assert again.as_dict() == report.as_dict()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tls_extensions": WITHOUT},
        NO_STARTTLS,
        {"certificate": OTHER.issue(FIRST)},
        {"certificate": OTHER.issue(FIRST), "tlsa": False},
        {"certificate": OTHER.issue(FIRST), "tlsa": False, "tls_extensions": WITHOUT},
        {"script": {"GREETING": "421 4.3.2 later"}},
        {"script": {"EHLO": "554 5.3.0 no"}},
        {"script": {"STARTTLS": "454 4.7.0 not now"}},
    ],
    ids=["good", "keyword", "starttls", "dane", "untrusted", "both", "greeting", "ehlo", "454"],
)
@pytest.mark.parametrize("mode", ["", "enforce", "testing"])
def test_replay_of_hosts(net, options, mode):
    """What a host lacks, on whatever rung it showed, is judged from the record as it was live."""
    net.host(FIRST, **options)
    net.host(SECOND)
    net.mx(FIRST, SECOND)
    net.trusted = not mode
    if mode:
        net.policy(FIRST, SECOND, mode=mode)
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5)
    assert replayed(report) == report
    json.dumps(report.as_dict())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tls_extensions": WITHOUT},
        NO_STARTTLS,
        {"certificate": OTHER.issue("localhost")},
        {"implicit_tls": True},
        {"script": {"GREETING": "421 4.3.2 later"}},
    ],
)
def test_replay_of_a_relay(serve, options, monkeypatch):
    """The same of a submission server, whose certificate is in the report even if it is bad."""
    server = serve(**options)
    if "implicit_tls" in options:
        monkeypatch.setattr("smtplib.SMTP_SSL_PORT", server.port)
    report = rt.check_relay(server.host, server.port, context=CA_AT_HAND.context(), timeout=5)
    assert replayed(report) == report
    if "certificate" in options:
        assert report.verdict.status == "5.7.10"
        assert "localhost" in report.hosts[0].certificate.names


def test_better_rules_judge_again(net, monkeypatch):
    """The verdict is not in the file: other rules come to another one."""
    net.host(GOOD)
    net.mx(GOOD)
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5)
    assert report.verdict.allowed
    text = recording.dump([report.facts])
    assert '"allowed"' not in text
    monkeypatch.setattr("requiretls_client.policy.KEYWORD", "NOBODYHASTHIS")
    (facts,) = recording.load(text)
    assert assess(facts).verdict.status == "5.7.30"


def test_a_connection_that_is_missing(net):
    """What the rules ask for and the record lacks counts as not reached, never as good."""
    net.host(GOOD)
    net.mx(GOOD)
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5)
    data = json.loads(recording.dump([report.facts]))
    data["checks"][0]["strict"] = []
    (facts,) = recording.load(json.dumps(data))
    assert assess(facts).verdict.status == "4.4.1"
    assert "was not recorded" in assess(facts).explain()


@pytest.fixture(scope="module")
def good():
    """Return the plain data of a file about a server that cannot be reached."""
    report = rt.check_relay("127.0.0.1", 1, timeout=5)
    return json.loads(recording.dump([report.facts]))


def spoil(data, path, value):
    """Return a copy of the data with a value at a path; ``...`` takes it away."""
    data = json.loads(json.dumps(data))
    inner = data
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


FIRST_CHECK = ("checks", 0)
VISIT = (*FIRST_CHECK, "strict", 0)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("schema",), "requiretls-facts/2", "schema"),
        (("checks",), {}, "a list"),
        (("more",), 1, "nothing else"),
        (FIRST_CHECK, None, "must be an object"),
        ((*FIRST_CHECK, "target"), 7, "target must be text"),
        ((*FIRST_CHECK, "target"), ..., "too much or too little: target"),
        ((*FIRST_CHECK, "\x1b[31m"), 1, "too much or too little: \\x1b"),
        ((*FIRST_CHECK, "started"), 1e300, "started is no time"),
        ((*FIRST_CHECK, "started"), -1, "started is no time"),
        ((*FIRST_CHECK, "started"), "now", "a finite number"),
        ((*FIRST_CHECK, "seconds"), 10**400, "a finite number"),
        ((*FIRST_CHECK, "seconds"), True, "a finite number"),
        ((*FIRST_CHECK, "named"), 1, "true or false"),
        ((*FIRST_CHECK, "named"), False, "has no route"),
        ((*FIRST_CHECK, "strict"), [], "named server"),
        ((*FIRST_CHECK, "strict"), {"0": 1}, "must be a list"),
        ((*VISIT, "shown", "is"), "CheckFacts", "none of the records"),
        ((*VISIT, "shown", "is"), ..., "none of the records"),
        ((*VISIT, "shown", "is"), {}, "none of the records"),
        ((*VISIT, "shown", "code"), 1 << 70, "a whole number"),
        ((*VISIT, "shown"), "text", "none of the records"),
    ],
)
def test_spoiled_file(good, path, value, said):
    """A damaged or hostile file is one sentence that says where, without control characters."""
    with pytest.raises(recording.RecordingError, match=r"recording|checks") as caught:
        recording.load(json.dumps(spoil(good, path, value)))
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"schema": NaN}', "1" * 5000, '"\\ud800"']
)
def test_no_recording_at_all(text):
    """What is not JSON, or nothing of ours, is refused like everything else."""
    with pytest.raises(recording.RecordingError):
        recording.load(text)


# Of each kind of value some that no check would ever write.
HOSTILE = {
    str: ["", ".", "*.", "\x00" * 300, "\ud800\u202e<b>", "::1"],
    int: [0, -1, 65536, 2**62], float: [0.0, -1e300, 1e300], bool: [True, False], list: [[]],
    dict: [], type(None): [],
}  # fmt: skip


def leaves(data, path=()):
    """Yield the way to everything in the data."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from leaves(value, (*path, key))


def test_nothing_well_formed_breaks_the_rules(net):
    """Whatever stands in a field, it is judged and drawn, or refused: never a traceback."""
    net.host(SECOND, certificate=OTHER.issue(SECOND))
    net.records[net.tlsa(SECOND)] = ["2 0 1 " + "00" * 32, "3 1 1 " + "00" * 32]
    net.policy(FIRST, "*.example.net")
    net.mx(SECOND)
    report = rt.check(DOMAIN, lookups=net.lookups(), port=net.port, timeout=5)
    data = json.loads(recording.dump([report.facts]))
    judged, refused = 0, []
    for path in leaves(data):
        value = data
        for step in path:
            value = value[step]
        for hostile in (*HOSTILE[type(value)], None):
            try:
                checks = recording.load(json.dumps(spoil(data, path, hostile)))
            except recording.RecordingError as error:
                refused.append(str(error))
                continue
            for facts in checks:
                made = assess(facts)
                json.dumps(made.as_dict())
                view = view_of(made)
                assert terminal.plain(view)
                assert picture.pictures(view)
                judged += 1
    assert judged > 200
    assert all(each.isprintable() for each in refused)


def test_not_too_long(monkeypatch):
    """A file beyond all measure is not even parsed."""
    monkeypatch.setattr(recording, "MAX_CHARACTERS", 10)
    with pytest.raises(recording.RecordingError, match="characters"):
        recording.load(" " * 11)
