"""What pairs may be asked: given these facts, when this is asked, then these facts follow."""

from uuid import UUID

import pytest

from upwell_feedback.domain.question_set import (
    BY_DEFAULT,
    DEFAULT,
    DEFAULT_ID,
    MOST_QUESTIONS,
    OpenQuestionSet,
    Question,
    QuestionSet,
    QuestionSetAlreadyOpened,
    QuestionSetOpened,
    QuestionSetRevised,
    QuestionTwice,
    ReviseQuestionSet,
    StageWithoutQuestion,
    TooManyQuestions,
    UnknownQuestionSet,
    asking_with,
    question_set,
    set_of,
)
from upwell_feedback.domain.stages import Stage
from upwell_shared.testing import Given

given = Given(question_set)

PROGRAMME = UUID(int=7)
ALWAYS = tuple(Stage)
HOW = Question(question_id="how", text="How is it?", stages=ALWAYS)
WHY = Question(question_id="why", text="Why?", stages=(Stage.END,))
OPEN = OpenQuestionSet(programme_id=PROGRAMME, name="Ours", questions=(HOW,))
OPENED = QuestionSetOpened(programme_id=PROGRAMME, name="Ours", questions=(HOW,))
EXAMPLES = (OPENED, QuestionSetRevised(questions=(HOW, WHY)))


def test_a_programme_opens_a_set_of_its_own() -> None:
    given().when(OPEN).then(OPENED)


def test_a_programme_has_one_set() -> None:
    given(OPENED).when(OPEN).then_refused(QuestionSetAlreadyOpened)


def test_a_revision_is_a_new_version_and_the_old_one_is_kept() -> None:
    given(OPENED).when(ReviseQuestionSet(questions=(HOW, WHY))).then(QuestionSetRevised(questions=(HOW, WHY)))
    state = question_set.fold(EXAMPLES)
    assert isinstance(state, QuestionSet)
    assert (state.version, state.versions) == (2, ((HOW,), (HOW, WHY)))


def test_a_revision_that_changes_nothing_is_none() -> None:
    given(OPENED).when(ReviseQuestionSet(questions=(HOW,))).then()


def test_what_was_never_opened_is_not_revised() -> None:
    given().when(ReviseQuestionSet(questions=(HOW,))).then_refused(UnknownQuestionSet)


def test_a_question_is_in_a_set_once() -> None:
    again = Question(question_id="how", text="How was it?", stages=(Stage.END,))
    given(OPENED).when(ReviseQuestionSet(questions=(HOW, again))).then_refused(QuestionTwice)


def test_a_set_has_so_many_questions_and_no_more() -> None:
    many = tuple(
        Question(question_id=f"q{n}", text="What?", stages=ALWAYS) for n in range(MOST_QUESTIONS + 1)
    )
    given(OPENED).when(ReviseQuestionSet(questions=many)).then_refused(TooManyQuestions)
    given(OPENED).when(ReviseQuestionSet(questions=many[1:])).then(QuestionSetRevised(questions=many[1:]))


@pytest.mark.parametrize("stage", [Stage.START, Stage.AFTER_SESSION, Stage.END])
def test_whenever_pairs_are_asked_there_is_a_question(stage: Stage) -> None:
    others = tuple(each for each in Stage if each is not stage)
    lacking = (Question(question_id="how", text="How is it?", stages=others),)
    given(OPENED).when(ReviseQuestionSet(questions=lacking)).then_refused(StageWithoutQuestion)


def test_the_middle_needs_no_question() -> None:
    rest = (
        Question(question_id="how", text="How is it?", stages=(Stage.START, Stage.AFTER_SESSION, Stage.END)),
    )
    given(OPENED).when(ReviseQuestionSet(questions=rest)).then(QuestionSetRevised(questions=rest))


def test_the_set_that_ships_keeps_every_rule_and_has_the_five_questions() -> None:
    given().when(
        OpenQuestionSet(programme_id=PROGRAMME, name=DEFAULT.name, questions=DEFAULT.questions)
    ).then(QuestionSetOpened(programme_id=PROGRAMME, name=DEFAULT.name, questions=DEFAULT.questions))
    assert [question.text for question in DEFAULT.questions] == [
        "What do you think about reverse mentoring?",
        "How has your view of technology changed?",
        "How do you plan on using what you do together in the future?",
        "What have you learned?",
        "How have you applied what you worked on?",
    ]
    assert (BY_DEFAULT.question_set_id, BY_DEFAULT.version) == (DEFAULT_ID, 1)


def test_a_pulse_is_short_and_the_end_asks_everything() -> None:
    assert BY_DEFAULT.at(Stage.AFTER_SESSION) == ("plans", "learned")
    assert len(BY_DEFAULT.at(Stage.END)) == 5


def test_one_asks_with_the_newest_version() -> None:
    state = question_set.fold(EXAMPLES)
    assert isinstance(state, QuestionSet)
    asking = asking_with(set_of(PROGRAMME), state)
    assert (asking.version, asking.at(Stage.END), asking.at(Stage.START)) == (2, ("how", "why"), ("how",))
