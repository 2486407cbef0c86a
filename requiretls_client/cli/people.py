"""Who is meant by a name: aliases, the default recipient, this machine's domain.

Pure. Local delivery does not exist here, so every name has to lead to an address with a domain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from requiretls_client import syntax


class UnknownPerson(ValueError):
    """A local name that leads to no address."""


@dataclass(frozen=True, slots=True)
class People:
    """What is known of local names.

    Attributes:
        aliases: local name in lower case -> addresses, or other local names; without a loop.
        default_recipient: gets what is for a local name without an alias; or None.
        domain: for a local name without either, when somebody named it; or None.
        here: names of this machine, lower case: ``root`` at one of them is ``root``.
    """

    aliases: Mapping[str, Collection[str]]
    default_recipient: str | None
    domain: str | None
    here: Collection[str] = ("localhost",)

    def resolve(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the mailboxes that recipients stand for, each once, in their order.

        Raises:
            ValueError: not an address.
            UnknownPerson: a local name that leads to nobody.
        """
        found = [each for name in names for each in self._one(name)]
        return tuple(dict.fromkeys(found))

    def _one(self, name: str) -> list[str]:
        mailbox = syntax.mailbox(name, f"the recipient {syntax.printable(name)}")
        if not mailbox:
            raise ValueError("a recipient is empty")
        local, at, domain = mailbox.rpartition("@")
        if at and domain.lower() not in self.here:
            syntax.domain_of(mailbox, f"the recipient {syntax.printable(name)}")
            return [mailbox]
        known = self._alias(local if at else domain)
        if known:
            return known
        if at and domain.lower() != "localhost":
            return [
                mailbox
            ]  # an address that somebody wrote out; this machine may have a mail host
        if self.default_recipient:
            return [self.default_recipient]
        if self.domain:
            return [f"{local if at else domain}@{self.domain}"]
        raise UnknownPerson(
            f"nobody knows who {syntax.printable(mailbox)} is: name an address in [aliases] or as "
            "default_recipient of the configuration, or write it with its domain"
        )

    def _alias(self, local: str) -> list[str]:
        found = []
        for target in self.aliases.get(local.lower(), ()):
            found += [target] if "@" in target else self._alias(target)
        return found
