"""The guards of sending, for tests/mutate.py: name, module, text as it stands, text without."""

from __future__ import annotations

MUTATIONS = [
    (
        'account-verified-tls', 'cli/transport',
        '        if not smtp._in_tls() and (',
        '        if False and (',
    ),
    (
        'account-judged-before-login', 'cli/transport',
        '        if verdict.allowed and account.user:',
        '        if account.user:',
    ),
    (
        'account-judged', 'cli/transport',
        '        if verdict.allowed:\n            yield smtp',
        '        if True:\n            yield smtp',
    ),
    (
        'account-ehlo-inside-tls', 'cli/transport',
        '            smtp.ehlo_or_helo_if_needed()  # what was said before TLS does not count',
        '            pass',
    ),
    (
        'gone-account-is-not-straight', 'cli/transport',
        '        if job.account:\n',
        '        if job.account in config.accounts:\n',
    ),
    (
        'signed-as-it-is', 'cli/transport',
        'return message if same and not objects.is_signed(message) else job.message',
        'return message',
    ),
    (
        'dsn-only-where-offered', 'cli/transport',
        'if smtp.has_extn("dsn") else ((), ())',
        'if True else ((), ())',
    ),
    (
        'options-before-recipients', 'cli/send_options',
        '            if each.startswith("-"):\n                shown',
        '            if False:\n                shown',
    ),
    (
        'no-requiretls-by-mistake', 'cli/send_options',
        '    if value.strip().lower() not in ("yes", "no"):',
        '    if False:',
    ),
    (
        'no-full-report', 'cli/send_options',
        '    if options.require_tls and options.ret == "FULL":',
        '    if False:',
    ),
    (
        'no-full-report-by-configuration', 'cli/submission',
        '    if required and options.ret == "FULL":',
        '    if False:',
    ),
    (
        'configuration-requires', 'cli/submission',
        '    required = options.require_tls or (',
        '    required = options.require_tls or False and (',
    ),
    (
        'bcc-hidden', 'cli/compose',
        '_HIDDEN = ("bcc", "resent-bcc", "return-path")',
        '_HIDDEN = ("resent-bcc", "return-path")',
    ),
    (
        'dkim-untouched', 'cli/compose',
        '    signed = any(each.key == _SIGNATURE for each in given)',
        '    signed = False',
    ),
    (
        'nul-encoded', 'cli/compose',
        '    if b"\\0" in body or (',
        '    if (',
    ),
    (
        'nobody-is-dropped-from-to', 'cli/fields',
        '    if not found and not _NOBODY.fullmatch(given.text):',
        '    if False:',
    ),
    (
        'unknown-keys', 'cli/values',
        '            if key not in self._asked:',
        '            if False:',
    ),
    (
        'private-password', 'cli/config',
        '    if not private and any(_has',
        '    if False and any(_has',
    ),
    (
        'password-command-status', 'cli/password',
        '    if done.returncode != 0:',
        '    if False:',
    ),
    (
        'foreign-server-needs-proof', 'cli/discovery',
        'answer.status == "secure" or ',
        'True or ',
    ),
    (
        'not-only-the-end-of-a-name', 'cli/discovery',
        'f".{each.target}".endswith(f".{domain}")',
        'each.target.endswith(domain)',
    ),
    (
        'spool-before-attempt', 'cli/send',
        '        if not options.keep:',
        '        if True:',
    ),
    (
        'nothing-unreadable-is-lost', 'cli/send',
        '        if raw.strip() and options.keep and not options.pretend:',
        '        if False:',
    ),
    (
        'never-overwritten', 'cli/config_text',
        '            os.link(new, path)',
        '            os.replace(new, path)',
    ),
]  # fmt: skip

MODULES = {row[1] for row in MUTATIONS}
SUITES = [
    "test_cli_transport", "test_cli_send_options", "test_cli_compose", "test_cli_config",
    "test_cli_init", "test_cli_send",
]  # fmt: skip
