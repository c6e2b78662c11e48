"""A deposit: what a profile has produced as an RO-Crate 1.1, a folder that archives take and machines read.

    make crate                        build/crate/<profile>/

The folder holds tables, figures, executed notebooks, licence and papers.bib. `ro-crate-metadata.json` names each file,
the notebook that wrote it, the commit, versions and hardware that its facts give, and the papers. Nothing is computed
here. Pages of photographs, which are drawn as JPEG or WebP, are also given as PNG.

Source: RO-Crate 1.1, https://w3id.org/ro/crate/1.1
"""

import mimetypes
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from .. import files
from ..errors import UserError
from .site import read_json, writers_of
from .table_forms import title_of

METADATA = "ro-crate-metadata.json"
CONFORMS = "https://w3id.org/ro/crate/1.1"
LICENCE = "https://spdx.org/licenses/MIT"
# Files of the project that a reader of the deposit needs.
COMPANIONS = ("LICENSE", "CITATION.cff", "papers.bib", "requirements.lock")
# Pictures in figures and notebooks keep the licences that this list gives.
PICTURES = "assets.csv"

Entity = dict[str, Any]

# As CITATION.cff names them. Who deposits the folder adds the publisher.
AUTHORS: Entity = {
    "@id": "#authors",
    "@type": "Organization",
    "name": "Contributors of the replication workbook",
}


def write_crate(profile: str) -> Path:
    """Write build/crate/<profile>/ anew and return it.

    Raises UserError when the profile has no tables or no executed notebook, for damaged facts, and when a file cannot
    be written. A crate that was there stays until the new one is whole.
    """
    target = files.build_dir() / "crate" / profile
    sources = _sources(profile)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{profile}-") as temporary:
            crate = Path(temporary) / "new"
            for name, path in sources.items():
                (crate / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, crate / name)
            copies = _as_png(crate, sources)
            files.write_json(crate / METADATA, _metadata(profile, crate, sources, copies))
            shutil.rmtree(target, ignore_errors=True)
            crate.rename(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}; mend that and run it again") from error
    return target


def _sources(profile: str) -> dict[str, Path]:
    """The files to deposit by their names in the crate."""
    folders = {
        f"results/{profile}": files.RESULTS / profile,
        f"figures/{profile}": files.FIGURES / profile,
        f"notebooks/{profile}": files.build_dir() / "notebooks" / profile,
    }
    found = {name: files.ROOT / name for name in COMPANIONS} | {PICTURES: files.ROOT / "replication/data" / PICTURES}
    for name, folder in folders.items():
        there = [path for path in sorted(folder.glob("*")) if path.is_file() and not path.name.startswith(".")]
        if name.startswith("notebooks"):  # neither .failed nor .partial, nor what the runner keeps beside them
            there = [path for path in there if path.suffix == ".ipynb" and "." not in path.stem]
        if not there and not name.startswith("figures"):
            raise UserError(f"{folder} is missing or empty; run `make` first (PROFILE={profile})")
        found |= {f"{name}/{path.name}": path for path in there}
    return found


def _as_png(crate: Path, names: Iterable[str]) -> dict[str, str]:
    """Write each still .jpg and .webp among `names` as PNG beside it; the new name by the old one."""
    made = {}
    for name in names:
        if Path(name).suffix not in (".jpg", ".webp"):
            continue
        copy = Path(name).with_suffix(".png").as_posix()
        with Image.open(crate / name) as image:
            if getattr(image, "n_frames", 1) == 1 and not (crate / copy).exists():
                image.save(crate / copy)
                made[name] = copy
    return made


def _metadata(profile: str, crate: Path, sources: dict[str, Path], copies: dict[str, str]) -> Entity:
    """The content of ro-crate-metadata.json: every file, what wrote it, and what that ran on."""
    papers = papers_of(files.ROOT / "papers.bib")
    writers = writers_of(files.build_dir() / "notebooks" / profile)
    names = [*sources, *copies.values()]
    context: dict[str, Entity] = {}  # commits, packages and machines by their @id
    parts, used, made = [], {}, {}
    for name in names:
        path = crate / name
        drawn = next((old for old, new in copies.items() if new == name), name)
        facts_name = Path(drawn).with_suffix(".json").as_posix()
        facts = read_json(sources[facts_name]) if facts_name in sources else {}
        notebook = f"notebooks/{profile}/{writers.get(Path(drawn).name)}.ipynb"
        part = _file(name, path)
        if name.endswith(".csv"):
            part["name"] = title_of(sources[name])
        if facts and name != facts_name:
            part["subjectOf"] = _to(_address(facts_name))
        part |= {"citation": [_to(paper["@id"]) for paper in papers if _named(paper, facts.get("paper"))]}
        if notebook in sources:
            made.setdefault(notebook, []).append(_to(part["@id"]))
            instruments = _instruments(facts)
            context |= {one["@id"]: one for one in instruments}
            used.setdefault(notebook, {}).update({one["@id"]: None for one in instruments})
        parts.append({key: value for key, value in part.items() if value != []})
    runs = [_run(notebook, made[notebook], used[notebook]) for notebook in sorted(made)]
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Replication workbook, attention-based style transfer: results of profile {profile}",
        "description": "Tables and figures of a replication of attention-based style transfer, with the notebooks that"
        " wrote them and their provenance.",
        "datePublished": date.today().isoformat(),
        "license": _to(LICENCE),
        "author": _to(AUTHORS["@id"]),
        "hasPart": [_to(part["@id"]) for part in parts],
        "mentions": [_to(run["@id"]) for run in runs],
        "citation": [_to(paper["@id"]) for paper in papers],
    }
    described = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": _to("./"),
        "conformsTo": _to(CONFORMS),
    }
    licence = {"@id": LICENCE, "@type": "CreativeWork", "name": "MIT License", "identifier": "MIT"}
    graph = [described, root, licence, AUTHORS, *parts, *runs, *context.values(), *papers]
    return {"@context": f"{CONFORMS}/context", "@graph": [_plain(entity) for entity in graph]}


def _plain(entity: Entity) -> Entity:
    """The entity with single values in place of lists of one, as RO-Crate 1.1 recommends."""
    return {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in entity.items()}


def _to(address: str) -> Entity:
    """A reference to an entity."""
    return {"@id": address}


def _address(name: str) -> str:
    """A file's @id: its path as a URI."""
    return quote(os.fsencode(name))


def _file(name: str, path: Path) -> Entity:
    return {
        "@id": _address(name),
        "@type": ["File", "SoftwareSourceCode"] if path.suffix == ".ipynb" else "File",
        "name": files.printable(path.name),
        "encodingFormat": "application/x-ipynb+json"
        if path.suffix == ".ipynb"
        else mimetypes.guess_type(path.name)[0] or "text/plain",
        "contentSize": str(path.stat().st_size),
        "sha256": files.sha256_file(path),
        "license": _to(PICTURES if name.startswith(("figures/", "notebooks/")) else LICENCE),
    }


def _run(notebook: str, results: list[Entity], instruments: Iterable[str]) -> Entity:
    """The execution of a notebook: what it wrote, and with what."""
    return {
        "@id": f"#run-{quote(Path(notebook).stem)}",
        "@type": "CreateAction",
        "name": f"Execution of {Path(notebook).stem}",
        "instrument": [_to(_address(notebook)), *map(_to, instruments)],
        "result": results,
    }


def _instruments(facts: Entity) -> list[Entity]:
    """Commit, packages and machine of a file's facts as entities."""
    found = []
    if "commit" in facts:
        found.append(
            {
                "@id": f"#commit-{quote(facts['commit'])}",
                "@type": "SoftwareSourceCode",
                "name": "Replication workbook",
                "version": facts["commit"],
                "license": _to(LICENCE),
            }
        )
    for name, version in facts.get("versions", {}).items():
        package = {"@id": f"#{quote(f'{name}-{version}')}", "@type": "SoftwareApplication"}
        found.append(package | {"name": name, "version": version})
    if "hardware" in facts:
        text = ", ".join(f"{key}: {value}" for key, value in facts["hardware"].items() if value is not None)
        machine = {"@id": f"#machine-{files.sha256_text(text)[:12]}", "@type": "IndividualProduct"}
        found.append(machine | {"name": facts["hardware"].get("cpu") or "machine", "description": text})
    return found


def papers_of(path: Path) -> list[Entity]:
    """The entries of a .bib file in the project's form, one field per line, as scholarly articles."""
    found = []
    for key, body in re.findall(r"^@\w+\{(.+?),\n(.*?)^\}", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        fields = {name: re.sub("[{}]", "", text) for name, text in re.findall(r"^  (\w+) = \{(.*)\},?$", body, re.M)}
        doi = f"https://doi.org/10.48550/arXiv.{fields['eprint']}" if "eprint" in fields else None
        paper = {
            "@id": doi or fields.get("url") or f"#{key}",
            "@type": "ScholarlyArticle",
            "name": fields["title"],
            "author": fields.get("author", "").split(" and ") if "author" in fields else None,
            "datePublished": fields.get("year"),
            "url": fields.get("url"),
            "identifier": doi or key,
            "description": fields.get("note"),
        }
        found.append({name: value for name, value in paper.items() if value is not None})
    return found


def _named(paper: Entity, name: str | None) -> bool:
    """Whether a table's paper, named as tables do ("StyA2K"), is this one: its title or its note begins with that."""
    return bool(name) and any(re.match(rf"{re.escape(name)}\b", paper.get(key, "")) for key in ("name", "description"))
