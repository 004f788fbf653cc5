"""The pages for teachers and readers: complete, their links and commands good, their messages those of the code."""

import re
import shlex
from dataclasses import fields

import nbformat
import pytest

from ltlib import paths
from ltlib.__main__ import COMMANDS
from ltlib.arguments import parser
from ltlib.experiments.experiment import Experiment
from ltlib.experiments.recipe import Recipe, resolve
from ltlib.launch.sweep_file import read_sweep
from ltlib.lesson import grade
from ltlib.lesson.slides import lessons
from ltlib.methods import METHODS
from ltlib.methods.method import hyperparameters

GUIDE = paths.project() / "notebooks" / "guide"
PAGES = {file.stem: file.read_text() for file in sorted(GUIDE.glob("*.md"))}
TEACHING = PAGES["teaching"]
LESSONS = {file.stem: nbformat.read(file, as_version=4).cells for file in lessons()}
ENTRIES = dict(re.findall(r"^## (.+)\n\n((?:(?!^## ).*\n)+)", PAGES["glossary"], flags=re.MULTILINE))

every_page = pytest.mark.parametrize("page", PAGES)
every_lesson = pytest.mark.parametrize("lesson", LESSONS)


def headings(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)


def anchor(heading):
    """As GitHub makes it: lower case, no punctuation, a hyphen for each space."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(text):
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def week_of(lesson):
    """The week of the syllabus that gives a lesson."""
    weeks = re.split(r"^### (?=Week)", TEACHING.partition("## What to grade")[0], flags=re.MULTILINE)[1:]
    (week,) = [week for week in weeks if f"**Lesson:** [{lesson}](../{lesson}.ipynb)" in week]
    return week


@every_page
def test_links_lead_somewhere(page):
    for target in links(PAGES[page]):
        if not target.startswith("https://"):
            file, _, place = target.partition("#")
            found = GUIDE / file if file else GUIDE / f"{page}.md"
            assert found.exists(), target
            assert not place or place in map(anchor, headings(found.read_text())), target


@every_page
def test_places_are_unique(page):
    anchors = [anchor(heading) for heading in headings(PAGES[page])]
    assert len(set(anchors)) == len(anchors)


@every_page
def test_every_section_of_a_list_of_contents_is_in_it(page):
    listed = re.findall(r"^- \[(.+)\]\(#", PAGES[page], flags=re.MULTILINE)
    assert listed == (re.findall(r"^## (.+)$", PAGES[page], flags=re.MULTILINE) if page != "glossary" else [])


@every_lesson
def test_lessons_link_the_pages(lesson):
    goals = LESSONS[lesson][1].source
    for page in ("glossary", "notation", "problems"):
        assert f"(guide/{page}.md)" in goals


def test_the_readme_and_the_map_link_the_pages():
    readme = (paths.project() / "README.md").read_text()
    (chart,) = [cell.source for cell in LESSONS["00_start_here"] if re.match(r"## \d+\. A map", cell.source)]
    for page in PAGES:
        assert f"(notebooks/guide/{page}.md)" in readme
        assert f"(guide/{page}.md)" in chart


@every_lesson
def test_every_lesson_has_its_week_with_its_exercises_by_name(lesson):
    listed = re.search(r"^\*\*Exercises:\*\* (.+)$", week_of(lesson), flags=re.MULTILINE)[1]
    names = [cell.id.removeprefix("exercise-") for cell in LESSONS[lesson] if cell.id.startswith("exercise-")]
    assert re.findall(r"`(\w+)` \(\d points?\)", listed) == names
    assert len(re.findall(r"^- .*\?", week_of(lesson), flags=re.MULTILINE | re.DOTALL)) >= 1
    assert "Full-size project" in week_of(lesson)
    assert "```" in week_of(lesson)


@every_lesson
def test_times_are_those_of_the_lesson_and_the_readme(lesson):
    (row,) = re.findall(rf"^\| \d+ \| \[{lesson}\]\(.*?\) \| (.+?) \| (.+?) \|$", TEACHING, flags=re.MULTILINE)
    told = re.search(r"\*\*Time and hardware:\*\* ([\w ]+) to read", LESSONS[lesson][1].source)[1]
    readme = (paths.project() / "README.md").read_text()
    (table,) = re.findall(rf"^\| \[{lesson}\]\(.*\| (.+?) \|$", readme, flags=re.MULTILINE)
    assert row == (told, table)


def commands(text):
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
    return re.findall(
        r"^(?:\.venv/bin/(?:python|torchrun .*?)|torchrun .*?) -m (ltlib\S*) (.+?)(?:  #.*)?$", blocks, re.M
    )


@pytest.mark.parametrize(("module", "arguments"), [c for text in PAGES.values() for c in commands(text)])
def test_commands_are_understood(module, arguments):
    words = shlex.split(arguments)
    if module == "ltlib.lesson.grade":
        assert [word for word in words if word.startswith("--")] == ["--csv"]
    elif module == "ltlib":
        options = vars(parser(COMMANDS).parse_args(words))
        if words[0] in ("train", "report") or words[:2] == ["data", "prepare"]:
            given = {name: options[name] for name in Experiment.__dataclass_fields__ if options[name] is not None}
            resolve(Experiment.parse(**given))
        if words[0] == "sweep":
            read_sweep(paths.project() / options["file"])


def test_there_are_commands():
    assert len(commands(TEACHING)) >= 15


def test_the_glossary_is_in_alphabetical_order():
    terms = [re.sub(r"[^a-z0-9]", " ", term.lower()) for term in ENTRIES]
    assert len(terms) > 80
    assert terms == sorted(terms)


@pytest.mark.parametrize("term", ENTRIES)
def test_a_term_has_a_few_sentences_its_lesson_and_its_source(term):
    text, _, origin = ENTRIES[term].strip().rpartition("\n\n")
    assert 2 <= len(re.findall(r"[.!?](?=\s|$)", text)) <= 4
    assert re.match(r"\*Lessons? \[\d\d\]\(\.\./\d\d_\w+\.ipynb\).*?\. [^*]{5,}\*$", origin.replace("\n", " ")), origin


def test_names_on_the_page_on_notation_exist():
    text = PAGES["notation"]
    pairs = re.findall(r"`(\w+)(?:=\w+)?` of `(\w+)`", text)
    assert len(pairs) > 20
    for name, method in pairs:
        assert name in hyperparameters(METHODS[method]), (name, method)
    for name in re.findall(r"`(\w+)` of the recipe", text):
        assert name in {field.name for field in fields(Recipe)}, name
    dotted = re.findall(r"`(ltlib\.[\w.]+)`", "\n".join(PAGES.values()))
    assert len(dotted) > 10
    for name in dotted:
        assert exists(name), name


def exists(dotted):
    """Whether a module, or a thing in a module, has this name."""
    module, _, name = dotted.rpartition(".")
    package = paths.project()
    if any((package / (dotted.replace(".", "/") + end)).exists() for end in (".py", "/__init__.py")):
        return True
    return hasattr(__import__(module, fromlist=[name]), name)


def messages():
    """What the page quotes of our messages, piece by piece between the parts that vary."""
    quoted = re.findall(r"^> (?:error: |!! )?(.+)$", PAGES["problems"], flags=re.MULTILINE)
    return [piece.strip() for line in quoted for piece in line.split("...") if len(piece.strip()) > 12]


def test_quoted_messages_are_those_of_the_code():
    code = "\n".join(file.read_text() for file in (paths.project() / "ltlib").rglob("*.py"))
    code = re.sub(r'"\n\s*f?"', "", code).replace('\\"', '"')
    assert len(messages()) > 25
    missing = [piece for piece in messages() if piece not in code]
    assert missing == []


def test_all_verdicts_of_grading_are_explained():
    named = re.findall(r"``([a-z ]+)``", grade.Verdict.__doc__)
    table = TEACHING.partition("| verdict |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z ]+)`", table)) == set(named)
