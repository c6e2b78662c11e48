"""The user study of StyA2K Table 1, as a kit: a voting page, and what turns votes into the paper's three columns.

The paper showed 20 groups of results to 80 people and asked three questions: whose content is preserved best, whose
style, which result is best overall. People cannot be replicated by a program; everything else is here.

    make study                        build/study/<profile>/vote.html and key.json, from the shipped weights
    votes/*.json                      what voters' browsers export
    notebooks/62_user_study.ipynb     the table

The page is blind: options carry random names, whose methods only key.json knows, and every voter sees groups and
options in an order of their own. It is one file that needs no network, and it keeps unfinished votes in the browser.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from .. import files
from ..data.images import contents, data_uri, styles
from ..errors import UserError
from ..evaluation import intervals
from ..evaluation.grid import Gallery, row_facts
from ..papers.rows import Row
from ..profiles import Profile
from ..provenance import provenance

GROUPS = 20
QUESTIONS = {
    "user_content": "Which result keeps the content of the photograph best?",
    "user_style": "Which result carries the style of the painting best?",
    "user_overall": "Which result is best overall?",
}


@dataclass(frozen=True)
class Ballots:
    """Votes: one line per voter, group and question, with the method chosen, and every group's methods."""

    votes: pd.DataFrame
    methods: tuple[str, ...]


def write_study(rows: Sequence[Row], profile: Profile, folder: Path, groups: int = GROUPS) -> Path:
    """Write vote.html and key.json into a folder and return the page's path.

    A group is a photograph and a painting of the profile's grid with every row's result. Names of options come from the
    system's random source, so a new page cannot be decoded with an old key. Raises UserError for fewer than two rows.
    """
    if len(rows) < 2:
        raise UserError(
            f"{len(rows)} methods of the study have weights at {profile.encoder} width, people need two to choose from;"
            f" run `python -m replication train --profile {profile.name}`, or take --profile cpu"
        )
    photographs, paintings = contents(profile.contents), styles(profile.styles)
    gallery = Gallery(rows, profile)
    study, key, shown = secrets.token_hex(8), {}, []
    for number in range(groups):
        # Every painting before any comes twice, photographs in turn: pairs do not repeat before all are used.
        pair = photographs[number % len(photographs)], paintings[number % len(paintings)]
        options = []
        for row in rows:
            token = secrets.token_hex(6)
            key[token] = {"group": number, "method": row.name}
            options.append({"name": token, "image": data_uri(gallery.picture(row, *pair))})
        options.sort(key=lambda option: option["name"])  # the file's order must not give the methods away either
        given = [data_uri(picture.tensor(profile.size)) for picture in pair]
        shown.append({"photograph": given[0], "painting": given[1], "options": options})
    page = resources.files(__package__).joinpath("study.html").read_text(encoding="utf-8")
    data = files.json_in_page({"study": study, "questions": QUESTIONS, "groups": shown})
    path = files.write_text(folder / "vote.html", page.replace("/*DATA*/null", data))
    facts = provenance(profile=profile.name, rows=row_facts(rows, profile), page_sha256=files.sha256_file(path))
    files.write_json(
        folder / "key.json", {"study": study, "groups": groups, "questions": list(QUESTIONS), "options": key, **facts}
    )
    return path


DAMAGED = "ask for it again or remove it"


def read_votes(votes: str | Path, key: str | Path) -> Ballots:
    """The exported votes of a folder, decoded. Blank answers are left out.

    Strangers send these files: whatever they hold is checked before it is used. Raises UserError naming the file that
    is damaged or of another study, that votes for an option which its group does not have, or whose voter has no name,
    or voted twice.
    """
    known = _read_key(Path(key))
    found, seen = [], {}
    paths = sorted(path for path in Path(votes).glob("*.json") if not path.name.startswith("."))
    if not paths:
        raise UserError(f"{votes} holds no exported votes (*.json)")
    for path in paths:
        ballot = files.read_object(path, DAMAGED)
        if ballot.get("study") != known["study"]:
            raise UserError(
                f"{path} belongs to study {_short(ballot.get('study'))}, the key to {known['study']!r}; keep studies in"
                " folders of their own"
            )
        voter, answers = ballot.get("voter"), ballot.get("answers", [])
        if not isinstance(voter, str) or not voter.strip():
            raise UserError(f"{path} names no voter (voter is {_short(voter)}); {DAMAGED}")
        if not isinstance(answers, list):
            raise UserError(f"{path} is damaged (answers are no list); {DAMAGED}")
        voter = voter.strip()
        if voter in seen:
            raise UserError(f"{path} and {seen[voter]} are of the same voter {_short(voter)}; keep one of them")
        seen[voter] = path
        answered = set()
        for answer in answers:
            method = _method(answer, known)
            if method is None:
                raise UserError(f"{path}: {_short(answer)} is no vote of this study; the file was altered")
            place = answer["group"], answer["question"]
            if place in answered:
                raise UserError(f"{path}: the voter answered one question twice; the file was altered")
            answered.add(place)
            found.append({"voter": voter, "group": place[0], "question": place[1], "method": method})
    frame = pd.DataFrame(found, columns=["voter", "group", "question", "method"])
    return Ballots(frame, tuple(dict.fromkeys(option["method"] for option in known["options"].values())))


def _short(value: object) -> str:
    """A value of a stranger's file for a message: one line, not long, no control characters."""
    text = ascii(value)
    return text if len(text) <= 120 else f"{text[:120]}…"


def _method(answer: object, known: dict) -> str | None:
    """The method that an answer chooses; None unless it is a vote of this study."""
    if not isinstance(answer, dict):
        return None
    option, group, question = (answer.get(name) for name in ("option", "group", "question"))
    if not isinstance(option, str) or type(group) is not int or question not in known["questions"]:
        return None
    chosen = known["options"].get(option)
    return None if chosen is None or chosen["group"] != group else chosen["method"]


def _read_key(path: Path) -> dict:
    key = files.read_object(path, "restore it, or write the study anew with `make study`")
    options = key.get("options")
    whole = (
        isinstance(key.get("study"), str)
        and isinstance(key.get("questions"), list)
        and isinstance(options, dict)
        and all(
            isinstance(option, dict) and type(option.get("group")) is int and isinstance(option.get("method"), str)
            for option in options.values()
        )
    )
    if not whole:
        raise UserError(f"{path} is no key of a study; restore it, or write the study anew with `make study`")
    return key


def shares(ballots: Ballots) -> pd.DataFrame:
    """Percent of votes for each method and question, with a 95 % t-interval over voters and groups.

    Every voter judges every group, so both are crossed sources of chance, as photographs and paintings are. The scale
    is plain, as a share may be zero, and bounds stop at 0 and 100. A share without any vote, or with all, shows no
    spread: its interval is a point and says nothing of rarer votes. One voter alone has no interval.

    Columns: row, metric, measured, low, high, n (votes).
    """
    lines = []
    for question in QUESTIONS:
        part = ballots.votes[ballots.votes.question == question]
        if part.empty:
            continue
        chosen = part.pivot(index="voter", columns="group", values="method")
        for method in ballots.methods:
            grid = np.where(chosen.isna(), np.nan, 100.0 * (chosen == method))
            share = intervals.mean(grid, ["voters", "groups"])
            low, high = np.clip(replace(share, positive=False).interval(), 0, 100)
            lines.append(
                {
                    "row": method,
                    "metric": question,
                    "measured": share.value,
                    "low": float(low),
                    "high": float(high),
                    "n": int(chosen.notna().sum().sum()),
                }
            )
    return pd.DataFrame(lines, columns=["row", "metric", "measured", "low", "high", "n"])


def simulate(
    key: str | Path, folder: str | Path, strength: dict[str, dict[str, float]], voters: int, seed: int
) -> None:
    """Write votes of simulated voters, to try the notebook without people.

    strength  question -> method -> utility; a voter takes method m with probability proportional to exp(utility of m).
              Each voter's utilities are shifted by a taste of their own with standard deviation 0.5
    """
    known, rng = _read_key(Path(key)), np.random.default_rng(seed)
    # By method, not by the options' random names, so that a seed gives the same votes for every page.
    options: dict[int, list[tuple[str, str]]] = {}
    for token, option in sorted(known["options"].items(), key=lambda item: (item[1]["group"], item[1]["method"])):
        options.setdefault(option["group"], []).append((token, option["method"]))
    for voter in range(voters):
        taste = {method: rng.normal(0, 0.5) for method in strength[next(iter(QUESTIONS))]}
        answers = []
        for group, choices in options.items():
            for question in known["questions"]:
                utility = np.array([strength[question][method] + taste[method] for _, method in choices])
                share = np.exp(utility - utility.max())
                token = choices[rng.choice(len(choices), p=share / share.sum())][0]
                answers.append({"group": group, "question": question, "option": token})
        files.write_json(
            Path(folder) / f"simulated-{voter:03d}.json",
            {"study": known["study"], "voter": f"simulated-{voter:03d}", "answers": answers},
        )
