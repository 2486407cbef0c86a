"""Ordinary mail and TLS-Required: No to a domain: what policies demand, and no more."""

from __future__ import annotations

import pytest
from small_internet import (
    DOMAIN,
    FIRST,
    GOOD,
    SECOND,
    by_address_failure,
    by_mx_failure,
    by_name,
    by_null_mx,
    by_nxdomain,
    by_policy_mismatch,
    by_tlsa_failure,
    by_txt_failure,
    ordinary,
    refused,
    send,
    unconnected,
)
from support import NO_STARTTLS, OTHER, verbs

import requiretls_client as rt
from requiretls_client.testing import reset

# -- ordinary mail ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "level"),
    [({}, "encrypted"), (NO_STARTTLS, "none"), ({"script": {"HANDSHAKE": reset}}, "none")],
    ids=["tls", "no-starttls", "broken-tls"],
)
def test_opportunistic(net, message, options, level):
    """DANE-10: without any policy ordinary mail takes what TLS there is, or none."""
    server = net.host(GOOD, tlsa=False, certificate=OTHER.issue("other.example"), **options)
    net.mx(GOOD)
    result = ordinary(net, message)
    assert (result.state, result.tls_level) == ("delivered", level)
    assert "REQUIRETLS" not in server.ledger[0].parameters
    assert b"TLS-Required" not in server.ledger[0].content


@pytest.mark.parametrize(
    ("tlsa", "policy", "options", "delivered"),
    [
        (True, None, {}, True),
        (["3 1 1 " + "00" * 32], None, {}, False),
        (True, None, NO_STARTTLS, False),
        (["3 9 9 00"], None, {"certificate": OTHER.issue(GOOD)}, True),
        (["3 9 9 00"], None, NO_STARTTLS, False),
        (False, "enforce", {}, True),
        (False, "enforce", {"certificate": OTHER.issue(GOOD)}, False),
        (False, "enforce", NO_STARTTLS, False),
        (False, "testing", {"certificate": OTHER.issue(GOOD)}, True),
        (False, "testing", NO_STARTTLS, True),
        (["3 9 9 00"], "enforce", {"certificate": OTHER.issue(GOOD)}, False),
    ],
    ids=[
        "DANE-08-match", "DANE-08-mismatch", "J15-no-starttls", "DANE-09-unusable",
        "DANE-09-unusable-no-starttls", "STS-20-good", "STS-20-untrusted", "STS-20-no-starttls",
        "STS-21-testing-untrusted", "STS-21-testing-no-starttls", "B2-enforce-and-unusable",
    ],
)  # fmt: skip
def test_ordinary_mail_obeys_policies(net, message, tlsa, policy, options, delivered):
    """Table B, column OPP: DANE and an enforced policy bind ordinary mail too."""
    server = net.host(GOOD, tlsa=bool(tlsa), **options)
    net.mx(GOOD)
    if isinstance(tlsa, list):
        net.records[net.tlsa(GOOD)] = tlsa
    if policy:
        net.policy(GOOD, mode=policy)
    if delivered:
        assert ordinary(net, message).state == "delivered"
        assert len(server.ledger) == 1
    else:
        error = refused(net, message, require_tls=False)
        assert error.status == "5.7.10"
        assert error.temporary


def test_ordinary_mail_at_a_host_that_a_policy_bars(net, message):
    """STS-20, A4: under an enforced policy a host that it does not list gets nothing."""
    net.host(FIRST)
    second = net.host(SECOND)
    net.mx(FIRST, SECOND)
    net.policy(SECOND)
    assert ordinary(net, message).mx_host == SECOND
    assert not net.servers[FIRST].transcript
    assert second.ledger


def test_dane_at_the_host_of_an_insecure_mx(net, message):
    """DANE-15, B5: the host is verified, and the result does not call the domain's MX secure."""
    net.host(GOOD)
    net.mx(GOOD)
    net.insecure.add(f"{DOMAIN} MX")
    result = ordinary(net, message)
    assert (result.mx_level, result.tls_level) == ("none", "authenticated")


# -- TLS-Required: No ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({}, "authenticated"),
        ({"certificate": OTHER.issue("other.example")}, "encrypted"),
        (NO_STARTTLS, "none"),
        ({"script": {"HANDSHAKE": reset}}, "none"),
        ({"script": {"STARTTLS": "454 later"}}, "none"),
    ],
    ids=["RT-18-verified-first", "RT-17-bad-certificate", "no-starttls", "broken", "454"],
)
def test_tls_optional(net, message, options, level):
    """RT-17, RT-18, ruling 8: verified TLS first, then any, then none; the policy is looked up."""
    server = net.host(GOOD, **options)
    net.records[net.tlsa(GOOD)] = ["3 1 1 " + "00" * 32] if level != "authenticated" else (
        net.records[net.tlsa(GOOD)]
    )  # fmt: skip
    net.mx(GOOD)
    net.policy(GOOD)
    result = ordinary(net, message, tls_optional=True)
    assert (result.state, result.tls_level) == ("delivered", level)
    assert server.ledger[0].content.count(b"TLS-Required: No\r\n") == 1
    asked = set(net.resolver.queries)
    assert {net.tlsa(GOOD), f"_mta-sts.{DOMAIN} TXT"} <= asked
    failed = [finding for finding in result.findings if not finding.ok]
    assert bool(failed) is (level != "authenticated")


def test_broken_tls_is_not_tried_on_every_rung(net, message):
    """RT-17, H12: where TLS itself does not work no laxer handshake is tried: clear text next."""
    server = net.host(GOOD, tlsa=False, script={"HANDSHAKE": reset})
    net.mx(GOOD)
    assert ordinary(net, message, tls_optional=True).tls_level == "none"
    assert verbs(server).count("STARTTLS") == 1


@pytest.mark.parametrize("spoil", [by_tlsa_failure, by_policy_mismatch, by_name, by_txt_failure])
def test_tls_optional_ignores_policy_trouble(net, message, spoil):
    """B4, B11, RT-17: what policies say, or cannot say, does not stop such a message."""
    net.host(GOOD)
    net.mx(GOOD)
    spoil(net)
    assert ordinary(net, message, tls_optional=True).state == "delivered"


@pytest.mark.parametrize("spoil", [by_mx_failure, by_null_mx, by_nxdomain, by_address_failure])
def test_tls_optional_still_needs_a_host(net, message, spoil):
    """Ruling 8, T1: an MX look-up that fails defers; no host is no host."""
    net.host(GOOD)
    net.mx(GOOD)
    spoil(net)
    refused(net, message, require_tls=False, tls_optional=True)
    assert unconnected(net)


def test_server_that_demands_starttls(net, message):
    """RT-19: 530 from a server whose TLS does not work is a failure, not silence."""
    net.host(GOOD, script={"HANDSHAKE": reset, "MAIL": "530 5.7.0 STARTTLS first"})
    net.mx(GOOD)
    with pytest.raises(rt.DeliveryFailed) as caught:
        send(net, message, require_tls=False, tls_optional=True)
    assert (caught.value.code, caught.value.status) == (530, "5.7.0")


def test_header_selects_tls_optional(net, message):
    """RT-20: a message that has the field asks for the same as the argument."""
    message["TLS-Required"] = "No"
    server = net.host(GOOD, **NO_STARTTLS)
    net.mx(GOOD)
    net.policy(GOOD)
    assert ordinary(net, message).state == "delivered"
    assert server.ledger[0].content.count(b"TLS-Required: No\r\n") == 1
