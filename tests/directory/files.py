"""A made-up organisation of about a hundred, as an HR system would export it."""

import csv
import io
import random
from collections.abc import Iterable, Mapping

COLUMNS = (
    "external_id",
    "given_name",
    "family_name",
    "user_name",
    "mail",
    "organisation",
    "unit",
    "grade",
    "manager_external_id",
    "in_role_since",
)
_GIVEN = ("Ada", "Zoë", "Søren", "Łucja", "Iñaki", "Mei", "Noor", "Wanjirũ", "Tomás", "Éva")
_FAMILY = ("Okafor", "Nguyễn", "O’Brien", "Weiß", "de la Cruz", "Þórsdóttir", "Kaya", "Li", "Ferrão", "Novák")
_UNITS = (
    "",
    "Sales",
    "Sales / North",
    "Sales / South",
    "IT",
    "IT / Platform",
    "IT / Platform / Storage",
    "Finance",
)

Line = dict[str, str]


def made_up_people(count: int = 107, seed: int = 1) -> list[Line]:
    """Everybody but the first reports to somebody; in an order in which managers come later as well as earlier."""
    chance = random.Random(seed)
    lines: list[Line] = []
    for number in range(count):
        given, family = chance.choice(_GIVEN), chance.choice(_FAMILY)
        above = None if number == 0 else chance.randrange(max(1, number // 4 + 1)) if number > 1 else 0
        lines.append(
            {
                "external_id": str(100 + number),
                "given_name": given,
                "family_name": family,
                "user_name": f"user.{number}",
                "mail": "" if number % 5 == 0 else f"user.{number}@example.org",
                "organisation": "Acme",
                "unit": "" if number == 0 else chance.choice(_UNITS),
                "grade": str(max(1, 20 - number // 6)),
                "manager_external_id": "" if above is None else str(100 + above),
                "in_role_since": f"20{chance.randrange(10, 26)}-0{chance.randrange(1, 10)}-15",
            }
        )
    chance.shuffle(lines)
    return lines


def as_csv(lines: Iterable[Mapping[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()
