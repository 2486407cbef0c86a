"""Callers of smtplib, unchanged, over this package and against real servers.

What a user writes stands in docs/callers.rst, and those very lines are run here.
"""

from __future__ import annotations

import logging
import logging.handlers
import re
import smtplib
import sys
import textwrap
import uuid
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import requiretls_client as rt
from requiretls_client.testing import trust

RECIPES = Path(__file__).parents[2] / "docs/callers.rst"
LOGIN = ("user", "secret")
MARK = b"\nRequire-TLS-ESMTP: yes\n"


class Job(NamedTuple):
    """One message to send: to which server, for whom, and how the caller is set up."""

    host: str
    port: int
    token: str
    strict: bool = True
    login: tuple[str, str] | tuple[None, None] = (None, None)

    @property
    def sender(self):
        """Return an address that only this test uses."""
        return f"{self.token}@sender.test"

    @property
    def ssl(self):
        """Tell whether the server begins with TLS."""
        return self.port == 465


def recipe(name, job):
    """Run a block of docs/callers.rst for a job; returns the names that it defines."""
    head = rf"^\.\. code-block:: python\n   :name: recipe-{name}\n\n"
    (block,) = re.findall(head + r"((?:   .*\n|\n)+)", RECIPES.read_text(), re.MULTILINE)
    assert block.count("require_tls=True") == 1
    block = block.replace('"smtp.example.org", 587', f'"{job.host}", {job.port}')
    block = block.replace("require_tls=True", f"require_tls={job.strict}")
    names = {}
    exec(compile(textwrap.dedent(block), f"callers.rst, {name}", "exec"), names)
    return names


@contextmanager
def django_backend(job, fail_silently=False):
    """Give the mail back end of a project whose settings name the recipe's class."""
    import django
    from django.conf import settings
    from django.core import mail
    from django.test.utils import override_settings

    if not settings.configured:
        settings.configure()
    project = ModuleType("myproject")
    vars(project).update(recipe("django", job))
    path, (user, password) = "myproject.EmailBackend", job.login
    options = {"host": job.host, "port": job.port, "use_ssl": job.ssl, "use_tls": not job.ssl}
    if django.VERSION >= (6, 1):
        options |= {"username": user, "password": password, "fail_silently": fail_silently}
        changed = {"MAILERS": {"default": {"BACKEND": path, "OPTIONS": options}}}
    else:
        options |= {"backend": path, "host_user": user, "host_password": password}
        changed = {f"EMAIL_{name.upper()}": value for name, value in options.items()}
    with pytest.MonkeyPatch.context() as patch, override_settings(**changed):
        patch.setitem(sys.modules, "myproject", project)
        if django.VERSION >= (6, 1):
            yield mail.mailers.default
        else:
            yield mail.get_connection(fail_silently=fail_silently)


def by_django(job, subjects=(), **options):
    """Send through Django; returns how many messages it says were sent."""
    from django.core.mail import EmailMessage

    rest = ("canary", job.sender, ["user@real.test"])
    with django_backend(job, **options) as backend:
        return backend.send_messages(
            [EmailMessage(each, *rest) for each in subjects or [job.token]]
        )


def by_flask_mail(job, **options):
    """Send through Flask-Mail."""
    import flask
    import flask_mail

    app = flask.Flask(__name__)
    app.config.update(
        MAIL_SERVER=job.host,
        MAIL_PORT=job.port,
        MAIL_USE_SSL=job.ssl,
        MAIL_USE_TLS=not job.ssl,
        MAIL_USERNAME=job.login[0],
        MAIL_PASSWORD=job.login[1],
    )
    mail = recipe("flask-mail", job)["Mail"](app)
    with app.app_context():
        people = {"sender": job.sender, "recipients": ["user@real.test"]}
        mail.send(flask_mail.Message(job.token, body="canary", **people, **options))


def by_redmail(job):
    """Send through Red Mail."""
    sender = recipe("redmail", job)["sender"]
    if job.ssl:
        sender.cls_smtp, sender.use_starttls = rt.SMTP_SSL, False
    sender.username, sender.password = job.login
    sender.send(job.token, sender=job.sender, receivers=["user@real.test"], text="canary")


def log(handler):
    """Log an error to one handler."""
    logger = logging.Logger("application")
    logger.addHandler(handler)
    logger.error("canary")


def handler_arguments(job):
    """Return the arguments of SMTPHandler for a job; it does TLS only where it logs in."""
    login = {"credentials": job.login, "secure": ()} if job.login[0] else {}
    return {
        "mailhost": (job.host, job.port),
        "fromaddr": job.sender,
        "toaddrs": ["user@real.test", "other@real.test"],
        "subject": job.token,
        **login,
    }


def by_logging(job):
    """Log through the standard library's own handler, with smtplib.SMTP swapped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smtplib, "SMTP", smtplib.SMTP)  # so that it comes back
        recipe("logging-swap", job)
        log(logging.handlers.SMTPHandler(**handler_arguments(job)))


def by_own_handler(job):
    """Log through the handler that the recipe has."""
    log(recipe("logging", job)["RequireTLSHandler"](**handler_arguments(job)))


HANDLERS = [by_logging, by_own_handler]
FRAMEWORKS = [by_django, by_flask_mail, by_redmail]
EVERY_CALLER = [*HANDLERS, *FRAMEWORKS]


@pytest.fixture
def token():
    """Return a word that only this test's messages and addresses hold."""
    return uuid.uuid4().hex


@pytest.fixture(autouse=True)
def trusting(real_ca, monkeypatch):
    """Trust the real servers' authority in place of certifi's roots and of the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(real_ca.path))  # for Django's own context
    with trust(real_ca):
        yield


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("send", EVERY_CALLER)
def test_postfix_stores_it(postfix311, token, send, strict):
    """With require_tls the stored message bears Postfix's mark and came over TLS."""
    send(Job(postfix311.name, 25, token, strict))
    stored = postfix311.wait_for(token)
    assert (MARK in stored) == strict
    # Without a login SMTPHandler has no TLS of its own, and our handler only by require_tls.
    assert (b"with ESMTPS " in stored) == (strict or send in FRAMEWORKS)
    assert b"canary" in stored
    mails = postfix311.mail_commands(token)
    assert [("REQUIRETLS" in mail) for mail in mails] == [strict]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("send", FRAMEWORKS)
def test_postfix_stores_it_on_465(postfix311, token, send, strict):
    """The callers that know TLS from the first byte send the mark over that too."""
    send(Job(postfix311.name, 465, token, strict))
    stored = postfix311.wait_for(token)
    assert (MARK in stored) == strict
    assert b"with ESMTPS " in stored


@pytest.mark.parametrize("send", FRAMEWORKS)
def test_refusal_reaches_the_caller(postfix311, token, send):
    """Where REQUIRETLS is not offered, the framework raises our exception; no MAIL was sent."""
    with pytest.raises(rt.RequireTLSNotOffered) as caught:
        send(Job("hidden.real.test", 25, token))
    assert caught.value.status == "5.7.30"
    assert caught.value.host == "hidden.real.test"
    assert postfix311.mail_commands(token) == []


@pytest.mark.parametrize("send", HANDLERS)
def test_refusal_shows_in_the_log(postfix311, token, send, capsys):
    """logging keeps the refusal from the program and prints it; no MAIL was sent."""
    send(Job("hidden.real.test", 25, token))
    assert "requiretls_client.errors.RequireTLSNotOffered: " in capsys.readouterr().err
    assert postfix311.mail_commands(token) == []


@pytest.mark.parametrize("send", EVERY_CALLER)
def test_hidden_listener_takes_ordinary_mail(postfix311, token, send):
    """It is require_tls that was refused above: without it the same listener is sent to."""
    send(Job("hidden.real.test", 25, token, strict=False))
    assert MARK not in postfix311.wait_for(token)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("name", "port"), [("misnamed.real.test", 25), ("localhost", 465)])
@pytest.mark.parametrize("send", FRAMEWORKS)
def test_certificate_for_another_name(postfix311, token, send, name, port, strict):
    """The callers' own TLS is verified, with require_tls or without."""
    host = postfix311.host if name == "localhost" else name
    with pytest.raises(rt.CertificateNotVerified):
        send(Job(host, port, token, strict))
    assert postfix311.mail_commands(token) == []


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("send", [by_logging, *FRAMEWORKS])
def test_login_comes_after_tls(smtp_server, token, send, strict):
    """On port 587 the callers log in inside TLS, and smtp-server sees the mark if it was asked."""
    send(Job(smtp_server.name, 587, token, strict, LOGIN))
    (stored,) = [item for item in smtp_server.messages() if token in item["from"]]
    assert bool(stored["requireTLS"]) == strict
    assert stored["secure"] is True


def test_own_handler_logs_in(smtp_server, token):
    """The recipe's handler logs in without being told about TLS: require_tls brings it."""
    by_own_handler(Job(smtp_server.name, 587, token, True, LOGIN))
    (stored,) = [item for item in smtp_server.messages() if token in item["from"]]
    assert stored["requireTLS"] is stored["secure"] is True
    assert stored["to"] == ["user@real.test", "other@real.test"]


def test_wrong_password_is_no_refusal(smtp_server, token):
    """A caller can tell a password that the server refused from a session that we refused."""
    with django_backend(Job(smtp_server.name, 587, token, True, ("user", "wrong"))) as backend:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            backend.open()
        backend.close()  # Django does not, when a login fails
    assert smtp_server.mail_commands(token) == []


def test_django_fails_silently(postfix311, token):
    """fail_silently swallows a refusal; that nothing left shows in what send() returns."""
    job = Job("hidden.real.test", 25, token)
    assert by_django(job, fail_silently=True) == 0
    assert postfix311.mail_commands(token) == []
    assert by_django(job._replace(host=postfix311.name), fail_silently=True) == 1


def test_django_sends_two_over_one_connection(postfix311, token):
    """Several messages of one connection each carry the mark."""
    subjects = [f"first {token}", f"second {token}"]
    assert by_django(Job(postfix311.name, 25, token), subjects) == 2
    assert all(MARK in postfix311.wait_for(subject) for subject in subjects)


def test_flask_mail_requires_it_of_one_message(postfix311, token):
    """Flask-Mail's mail_options ask for one message what the recipe asks for all."""
    job = Job(postfix311.name, 25, token, strict=False)
    by_flask_mail(job, mail_options=["REQUIRETLS"])
    assert MARK in postfix311.wait_for(token)


def test_flask_mail_is_refused_one_message(postfix311, token):
    """The refusal of one message reaches the caller of Flask-Mail, which says quit() on top."""
    job = Job("hidden.real.test", 25, token, strict=False)
    with pytest.raises(rt.RequireTLSNotOffered):
        by_flask_mail(job, mail_options=["REQUIRETLS"])
    assert postfix311.mail_commands(token) == []
