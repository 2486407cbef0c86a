#!/usr/bin/env python3
"""Take each clause of the guard out in turn; some test must fail, or nobody would miss it.

usage: tests/mutate.py [NAME ...]     (from an environment that tests/run has made)

Prints a line for each guard with the tests that missed it first. Exit status 0 only if every
guard was missed. Not part of tests/run: it runs the suites some 200 times.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mutate_send
import mutate_spool

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300  # a mutant that hangs has been missed too

# name of the guard, module, text as it stands, text without the guard
MUTATIONS = [
    (
        'chain-demanded', 'policy',
        'if not tls.verify_required:',
        'if False:',
    ),
    (
        'name-demanded', 'policy',
        'if not tls.check_hostname:',
        'if False:',
    ),
    (
        'name-is-the-one-meant', 'policy',
        'if tls.server_hostname != host and not _also_names(tls, host):',
        'if False:',
    ),
    (
        'a-name-at-all', 'policy',
        '    if not host:\n        return "there',
        '    if False:\n        return "there',
    ),
    (
        'not-resumed', 'policy',
        'if tls.session_reused:',
        'if False:',
    ),
    (
        'no-common-name', 'policy',
        'if tls.common_name_allowed and',
        'if False and',
    ),
    (
        'own-handshake', 'policy',
        '    if facts.foreign_tls:\n        return "the handshake',
        '    return None\n    if facts.foreign_tls:\n        return "the handshake',
    ),
    (
        'tls-1.2', 'policy',
        'and facts.tls.version in VERSIONS:',
        'and True:',
    ),
    (
        'login-in-clear', 'policy',
        'if not facts.cleartext_login:',
        'if True:',
    ),
    (
        'keyword-inside-tls', 'policy',
        'if KEYWORD in facts.keywords:\n        text',
        'if True:\n        text',
    ),
    (
        'null-path-only', 'policy',
        '    if null_path:\n',
        '    if True:\n',
    ),
    (
        '454-is-temporary', 'policy',
        'return "4.7.10" if later else "5.7.10"',
        'return "5.7.10"',
    ),
    (
        'settings-before', 'tls',
        'verified = before[0] and after[0]',
        'verified = after[0]',
    ),
    (
        'settings-behind', 'tls',
        'verified = before[0] and after[0]',
        'verified = before[0]',
    ),
    (
        'name-setting-before', 'tls',
        'check_hostname=before[1] and after[1]',
        'check_hostname=after[1]',
    ),
    (
        'name-setting-behind', 'tls',
        'check_hostname=before[1] and after[1]',
        'check_hostname=before[1]',
    ),
    (
        'default-no-common-name', 'tls',
        'context.hostname_checks_common_name = False',
        'pass',
    ),
    (
        'default-tls-1.2', 'tls',
        'context.minimum_version = ssl.TLSVersion.TLSv1_2',
        'pass',
    ),
    (
        'default-ciphers', 'tls',
        'context.set_ciphers(_CIPHERS)',
        'pass',
    ),
    (
        'whole-keyword', 'syntax',
        '([^\\x00-\\x20\\x7f-\\x9f]++)(?: [^',
        '([^\\x00-\\x20=_\\-\\x7f-\\x9f]++)(?:[^',
    ),
    (
        'not-the-greeting-line', 'syntax',
        '_KEYWORD = re.compile(r"\\n(',
        '_KEYWORD = re.compile(r"(?m:^)(',
    ),
    (
        'void-lines', 'syntax',
        '(?![^\\n])',
        '',
    ),
    (
        'hidden-commands', 'syntax',
        '_COMMAND = re.compile(r"[ \\t]*([A-Za-z]*)([^',
        '_COMMAND = re.compile(r"([A-Za-z]*)([^',
    ),
    (
        'hidden-behind-one-command', 'syntax',
        '([A-Za-z]++)([^\\x00-\\x1f\\x7f]*+)',
        '([A-Za-z]+)(.*)',
    ),
    (
        'old-mail-verbs', 'syntax',
        '{"MAIL", "SEND", "SOML", "SAML"}',
        '{"MAIL"}',
    ),
    (
        'mark-behind-the-path', 'syntax',
        '    return MARK in words, not found[1]',
        '    return MARK in rest.upper(), not found[1]',
    ),
    (
        'address-control', 'syntax',
        '    _refuse_control(address, argument)\n',
        '',
    ),
    (
        'address-grammar', 'syntax',
        'if not _MAILBOX.fullmatch(bare) or',
        'if',
    ),
    (
        'option-grammar', 'syntax',
        'if not _OPTION.fullmatch(option):',
        'if False:',
    ),
    (
        'mark-has-no-value', 'syntax',
        'if option.upper().startswith("REQUIRETLS="):',
        'if False:',
    ),
    (
        'host-control', 'syntax',
        '    _refuse_control(host, "host")\n',
        '',
    ),
    (
        'printable', 'syntax',
        'text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)',
        'pass',
    ),
    (
        'one-field', 'header',
        'if len(values) > 1:',
        'if False:',
    ),
    (
        'value-no', 'header',
        'if not _VALUE.fullmatch(values[0]):',
        'if False:',
    ),
    (
        'field-name', 'header',
        'if not _FIELD_NAME.fullmatch(name):',
        'if False:',
    ),
    (
        'contradiction', 'header',
        'if (call or option) and optional:',
        'if False:',
    ),
    (
        'choke-point', 'connection',
        '        for verb, rest in syntax.commands(s):\n            self._check_command(verb, rest)\n',
        '        for verb, rest in syntax.commands(s):\n            pass\n',
    ),
    (
        'choke-point-of-groups', 'connection',
        'free = self._path is None and not self._requires  #',
        'free = True  #',
    ),
    (
        'every-command-of-a-group', 'connection',
        'if not free or verb in syntax.GUARDED_VERBS:',
        'if verb not in syntax.GUARDED_VERBS:',
    ),
    (
        'guarded-verbs', 'syntax',
        'GUARDED_VERBS = MAIL_VERBS | {"AUTH"}',
        'GUARDED_VERBS = frozenset({"AUTH"})',
    ),
    (
        'mark-by-hand-in-a-group', 'connection',
        'if required or syntax.MARK in rest.upper():',
        'if required:',
    ),
    (
        'one-line-a-command', 'connection',
        'if not lines.count(b"\\r") == lines.count(b"\\n") == len(commands):',
        'if False:',
    ),
    (
        'strict-content-waits', 'pipelining',
        'smtp.has_extn("chunking") and envelope.early',
        'smtp.has_extn("chunking")',
    ),
    (
        'no-empty-message', 'pipelining',
        'judged.broken = taken or bool(judged.accepted and answer and answer[0] == 354)',
        'judged.broken = taken',
    ),
    (
        'groups-are-bounded', 'pipelining',
        '_groups(envelope.commands, GROUP if in_groups else 1)',
        '_groups(envelope.commands, 10 ** 6 if in_groups else 1)',
    ),
    (
        'unknown-only-where-it-left', 'pipelining',
        'if riding and left and not',
        'if riding and not',
    ),
    (
        'own-steps-of-a-subclass', 'pipelining',
        'cls.mail is SMTP.mail and cls.rcpt is SMTP.rcpt and cls.data is SMTP.data',
        'True',
    ),
    (
        'only-250-in-groups', 'pipelining',
        '    if code == 250:\n        return smtp._refused',
        '    if code < 400:\n        return smtp._refused',
    ),
    (
        'mail-checked', 'connection',
        'if verb in syntax.MAIL_VERBS:',
        'if False:',
    ),
    (
        'mail-judged', 'connection',
        '        if not verdict.allowed:\n            self._refuse(verdict)\n        if verdict.requiretls and not marked:',
        '        if verdict.requiretls and not marked:',
    ),
    (
        'unmarked-mail', 'connection',
        'if verdict.requiretls and not marked:',
        'if False:',
    ),
    (
        'auth-checked', 'connection',
        'elif verb == "AUTH":',
        'elif False:',
    ),
    (
        'auth-judged', 'connection',
        'raise errors.refusal(verdict, "login() was refused")',
        'pass',
    ),
    (
        'auth-never-excused-when-required', 'connection',
        'excused=not required and (local',
        'excused=(local',
    ),
    (
        'auth-noted', 'connection',
        'self._seen.cleartext_login = True',
        'pass',
    ),
    (
        'only-setup-in-clear', 'connection',
        'elif self._requires and verb not in syntax.SETUP_VERBS:',
        'elif False:',
    ),
    (
        'tls-of-this-socket', 'starttls',
        'if seen.tls and seen.tls[0] is sock else None',
        'if seen.tls else None',
    ),
    (
        'ehlo-of-this-socket', 'starttls',
        'and seen.ehlo and seen.ehlo[0] is sock else None',
        'and seen.ehlo else None',
    ),
    (
        'ehlo-inside-tls', 'starttls',
        'return seen[1:] if seen and seen[0] is self.sock else None',
        'return seen[1:] if seen else None',
    ),
    (
        'forget-on-close', 'connection',
        '            self._seen = Seen()\n            self._forget_ehlo()\n',
        '            self._seen = Seen()\n',
    ),
    (
        'forget-facts-on-close', 'connection',
        '            self._seen = Seen()\n            self._forget_ehlo()\n',
        '            self._forget_ehlo()\n',
    ),
    (
        'forget-at-starttls', 'starttls',
        '        self._forget_ehlo()\n        return code, reply',
        '        return code, reply',
    ),
    (
        '220-only', 'starttls',
        '        if code != 220:\n            raise Blocked',
        '        if code >= 500:\n            raise Blocked',
    ),
    (
        'no-helo', 'starttls',
        '            if code != 250:\n                raise Blocked("ehlo"',
        '            if False:\n                raise Blocked("ehlo"',
    ),
    (
        'starttls-offered', 'starttls',
        'if "STARTTLS" not in syntax.ehlo_keywords(reply):',
        'if False:',
    ),
    (
        'injected', 'starttls',
        'if self._has_unread_bytes():',
        'if False:',
    ),
    (
        'close-after-refusal', 'connection',
        '            self.close()\n            self._farewell = reply\n',
        '            self._farewell = reply\n',
    ),
    (
        'name-follows-connect', 'connection',
        '        self._host = host\n',
        '',
    ),
    (
        'verify-in-connect', 'connection',
        'if code == 220 and (self._session_requires or self._requires):',
        'if False:',
    ),
    (
        'refusal-quits', 'connection',
        '                reply = self.docmd("QUIT")\n',
        '                pass\n',
    ),
    (
        'context-at-hand', 'starttls',
        'if not verifies(context):',
        'if False:',
    ),
    (
        'mail-adds-the-mark', 'session',
        '                    others.append(syntax.MARK)\n',
        '                    pass\n',
    ),
    (
        'requirement-restored', 'connection',
        'self.connection._message_requires = self.before',
        'pass',
    ),
    (
        'sendmail-secures', 'sending',
        'receipt = smtp._secure(null_path=not mail.paths[0]) if mail.required else None',
        'receipt = smtp.judge() if mail.required else None',
    ),
    (
        'starttls-refused-closes', 'connection',
        '            self._leave()\n            self._ended',
        '            self._ended',
    ),
    (
        'starttls-once', 'connection',
        '        if isinstance(self.sock, ssl.SSLSocket):  # RFC',
        '        if False:  # RFC',
    ),
    (
        'own-handshake-of-smtp-ssl', 'smtps',
        'sock = super(StockSSL, self)._get_socket(host, port, timeout)',
        'return super()._get_socket(host, port, timeout)',
    ),
    (
        'lmtp-reads-every-reply', 'lmtp',
        'while len(replies) < len(accepted):',
        'while False:',
    ),
    (
        'control-characters', 'syntax',
        'if _UNPRINTABLE.search(text):',
        'if False:',
    ),
    (
        'whole-commands', 'syntax',
        'if not text.endswith("\\n"):',
        'if False:',
    ),
    (
        'null-path-exactly', 'syntax',
        'if address in ("", "<>"):',
        'if address.strip() in ("", "<>", "Alice <>"):',
    ),
    (
        'return-of-the-body', 'syntax',
        'if any(option.upper() == "RET=FULL" for option in options):',
        'if False:',
    ),
    (
        'options-read-once', 'syntax',
        '    options = tuple(options)\n',
        '',
    ),
    (
        'tls-still-up', 'starttls',
        'self.sock.version() is not None',
        'True',
    ),
    (
        'content-needs-its-command', 'wire',
        '(asked, code) in _CONTENT_IS_DUE',
        'code in (354, 334)',
    ),
    (
        'session-beats-message-at-login', 'connection',
        'required = self._session_requires or self._requires',
        'required = self._requires',
    ),
    (
        'session-beats-message-at-connect', 'connection',
        '(self._session_requires or self._requires)',
        'self._requires',
    ),
    (
        'proxy-is-not-local', 'connection',
        'local = self._dials_as_smtplib() and',
        'local =',
    ),
    (
        'interrupted-starttls', 'starttls',
        '            self.close()\n            raise\n\n    def _switch',
        '            raise\n\n    def _switch',
    ),
    (
        'turns', 'session',
        'with self._turn:\n            try:\n                return method',
        'if True:\n            try:\n                return method',
    ),
    (
        'strict-again-after-an-interrupt', 'session',
        'self._message_requires, self._field_is_in = None, False  #',
        'pass  #',
    ),
    (
        'quit-behind-a-message', 'session',
        'if args[0] is None and self._delivered:',
        'if False:',
    ),
    (
        'tls-version-at-login', 'policy',
        'and facts.tls.version in VERSIONS\n    return',
        '\n    return',
    ),
    (
        'silence-doubts-lmtp-answers', 'lmtp',
        'outcomes = {} if silent else dict(',
        'outcomes = dict(',
    ),
    (
        'early-replies', 'wire',
        'if silent and not pipe.is_quiet():',
        'if False:',
    ),
    (
        'nothing-between-replies', 'replies',
        'if size == end and len(replies) <= most:',
        'if len(replies) <= most:',
    ),
    (
        'no-more-than-asked-for', 'replies',
        'if size == end and len(replies) <= most:',
        'if size == end:',
    ),
    (
        'nothing-behind-421', 'replies',
        '            if b"421 " not in buffer:',
        '            if True:',
    ),
    (
        'one-code-in-a-reply', 'replies',
        'if self._lines and self._lines[0][:3] != found[1]:',
        'if False:',
    ),
    (
        'one-code-in-several-lines', 'replies',
        '+\\r\\n\\1){1,99}',
        '+\\r\\n[2-5][0-9]{2}){1,99}',
    ),
    (
        'codes-2yz-to-5yz', 'replies',
        '_LINE = re.compile(rb"([2-5][0-9]{2})',
        '_LINE = re.compile(rb"([0-9]{3})',
    ),
    (
        'line-limit', 'replies',
        'if (end or len(self.buffer)) > limit:',
        'if False:',
    ),
    (
        'several-lines-limit', 'replies',
        '\\1){1,99}+',
        '\\1)++',
    ),
    (
        'reply-limit', 'replies',
        'if len(self._lines) > MAX_LINES or self._size > MAX_REPLY:',
        'if False:',
    ),
    (
        'deadline', 'wire',
        '                sock.settimeout(left)\n',
        '                sock.settimeout(limit)\n',
    ),
    (
        'only-354', 'wire',
        '            if code != 354:',
        '            if code >= 400:',
    ),
    (
        'only-250', 'wire',
        'if code < 400 and code != 250:',
        'if False:',
    ),
    (
        'unknown-behind-the-dot', 'wire',
        'if pipe is None or pipe.command != ".":',
        'if True:',
    ),
    (
        'known-before-the-dot', 'wire',
        'if pipe is None or pipe.command != ".":',
        'if False:',
    ),
    (
        'reply-never-read', 'wire',
        'if pipe is not None and pipe.owed:',
        'if False:',
    ),
    (
        'forked-child', 'wire',
        'if pipe.pid != os.getpid():',
        'if False:',
    ),
    (
        'forked-child-says-no-goodbye', 'connection',
        'and (not pipe or pipe.pid == os.getpid())',
        '',
    ),
    (
        'interrupted-reading', 'wire',
        '        except BaseException:  # interrupted in the middle of a reply\n            self.close()\n',
        '        except BaseException:  # interrupted in the middle of a reply\n',
    ),
    (
        'malformed-closes', 'wire',
        '        except pipe.parser.Malformed as error:\n            self.close()\n',
        '        except pipe.parser.Malformed as error:\n',
    ),
    (
        'quit-has-five-seconds', 'wire',
        'return min(limit, PATIENCE_QUIT) if command == "QUIT" else limit',
        'return limit',
    ),
    (
        'lmtp-unknown', 'lmtp',
        '        if unknown:  #',
        '        if False:  #',
    ),
    (
        'tlsa-failure-bars', 'route',
        '        if answer.outcome in FAILED:\n            return replace(host, tlsa_base',
        '        if False:\n            return replace(host, tlsa_base',
    ),
    (
        'tlsa-secure-only', 'route',
        'if records and answer.status == "secure":',
        'if records:',
    ),
    (
        'tlsa-of-secure-addresses', 'route',
        '    if host.address_status == "secure":\n        bases',
        '    if True:\n        bases',
    ),
    (
        'private-addresses', 'route',
        '(kept if allow_private or is_global(address) else private)',
        '(kept if True else private)',
    ),
    (
        'special-names', 'route',
        'if domain.rpartition(".")[2] in _SPECIAL:',
        'if False:',
    ),
    (
        'host-names-only', 'route',
        '    good = [is_host_name(name) for _, name in targets]',
        '    good = [True for _, name in targets]',
    ),
    (
        'policy-expires', 'route',
        'return now < stored.fetched + stored.policy.max_age',
        'return True',
    ),
    (
        'policy-back-off', 'route',
        'if failure and failure[0] == wanted and',
        'if False and',
    ),
    (
        'null-mx-is-no-host', 'route',
        'if isinstance(each, MX) and each.host]',
        'if isinstance(each, MX)]',
    ),
    (
        'mx-secure', 'path',
        '    if mx.status == "secure":\n        text',
        '    if True:\n        text',
    ),
    (
        'policy-lists-the-host', 'path',
        '    if stored and mtasts.permits(stored.policy, name):\n        text',
        '    if stored:\n        text',
    ),
    (
        'policy-bars-the-host', 'path',
        '    if stored is None or mtasts.permits(stored.policy, name):\n        return None',
        '    if True:\n        return None',
    ),
    (
        'mode-none-vouches-not', 'path',
        'stored.policy.mode in ("enforce", "testing") else None',
        'True else None',
    ),
    (
        'dane-is-needed', 'path',
        'return Need(usable, enforced or not usable,',
        'return Need((), True,',
    ),
    (
        'dane-and-policy', 'path',
        'return Need(usable, enforced or not usable,',
        'return Need(usable, not usable,',
    ),
    (
        'literal-is-no-name', 'path',
        '    if syntax.is_address(name):\n        text',
        '    if False:\n        text',
    ),
    (
        'names-of-an-insecure-mx', 'path',
        '    if route.mx is not None and route.mx.status == "secure":\n        names',
        '    if route.mx is not None:\n        names',
    ),
    (
        'strict-rung', 'path',
        '    if wish.require_tls:\n        return ("verified",)',
        '    if False:\n        return ("verified",)',
    ),
    (
        'dane-rung', 'path',
        '    if dane.usable(path.host.tlsa) or _enforced(path.route):',
        '    if _enforced(path.route):',
    ),
    (
        'enforce-rung', 'path',
        '    if dane.usable(path.host.tlsa) or _enforced(path.route):',
        '    if dane.usable(path.host.tlsa):',
    ),
    (
        'unusable-needs-tls', 'path',
        '    if path.host.tlsa:  #',
        '    if False:  #',
    ),
    (
        'unknown-mx-is-no-host', 'path',
        '    if mx.outcome in FAILED:',
        '    if False:',
    ),
    (
        'dane-match', 'policy',
        '        if not found.ok:\n',
        '        if False:\n',
    ),
    (
        'pkix-on-path', 'policy',
        '    if wanted.pkix:\n',
        '    if False:\n',
    ),
    (
        'rung-is-kept', 'policy',
        'return tls_level(facts) != "authenticated" if rung == "verified" else facts.tls is None',
        'return False',
    ),
    (
        'named-is-bound', 'policy',
        'return facts.tls is not None and _is_bound(facts.path) and not _certificate(facts).ok',
        'return False',
    ),
    (
        'one-domain-only', 'connection',
        '        if other != domain:\n',
        '        if False:\n',
    ),
    (
        'not-aimed-elsewhere', 'connection',
        '        if self._path is not None and not self._path.named:\n            raise',
        '        if False:\n            raise',
    ),
    (
        'ordinary-mail-on-path', 'connection',
        '            if self._path is not None:  # what',
        '            if False:  # what',
    ),
    (
        'no-password-to-mail-hosts', 'connection',
        ' or self._requires or led',
        ' or self._requires',
    ),
    (
        'closed-before-unbound', 'connection',
        '        self.close()  # first: what',
        '        # first: what',
    ),
    (
        'field-by-hand', 'connection',
        '            if self._session_optional and not self._field_is_in:',
        '            if False:',
    ),
    (
        'dane-resumed', 'dane',
        '    if tls.session_reused:\n',
        '    if False:\n',
    ),
    (
        'dane-names', 'dane',
        'if any(name_matches(pattern, name) for pattern in tls.names):',
        'if True:',
    ),
    (
        'dane-ca-only', 'dane',
        'if any(_names(record, each) for each in tls.verified[1:]):',
        'if any(_names(record, each) for each in tls.verified):',
    ),
    (
        'dane-verified-chain', 'dane',
        '    if not (tls.verify_required and tls.verified):\n        return None',
        '    if not tls.verified:\n        return None',
    ),
    (
        'one-fetch', 'lookups',
        '            flight = self._flights.get(question.domain)\n',
        '            flight = None\n',
    ),
    (
        'newer-policy', 'lookups',
        '    def has_newer_policy(self, made: RouteFacts) -> bool:',
        '    def has_newer_policy(self, made: RouteFacts) -> bool:\n        return False\n\n    def _never(self, made: RouteFacts) -> bool:',
    ),
    (
        'trust-must-verify', 'tls',
        '        if not verifies(trust):',
        '        if False:',
    ),
    (
        'unknown-is-final', 'transaction',
        '            refused, rest = error.refused, Said(None, None, syntax.printable(str(error)), False)',
        '            refused, rest = error.refused, Said(None, None, syntax.printable(str(error)), True)',
    ),
    (
        'final-is-final', 'transaction',
        '                if not said.elsewhere:',
        '                if said.code == 250:',
    ),
    (
        'bounded-sessions', 'transaction',
        'if not self._waiting or sessions == MAX_SESSIONS:',
        'if not self._waiting:',
    ),
    (
        'bounded-time', 'mxwalk',
        'late = time.monotonic() > deadline',
        'late = False',
    ),
    (
        'second-handshake', 'mxwalk',
        '        if trusted:  # RFC 7672',
        '        if False:  # RFC 7672',
    ),
    (
        'every-record-an-anchor', 'mxwalk',
        '    if known and len(known) == len(wanted.dane):',
        '    if known:',
    ),
    (
        'sender-has-an-address', 'objects',
        '    if not found:  # "" would make',
        '    if False:  # "" would make',
    ),
    (
        'nobody-is-left-out', 'header',
        '        if field is not None and not found and not _NOBODY.fullmatch(str(field)):',
        '        if False:',
    ),
    (
        'file-held-against-its-sums', 'streaming',
        'if number > len(self._sums) or hash(block) != self._sums[number - 1]:',
        'if number > len(self._sums):',
    ),
    (
        'file-did-not-grow', 'streaming',
        'if number > len(self._sums) or hash(block) != self._sums[number - 1]:',
        'if number <= len(self._sums) and hash(block) != self._sums[number - 1]:',
    ),
    (
        'file-did-not-shrink', 'streaming',
        '        if number != len(self._sums):',
        '        if False:',
    ),
    (
        'grown-file-is-seen-before-the-end', 'streaming',
        '            if waiting:\n                yield waiting\n            waiting = block\n',
        '            yield block\n',
    ),
    (
        'file-not-cut-between-cr-and-lf', 'streaming',
        'if self._mended else uncut(self._verified())',
        'if self._mended else self._verified()',
    ),
    (
        'file-at-its-end', 'streaming',
        'if not first:  #',
        'if False:  #',
    ),
    (
        'file-can-be-sent-again', 'streaming',
        '                file.seek(start)\n        raise',
        '                pass\n        raise',
    ),
    (
        'header-of-a-file-ends', 'streaming',
        'if len(self.begin) >= HEAD and not',
        'if False and not',
    ),
    (
        'unread-file-closes', 'wire',
        '                sock.settimeout(None)\n        except BaseException:\n            self.close()\n',
        '                sock.settimeout(None)\n        except BaseException:\n',
    ),
    (
        'silence-while-octets-leave', 'wire',
        'silent = not pipe.owed or (pipe.content and pipe.owed == ["BDAT"])',
        'silent = not pipe.owed',
    ),
    (
        'dot-within-a-line', 'wire',
        'elif pipe.tail == END:',
        'elif pipe.tail.endswith(END[2:]):',
    ),
    (
        'commands-behind-content', 'connection',
        'if not pipe.stuffed and pipe.command != "BDAT":',
        'if False:',
    ),
    (
        'interrupted-message', 'session',
        '# of this message alone\n                self.close()\n',
        '# of this message alone\n',
    ),
    (
        'unanswered-own-data', 'session',
        'pipe is None or pipe.owed != ["."]:',
        'True:',
    ),
    (
        'refused-rset-closes', 'pipelining',
        '    smtp.close()  # it may wait',
        '    # it may wait',
    ),
    (
        'dots-at-the-begin-of-a-block', 'lines',
        'if begins and last.startswith(b".") else block',
        'if False else block',
    ),
    (
        'long-line-across-blocks', 'lines',
        'if self._open + (begin - 2 if begin else len(block)) > MAX_LINE:',
        'if (begin - 2 if begin else len(block)) > MAX_LINE:',
    ),
    (
        'cr-waits-for-lf', 'lines',
        'held = b"\\r" if block.endswith(b"\\r") else b""',
        'held = b""',
    ),
    (
        'binary-where-offered', 'content',
        'if binary and not (offers("binarymime") and offers("chunking")):',
        'if False:',
    ),
    (
        'binary-needs-chunking-too', 'content',
        'if binary and not (offers("binarymime") and offers("chunking")):',
        'if binary and not offers("binarymime"):',
    ),
    (
        'binary-header-has-lines', 'content',
        '    if not has_only_crlf(head):',
        '    if False:',
    ),
    (
        'cr-ends-a-line-of-an-object', 'objects',
        'lines = _ANY_EOL.sub("\\n", lines)',
        'pass',
    ),
    (
        'signed-however-it-is-written', 'objects',
        'next((str(value) for key, value in part.raw_items() if key.lower() == name), "").lower()',
        'next((str(value) for key, value in part.raw_items() if key.lower() == name), "")',
    ),
    (
        'binary-parts-are-not-mended', 'objects',
        'if _is_binary_part(msg) and isinstance(msg.get_payload(), str):',
        'if False:',
    ),
    (
        'binary-goes-by-bdat', 'pipelining',
        'alone = not riding and (chunking or mail.binary)',
        'alone = not riding and chunking',
    ),
    (
        'file-does-not-ride', 'pipelining',
        'riding = chunking and len(groups) == 1 and isinstance(mail.content, bytes)',
        'riding = chunking and len(groups) == 1',
    ),
    (
        'binary-goes-alone', 'batch',
        'return None if mail.binary else Entry',
        'return Entry',
    ),
    (
        'own-steps-get-no-binary', 'sending',
        'if keyword == "binarymime" and not pipelining.applies(smtp):',
        'if False:',
    ),
    (
        'nothing-behind-data', 'connection',
        'if not _CONTENT_FOLLOWS.isdisjoint(verbs[:-1]):',
        'if False:',
    ),
    (
        'shift-doubts-the-first', 'flight',
        'elif code == 250 and self._broken is None:',
        'elif code == 250:',
    ),
    (
        'flight-proven-by-its-last', 'flight',
        'if in_step and self._broken is None:',
        'if True:',
    ),
    (
        'rset-answered-250', 'flight',
        'if code != 250:',
        'if False:',
    ),
    (
        'lost-content-is-unknown', 'flight',
        'elif not self._left and self._lost is not None:',
        'elif self._lost is not None:',
    ),
    (
        'lost-chunk-is-unknown', 'flight',
        '            if self._left:\n',
        '            if False:\n',
    ),
    (
        'stalled-server-doubts', 'flight',
        'or (silent and self._replies):',
        'or False:',
    ),
    (
        'shift-in-a-part', 'flight',
        'if code < 400 and code not in (250, 251):',
        'if False:',
    ),
    (
        'strict-one-by-one', 'batch',
        'if self._in_flight == 1 or not entry.envelope.early:',
        'if self._in_flight == 1:',
    ),
    (
        'verdict-before-the-flight', 'batch',
        'if not verdict.allowed or',
        'if',
    ),
    (
        'one-requirement-a-connection', 'pool',
        'if each[0] == requirement',
        'if True',
    ),
    (
        'unknown-not-sent-again', 'pool',
        'self._stopped or outcome.state != "deferred" or not ended',
        'self._stopped or outcome.state == "delivered"',
    ),
    (
        'unknown-not-retried', 'pool',
        '            except (errors.DeliveryUnknown, errors.ReplyError):\n                raise\n',
        '',
    ),
    (
        'connection-of-the-parent', 'wire',
        'if pipe is None or pipe.pid != os.getpid() or pipe.owed',
        'if pipe is None or pipe.owed',
    ),
    (
        'terminal-escapes', 'cli/words',
        'return printable(spoken(text), LIMIT)',
        'return spoken(text)',
    ),
    (
        'page-escapes-texts', 'cli/page',
        """f'<span class="text">{escape(row.text)}</span>{below}</li>""",
        """f'<span class="text">{row.text}</span>{below}</li>""",
    ),
    (
        'page-escapes-data', 'cli/page',
        '.replace("<", "\\\\u003c")',
        '',
    ),
    (
        'picture-escapes', 'cli/picture',
        '{escape(title)}',
        '{title}',
    ),
    (
        'picture-escapes-tooltips', 'cli/picture',
        '{escape(f"{box.title}: {box.text}")}',
        '{box.title}: {box.text}',
    ),
    (
        'recording-has-every-field', 'recording',
        '    if wrong:',
        '    if False:',
    ),
    (
        'recording-holds-together', 'recording',
        '        _hold_together(each, f"checks[{number}]")',
        '        pass',
    ),
    (
        'unseen-is-not-reached', 'descent',
        'shown = seen.get((path.host.name, address, held.rung), _UNSEEN)',
        'shown = next(iter(seen.values()), _UNSEEN)',
    ),
    (
        'no-tls-after-failed-tls', 'descent',
        'if obstacle is not None and obstacle.kind != "certificate":',
        'if False:',
    ),
    (
        'clear-only-without-starttls', 'descent',
        'if obstacle is not None and obstacle.kind == "not_offered" and "clear" in left:',
        'if obstacle is not None and "clear" in left:',
    ),
    (
        'drop-needs-a-name', 'cli/cache',
        'if bool(options.domains) == options.all:',
        'if False:',
    ),
]  # fmt: skip

SUITES = [
    "test_policy", "test_header", "test_syntax", "test_session", "test_refusals", "test_handshake",
    "test_choke_point", "test_reuse", "test_tls_required", "test_login", "test_lmtp",
    "test_bad_input", "test_tls", "test_replies", "test_wire",
    "test_pipelining", "test_streaming", "test_binarymime", "test_batch", "test_pool",
    "test_objects", "test_interrupts",
]  # fmt: skip
# Of what is about domains; the suites above run for these too, behind them.
DOMAINS = [
    "test_route", "test_path", "test_dane", "test_delivery", "test_optional", "test_to_domain",
    "test_named", "test_checking", "test_outcomes", "test_outgoing", "test_lookups",
    "test_recording",
]  # fmt: skip
OF_DOMAINS = {
    "route", "path", "dane", "lookups", "transaction", "mxwalk", "content", "objects", "header",
}  # fmt: skip
OF_DOMAINS = {"route", "path", "dane", "lookups", "transaction", "mxwalk", "content", "header",
              "descent"}  # fmt: skip
# Of the command line, and of what it keeps in files; only these run for it.
COMMANDS = ["test_cli_view", "test_cli_check", "test_cli_cache", "test_recording"]


def main(names: list[str]) -> int:
    """Try the mutations of these names, or all; return the exit status."""
    every = [*MUTATIONS, *mutate_spool.MUTATIONS, *mutate_send.MUTATIONS]
    chosen = [row for row in every if not names or row[0] in names]
    rows = [("nothing", "policy", "", ""), *chosen]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda row: try_out(*row), rows))
    sound, *missed = results
    if sound:
        print(f"without any mutation there are failures: {sound}")
        return 1
    return 0 if all(missed) else 1


def try_out(name: str, module: str, old: str, new: str) -> str:
    """Break a copy of the package and run the suites; return what failed, or ""."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        ignore = shutil.ignore_patterns("__pycache__", "real")
        for part in ("requiretls_client", "tests", "docs"):
            shutil.copytree(ROOT / part, copy / part, ignore=ignore)
        shutil.copy(ROOT / "setup.cfg", copy)
        path = copy / "requiretls_client" / f"{module}.py"
        source = path.read_text()
        if old and source.count(old) != 1:
            print(f"{name:34} stands in {source.count(old)} places of {module}.py")
            return ""
        path.write_text(source.replace(old, new) if old else source)
        suites = [*DOMAINS, *SUITES] if module in OF_DOMAINS else [*SUITES, *DOMAINS]
        if module.startswith("cli/") or module == "recording":
            suites = COMMANDS
        for own in (mutate_spool, mutate_send):
            suites = own.SUITES if module in own.MODULES else suites
        failed = failures(copy, suites)
    print(f"{name:34} {failed or 'NOT MISSED'}", flush=True)
    return failed


def failures(copy: Path, suites: list[str]) -> str:
    """Run the suites in a copy; return the first tests that failed, "" if none did."""
    command = [sys.executable, "-m", "pytest", "--maxfail=2", "-q", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, *(f"tests/{name}.py" for name in suites)],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "(hung)"
    return ", ".join(re.findall(r"^(?:FAILED|ERROR) tests/\S+?::(\S+)", done.stdout, re.M))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
