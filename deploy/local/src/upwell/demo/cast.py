"""Who takes part: the two schools the idea comes from, or a made-up organisation of any size. Everybody is invented."""

import csv
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

_COLUMNS = (
    *("external_id", "given_name", "family_name", "user_name", "mail", "organisation"),
    *("unit", "grade", "manager_external_id", "in_role_since"),
)


@dataclass(frozen=True, slots=True)
class Member:
    """A row of the import file, and the role they will enrol in; None takes no part."""

    external_id: str
    given_name: str
    family_name: str
    organisation: str
    unit: str
    grade: int
    manager: str | None
    in_role_since: date
    role: str | None
    offers: Sequence[int] = ()
    seeks: Sequence[int] = ()

    @property
    def user_name(self) -> str:
        return f"{self.given_name}.{self.family_name}.{self.external_id}".lower()

    @property
    def mail(self) -> str:
        return f"{self.user_name}@example.org"


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody, and the programme they are brought together for. Topics are counted from 0."""

    organisations: Sequence[str]
    members: Sequence[Member]
    programme: str
    cohort: str
    topics: Sequence[str]
    gap: int
    """In grades: how far below the mentee a mentor stands at least."""
    sessions: int
    days_between: int
    minutes: int
    rounds: int
    """How many sessions are tried for."""
    words: Sequence[str] = field(default=())
    """What people write, to be picked from."""

    def again(self, number: int) -> "Cast":
        """The same people under names of their own, where an installation has seen them before."""
        if number == 1:
            return self
        mark = f"-{number}"
        members = [
            replace(
                who,
                external_id=who.external_id + mark,
                manager=None if who.manager is None else who.manager + mark,
            )
            for who in self.members
        ]
        return replace(self, members=members)

    def file(self, organisation: str) -> bytes:
        """The import file of one organisation."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(_COLUMNS)
        for who in self.members:
            if who.organisation == organisation:
                writer.writerow(
                    (
                        *(who.external_id, who.given_name, who.family_name, who.user_name, who.mail),
                        *(who.organisation, who.unit, who.grade, who.manager or "", who.in_role_since),
                    )
                )
        return text.getvalue().encode()


_TEACHERS = (
    *(
        ("Beatrix", "Quillfeather"),
        ("Hollis", "Marchbanks"),
        ("Ottoline", "Ravensworth"),
        ("Percival", "Thackwell"),
    ),
    *(
        ("Winifred", "Oxborough"),
        ("Lysander", "Copplestone"),
        ("Rosamund", "Tidewater"),
        ("Ambrose", "Fennimore"),
    ),
    *(
        ("Philippa", "Snowdrop-Hale"),
        ("Cornelius", "Whitlock"),
        ("Henrietta", "Brambleby"),
        ("Alaric", "Dunwoody"),
    ),
)
_STUDENTS = (
    *(("Juniper", "Okonjo"), ("Mateus", "Villalobos"), ("Saoirse", "Kettleburn"), ("Idris", "Farahani")),
    *(("Zadie", "Pemberwick"), ("Taavi", "Lindqvist"), ("Noor", "Al-Rashidi"), ("Caspian", "Rookwood")),
    *(("Amara", "Nwachukwu"), ("Leopold", "Starling"), ("Xiomara", "Castellanos"), ("Finlay", "Greystoke")),
    *(("Priya", "Venkataraman"), ("Bastian", "Holzwarth"), ("Elowen", "Trevanion"), ("Kenji", "Morikawa")),
)

TECHNOLOGY = (
    "class web pages",
    "video lessons",
    "shared documents",
    "blogs",
    "apps for centres",
    "social media",
)
PRACTICE = ("explaining clearly", "planning a lesson", "speaking to a group", "giving feedback")

WORDS = (
    "I had expected a course; what I got was my personal instructor.",
    "The one-on-one attention made the difference. I would have been lost in a presentation.",
    "I thought I was good with technology. Now I know how much there is that I never tried.",
    "We built the class web page together and the parents have started to read it.",
    "My pupils use the word look-up in guided reading now, and they showed the class next door.",
    "I learned how she explains things. I use that when I help my little brother.",
    "It is a collaboration: we share ideas, and neither of us is the expert in all of them.",
    "I look forward to our weekly meeting. It is the one hour in which nobody interrupts.",
    "I was afraid to make a mistake in front of a student. That has gone.",
    "Next term I want to run the centres with tablets alone, and he has promised to watch the first one.",
    "She is patient and never takes the mouse out of my hand.",
    "We planned the podcast on paper first. That was her idea and it saved us two evenings.",
)


def schools() -> Cast:
    """Teachers of an elementary school, mentored every week by students of a high school; more students want to
    than there are teachers.
    """
    elementary, high = "Larkspur Elementary School", "Cinderbrook High School"
    members = [
        Member("E001", "Thomasina", "Underhay", elementary, "", 14, None, date(2011, 8, 1), None),
        Member("H001", "Barnaby", "Silverthorne", high, "", 14, None, date(2012, 8, 1), None),
    ]
    for n, (given, family) in enumerate(_TEACHERS):
        unit = ("Lower grades", "Upper grades")[n % 2]
        offers, seeks = [6 + n % 4, 6 + (n + 1) % 4], [n % 6, (n + 2) % 6]
        members.append(
            Member(
                *(f"E{n + 101}", given, family, elementary, unit, 9 + n % 3, "E001"),
                date(2008 + n, 8, 15),
                "mentee",
                offers,
                seeks,
            )
        )
    for n, (given, family) in enumerate(_STUDENTS):
        unit = f"Year {9 + n % 4}"
        offers, seeks = [n % 6, (n + 1) % 6, (n + 3) % 6], [6 + (n + 1) % 4]
        members.append(
            Member(
                *(f"H{n + 101}", given, family, high, unit, 1 + n % 4, "H001"),
                date(2021 + n % 4, 9, 1),
                "mentor",
                offers,
                seeks,
            )
        )
    return Cast(
        organisations=(elementary, high),
        members=members,
        programme="Students teach teachers",
        cohort="Autumn",
        topics=(*TECHNOLOGY, *PRACTICE),
        gap=4,
        sessions=20,
        days_between=7,
        minutes=45,
        rounds=14,
        words=WORDS,
    )


_GIVEN = (
    "Avel",
    "Brisa",
    "Corvin",
    "Delphi",
    "Evander",
    "Fenna",
    "Goran",
    "Hadia",
    "Isolde",
    "Joaquin",
    "Kiyara",
)
_FIRST = (
    "Ash",
    "Birken",
    "Cold",
    "Dray",
    "Elder",
    "Fal",
    "Grim",
    "Hart",
    "Ivers",
    "Kest",
    "Lang",
    "Marl",
    "Nether",
)
_SECOND = (
    "brook",
    "combe",
    "dale",
    "field",
    "gate",
    "holme",
    "mere",
    "ridge",
    "stead",
    "thorpe",
    "well",
    "wick",
)
_DEPARTMENTS = ("Finance", "Operations", "Research", "Sales", "Service", "Technology", "People", "Logistics")


def made_up(people: int, seed: int) -> Cast:
    """An organisation of so many people: departments of teams, a line of managers five levels deep, six in ten of
    them senior people who would be mentored. The same numbers give the same people.
    """
    dice = random.Random(seed)  # noqa: S311 a made-up organisation
    name = f"Wayfarer Group {seed}"
    members = list(_made_up(people, dice, name))
    return Cast(
        organisations=(name,),
        members=members,
        programme="Learning upwards",
        cohort="First intake",
        topics=(*TECHNOLOGY, *PRACTICE),
        gap=2,
        sessions=6,
        days_between=30,
        minutes=60,
        rounds=6,
        words=WORDS,
    )


def _made_up(people: int, dice: random.Random, organisation: str) -> Iterator[Member]:
    today = date(2026, 1, 1)
    for n in range(people):
        # Everybody reports to somebody earlier in the list, seven to a manager: a tree, and managers stand higher.
        manager = None if n == 0 else f"P{(n - 1) // 7:06d}"
        depth = 0
        above = n
        while above:
            above, depth = (above - 1) // 7, depth + 1
        department = _DEPARTMENTS[n % len(_DEPARTMENTS)]
        senior = n > 0 and dice.random() < 0.6
        grade = max(1, min(20, 18 - 2 * depth - (0 if senior else 4) + dice.randint(-1, 1)))
        skills, others = dice.sample(range(6), 2), [6 + place for place in dice.sample(range(4), 2)]
        yield Member(
            external_id=f"P{n:06d}",
            given_name=dice.choice(_GIVEN),
            family_name=dice.choice(_FIRST) + dice.choice(_SECOND) + dice.choice(("", "e", "son", "er")),
            organisation=organisation,
            unit="" if n == 0 else f"{department} / Team {1 + n // 8 % 12}",
            grade=grade,
            manager=manager,
            in_role_since=today - timedelta(days=dice.randint(100, 5_000)),
            role=None if n == 0 else "mentee" if senior else "mentor",
            offers=others if senior else skills,
            seeks=skills if senior else others,
        )
