"""RFC 8461 s3.2 and s3.3: the fetch of a policy, from a real HTTPS server, good and hostile."""

from __future__ import annotations

import gzip
import logging
import os
import pickle
import random
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import certifi
import pytest
import requests
from policy_server import (
    SILENCE,
    Drip,
    Endless,
    PolicyServer,
    answer,
    certificate_for,
    packed,
    policy,
)

from requiretls_client import tls
from requiretls_client.fetch import MAX_BODY, FetchError, fetch_policy
from requiretls_client.testing import CA

AUTHORITY = CA()
STRANGER = CA()
HOST = "mta-sts.example.com"
GOOD = policy("mx.example.com")
CERTIFICATE = certificate_for(AUTHORITY, HOST)
SHORT = 0.6  # seconds for a fetch that is to end by its deadline
SOON = 3.0  # seconds after which that has failed


@pytest.fixture
def server():
    """Return a server with a good site at HOST."""
    with PolicyServer() as server:
        server.add(HOST, answer(GOOD), CERTIFICATE)
        yield server


def bomb(size=200 << 20):
    """Return zeros packed with gzip, made without having them all."""
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(1 << 20)
    return b"".join([*(packer.compress(zeros) for _ in range(size >> 20)), packer.flush()])


BOMB = answer(bomb(), content_encoding="gzip")
SMALL_BOMB = answer(bomb(50 << 20), content_encoding="gzip")  # its packed size is permitted


def fetch(server, context=None, addresses=None, **options):
    """Fetch the policy of example.com from the server."""
    options.setdefault("timeout", 10.0)
    context = context or AUTHORITY.context()
    addresses = [server.address] if addresses is None else addresses
    return fetch_policy("example.com", addresses, context, port=server.port, **options)


def refused(server, kind, **options):
    """Fetch, and return the error, which must be of this kind."""
    with pytest.raises(FetchError) as caught:
        fetch(server, **options)
    assert caught.value.kind == kind, str(caught.value)
    assert str(caught.value).isprintable()
    assert HOST in str(caught.value)
    return caught.value


def test_request(server):
    """STS-05, STS-19: one GET of the one URL, with SNI and Host, and nothing else said."""
    assert fetch(server) == GOOD
    (request,) = server.requests
    assert (request.sni, request.method) == (HOST, "GET")
    assert request.path == "/.well-known/mta-sts.txt"
    assert request.headers == {
        "host": f"{HOST}:{server.port}",
        "user-agent": "requiretls-client",
        "accept-encoding": "identity",
        "connection": "close",
    }


ACCEPTED = [
    ("STS-09-plain", answer(GOOD)),
    ("STS-09-charset", answer(GOOD, kind="text/plain; charset=utf-8")),
    ("STS-09-case-and-blanks", answer(GOOD, kind="Text/PLAIN ;x=y")),
    ("chunked", answer(b"5\r\n" + GOOD[:5] + b"\r\n%x\r\n" % len(GOOD[5:]) + GOOD[5:]
                       + b"\r\n0\r\n\r\n", content_length=None, transfer_encoding="chunked")),
    ("length-by-the-end-of-tls", answer(GOOD, content_length=None)),
    ("http-1.0", answer(GOOD).replace(b"HTTP/1.1", b"HTTP/1.0")),
    ("interim-answer", b"HTTP/1.1 100 Continue\r\n\r\n" + answer(GOOD)),
    ("K02-gzip-unasked", packed(GOOD)),
    ("identity-coding", answer(GOOD, content_encoding="identity")),
]  # fmt: skip


@pytest.mark.parametrize("data", [pytest.param(row[1], id=row[0]) for row in ACCEPTED])
def test_accepted(server, data):
    """A 200 with text/plain is a policy however HTTP carries it."""
    server.add(HOST, data, CERTIFICATE)
    assert fetch(server) == GOOD


REFUSED = [
    *[(f"STS-07-{status}-is-not-followed",
       answer(GOOD, f"{status} Moved", location=f"https://{HOST}/elsewhere"), "status")
      for status in (301, 302, 303, 307, 308)],
    *[(f"STS-07-K06-{status}", answer(GOOD, f"{status} X"), "status")
      for status in (201, 203, 206, 404, 410, 500, 503)],
    ("STS-07-K06-204", b"HTTP/1.1 204 No Content\r\nContent-Type: text/plain\r\n\r\n", "status"),
    ("STS-07-304", b"HTTP/1.1 304 Not Modified\r\n\r\n", "status"),
    ("STS-07-401-asks-for-credentials",
     answer(GOOD, "401 X", www_authenticate='Basic realm="x"'), "status"),
    ("STS-09-html", answer(b"<html>", kind="text/html"), "type"),
    ("STS-09-none", answer(GOOD, kind=None), "type"),
    ("STS-09-empty", answer(GOOD, kind=""), "type"),
    ("STS-09-octet-stream", answer(GOOD, kind="application/octet-stream"), "type"),
    ("STS-09-lookalike", answer(GOOD, kind="text/plainer"), "type"),
    ("STS-09-two-types", answer(GOOD, kind="text/plain\r\nContent-Type: text/html"), "type"),
    ("STS-09-escape", answer(GOOD, kind="text/\x1b[2J"), "type"),
    ("STS-10-body-too-long", answer(b"x" * (MAX_BODY + 1)), "size"),
    ("STS-10-without-length", answer(b"x" * (MAX_BODY + 1), content_length=None), "size"),
    ("K02-endless-body", Endless(answer(content_length=None), b"x" * 65536), "size"),
    ("K02-endless-chunks", Endless(
        answer(content_length=None, transfer_encoding="chunked"), b"1\r\nx\r\n" * 999), "size"),
    ("K02-endless-headers", Endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 60000 + b"\r\n"),
     "size"),
    ("K02-endless-header-line", Endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65536), "network"),
    ("K02-endless-interim-answers", Endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 999), "size"),
    ("K02-gzip-bomb", BOMB, "size"),
    ("K02-small-gzip-bomb", SMALL_BOMB, "size"),
    ("K02-gzip-just-too-long", packed(b"x" * (MAX_BODY + 1)), "size"),
    ("K02-gzip-cut-off", answer(gzip.compress(GOOD)[:-9], content_encoding="gzip"), "network"),
    ("K02-no-gzip", answer(GOOD, content_encoding="gzip"), "network"),
    ("K02-other-coding", answer(GOOD, content_encoding="br"), "type"),
    ("K02-gzip-twice", answer(gzip.compress(gzip.compress(GOOD)),
                              content_encoding="gzip, gzip"), "type"),
    ("garbage", b"\x16\x03\x01 garbage \xff\x1b[2J\r\n\r\n", "network"),
    ("nothing", b"", "network"),
    ("header-cut-off", b"HTTP/1.1 200 OK\r\nContent-Ty", "type"),
    ("body-cut-off", answer(GOOD)[:-5], "network"),
    ("chunk-cut-off", answer(b"ff\r\nx", content_length=None, transfer_encoding="chunked"),
     "network"),
    ("chunk-without-size", answer(b"zz\r\nx", content_length=None, transfer_encoding="chunked"),
     "network"),
    ("two-lengths", answer(GOOD, content_length="3, 4"), "network"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "kind"), [pytest.param(*r[1:], id=r[0]) for r in REFUSED])
def test_refused(server, data, kind):
    """STS-07, STS-09, STS-10: anything else is a failure after one request."""
    server.add(HOST, data, CERTIFICATE)
    refused(server, kind)
    assert len(server.requests) == server.connections == 1


def test_broken_off(server):
    """A body whose end nobody announced and TLS did not confirm may have been cut: refused."""
    server.add(HOST, answer(GOOD, content_length=None), CERTIFICATE, ragged=True)
    refused(server, "network")


MOVED = (b"200 OK", b"301 Moved\r\nLocation: /x")
BOMBS = [
    ("K02-behind-a-redirect", BOMB.replace(*MOVED, 1), "status"),
    ("K02-small-behind-a-redirect", SMALL_BOMB.replace(*MOVED, 1), "status"),
    ("K02-behind-an-error", SMALL_BOMB.replace(b"200", b"404", 1), "status"),
    ("K02-as-policy", BOMB, "size"),
    ("K02-small-as-policy", SMALL_BOMB, "size"),
]


@pytest.mark.parametrize(("data", "kind"), [pytest.param(*r[1:], id=r[0]) for r in BOMBS])
def test_memory(server, data, kind):
    """K02: a bomb costs no memory, not even behind a redirect, which requests would inflate."""
    context = AUTHORITY.context()
    fetch(server, context)
    server.add(HOST, data, CERTIFICATE)
    tracemalloc.start()
    try:
        refused(server, kind, context=context)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


CERTIFICATES = [
    ("STS-06-expired", AUTHORITY.issue(HOST, expired=True), "expired"),
    ("STS-06-not-yet", AUTHORITY.issue(HOST, not_yet=True), "not yet valid"),
    ("STS-06-unknown-issuer", STRANGER.issue(HOST), "unable to get local issuer"),
    ("STS-06-self-signed", AUTHORITY.issue(HOST, self_signed=True), "self-signed"),
    ("STS-06-other-name", AUTHORITY.issue("example.com"), "mismatch"),
    ("STS-06-common-name-only", AUTHORITY.issue(common_name=HOST), "mismatch"),
    ("STS-06-common-name-beside-an-address",
     AUTHORITY.issue("127.0.0.1", common_name=HOST), "mismatch"),
    ("STS-06-part-of-a-label", AUTHORITY.issue("mta-*.example.com"), "mismatch"),
    ("STS-06-wildcard-of-two-labels", AUTHORITY.issue("*.com"), "mismatch"),
    ("STS-06-wildcard-inside", AUTHORITY.issue("mta-sts.*.com"), "mismatch"),
    ("STS-06-for-clients", AUTHORITY.issue(HOST, client_only=True), "purpose"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("certificate", "why"), [pytest.param(*r[1:], id=r[0]) for r in CERTIFICATES]
)
def test_certificate(server, certificate, why):
    """STS-06, K07: a certificate that does not verify for the policy host ends it, and says why."""
    server.add(HOST, answer(GOOD), certificate)
    error = refused(server, "tls", addresses=["127.0.0.1", "127.0.0.1"])
    assert why in str(error)
    assert server.requests == []
    assert server.connections == 1, "a certificate is an answer: no other address is tried"


@pytest.mark.parametrize("names", [["*.example.com"], ["x.test", HOST], [HOST.upper()]])
def test_good_certificate(server, names):
    """STS-06: a wildcard as the whole left-most label is good, and so is one name of several."""
    server.add(HOST, answer(GOOD), AUTHORITY.issue(*names))
    assert fetch(server) == GOOD


def test_common_name_despite_the_context(server):
    """STS-06: a common name is none, even where the caller's context would take it."""
    server.add(HOST, answer(GOOD), AUTHORITY.issue(common_name=HOST))
    context = AUTHORITY.context()
    context.hostname_checks_common_name = True
    refused(server, "tls", context=context)
    assert server.requests == []


@pytest.mark.parametrize(
    ("check_hostname", "verify_mode"),
    [(False, ssl.CERT_NONE), (False, ssl.CERT_REQUIRED), (True, ssl.CERT_OPTIONAL)],
    ids=["nothing", "no-name", "no-chain-demanded"],
)
def test_context_that_does_not_verify(server, check_hostname, verify_mode):
    """STS-06: a context that verifies only half of it is refused before anything is asked."""
    context = AUTHORITY.context()
    context.check_hostname = check_hostname
    context.verify_mode = verify_mode
    refused(server, "tls", context=context)
    assert server.requests == []


def test_tls_1_1(server):
    """A server that speaks only old TLS is refused by the context, as a TLS problem."""
    with PolicyServer(instead_of_tls=b"\x15\x03\x01\x00\x02\x02\x46") as server:
        assert "handshake" in str(refused(server, "tls"))


SLOW = [
    ("STS-10-silence", SILENCE),
    ("K04-header-drip", Drip(b"", answer(GOOD))),
    ("K04-header-lines-drip", Drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 99)),
    ("K04-body-drip", Drip(answer(content_length="200"), b"x" * 200)),
    ("K04-chunk-drip", Drip(answer(content_length=None, transfer_encoding="chunked"),
                            b"1\r\nx\r\n" * 99)),
]  # fmt: skip


def test_no_time(server):
    """STS-10: without time nothing is connected to."""
    refused(server, "timeout", timeout=0)
    assert server.connections == 0


@pytest.mark.parametrize("behaviour", [pytest.param(r[1], id=r[0]) for r in SLOW])
def test_deadline(server, behaviour):
    """STS-10, K04: one deadline over everything, however alive the server looks."""
    server.add(HOST, behaviour, CERTIFICATE)
    start = time.monotonic()
    refused(server, "timeout", timeout=SHORT)
    assert SHORT <= time.monotonic() - start < SOON


HANDSHAKES = [
    ("K04-no-handshake", SILENCE, "timeout"),
    ("K04-handshake-drip", Drip(b"\x16\x03\x03\x40\x00", b"\x02" * 999), "timeout"),
    ("garbage", b"220 mail ready\r\n", "tls"),
    ("closed", b"", "network"),
]


@pytest.mark.parametrize(("behaviour", "kind"), [pytest.param(*r[1:], id=r[0]) for r in HANDSHAKES])
def test_no_handshake(behaviour, kind):
    """K04: the deadline holds in the handshake, and what is no TLS is named so."""
    with PolicyServer(instead_of_tls=behaviour) as server:
        start = time.monotonic()
        error = refused(server, kind, timeout=SHORT)
        assert time.monotonic() - start < SOON
        assert "127.0.0.1" in str(error)


def unused_port():
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_addresses_in_turn(server):
    """An address that refuses is passed over; the connection goes to no address but the given."""
    assert fetch(server, addresses=["127.0.0.99", "::1", server.address]) == GOOD
    assert server.connections == 1
    error = refused(server, "network", addresses=["127.0.0.99", "127.0.0.98"])
    assert "127.0.0.98" in str(error)
    assert server.connections == 1


def test_a_silent_address_leaves_time_for_the_next(server):
    """Each address has a share of the time, so that one that answers nothing does not eat it."""
    with socket.create_server(("127.0.0.9", server.port)):  # accepts, and never shakes hands
        assert fetch(server, addresses=["127.0.0.9", server.address], timeout=2.0) == GOOD
    assert server.connections == 1


def test_no_address(server):
    """Without an address there is no connection."""
    refused(server, "network", addresses=[])
    assert server.connections == 0


def test_only_addresses(server, monkeypatch):
    """K10: a name in place of an address is an error before anybody could look it up."""
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: asked.append(_))
    with pytest.raises(ValueError, match="localhost"):
        fetch(server, addresses=["localhost"])
    assert fetch(server) == GOOD
    assert asked == []
    assert len(server.requests) == 1


def test_environment(server, monkeypatch, tmp_path):
    """K09: proxies, netrc, CA bundles and key logs in the environment are not for us."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, address)
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine {HOST} login canary password canary\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "missing.pem"))
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        assert fetch(server) == GOOD
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert "authorization" not in server.requests[0].headers
    assert os.listdir(tmp_path) == ["netrc"]


def test_roots_of_requests(server, monkeypatch):
    """The context decides who is trusted: the list that requests brings is not even looked for."""
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", "/missing/roots.pem")
    assert fetch(server) == GOOD


def test_no_state(server):
    """STS-08: neither cookies nor a cache: the second fetch asks as the first did."""
    server.add(HOST, answer(GOOD, cache_control="max-age=9999", etag='"1"', expires="never",
                            set_cookie="a=b", last_modified="x"), CERTIFICATE)  # fmt: skip
    assert fetch(server) == fetch(server) == GOOD
    assert server.requests[0] == server.requests[1]
    assert server.connections == 2


class Guarded(ssl.SSLContext):
    """A context that cannot be changed any more once it is sealed."""

    sealed = False

    def __setattr__(self, name, value):
        """Refuse it."""
        assert not self.sealed, f"{name} was set"
        super().__setattr__(name, value)

    def _refuse(self, *_, **__):
        raise AssertionError("the context was changed")

    load_default_certs = set_default_verify_paths = load_cert_chain = _refuse
    set_alpn_protocols = set_ciphers = set_ecdh_curve = _refuse

    def load_verify_locations(self, *arguments, **options):
        """Refuse it."""
        assert not self.sealed, "certificates were loaded"
        super().load_verify_locations(*arguments, **options)


def guarded():
    """Return a sealed context that trusts AUTHORITY."""
    context = Guarded(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    context.load_verify_locations(cadata=AUTHORITY.pem.decode())
    context.sealed = True
    return context


def test_context_is_shared_and_not_changed(server):
    """Forty fetches on eight threads over one context leave it as it was."""
    context = guarded()
    before = context.options, context.verify_flags, context.cert_store_stats()
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: fetch(server, context), range(40)))
    assert bodies == [GOOD] * 40
    assert context.check_hostname is True
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert (context.options, context.verify_flags, context.cert_store_stats()) == before


def test_hostile_bytes(server):
    """Whatever bytes a server sends, the fetch returns or raises FetchError, and is in time."""
    chance = random.Random("8461")
    context = AUTHORITY.context()
    logging.getLogger("urllib3").addHandler(logging.NullHandler())
    whole = answer(GOOD, content_encoding="gzip", transfer_encoding="chunked", set_cookie="a=b")
    outcomes = set()
    for _ in range(150):
        data = bytearray(chance.choice([whole, answer(GOOD), packed(GOOD)]))
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(4)] = chance.choice(
                [b"\0", b"\r\n", b"\xff\xfe", b":", b"9" * 20, b"\n\n", b"-1", b"\x1b", b""]
            )
        server.add(HOST, bytes(data), CERTIFICATE)
        try:
            fetch(server, context, timeout=5.0)
            outcomes.add("good")
        except FetchError as error:
            outcomes.add(error.kind)
    assert {"good", "network", "type"} <= outcomes
    assert "timeout" not in outcomes


def test_leaves_nothing_behind(server):
    """After good and failed fetches no file and no thread of ours is left."""
    context = AUTHORITY.context()
    fetch(server, context)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for data in (answer(GOOD), b"garbage", answer(GOOD, "301 X", location="/"), b"") * 5:
        server.add(HOST, data, CERTIFICATE)
        try:
            fetch(server, context)
        except FetchError:
            assert data != answer(GOOD)
    for thread in server._threads[1:]:
        thread.join(10)
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before


def test_error_travels():
    """The error pickles with its kind."""
    error = pickle.loads(pickle.dumps(FetchError("text", "tls")))
    assert (str(error), error.kind) == ("text", "tls")
    assert isinstance(error, OSError)


def test_cost(server, tmp_path, record_property):
    """A fetch loads no list of roots: it costs a fraction of requests.get with certifi's."""
    bundle = tmp_path / "bundle.pem"
    with open(certifi.where(), "rb") as roots:
        bundle.write_bytes(roots.read() + AUTHORITY.pem)
    context = tls.client_context(str(bundle))
    server.add("localhost", answer(GOOD), certificate_for(AUTHORITY, "localhost"))

    def plain():
        url = f"https://localhost:{server.port}/.well-known/mta-sts.txt"
        assert requests.get(url, verify=str(bundle), timeout=10).content == GOOD

    ours, theirs = cost(lambda: fetch(server, context)), cost(plain)
    record_property("milliseconds", f"{ours * 1000:.2f} of {theirs * 1000:.2f}")
    assert ours < theirs / 3


def cost(work, times=15):
    """Return the CPU seconds of this thread for one call: the median, after a first one."""
    work()
    spent = []
    for _ in range(times):
        start = time.thread_time()
        work()
        spent.append(time.thread_time() - start)
    return sorted(spent)[times // 2]


def test_no_threads(server):
    """A fetch starts no thread."""
    before = threading.active_count()
    server.add(HOST, SILENCE, CERTIFICATE)
    refused(server, "timeout", timeout=0.2)
    assert threading.active_count() <= before + 1, "the server's own"
