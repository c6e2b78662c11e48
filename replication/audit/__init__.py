"""An audit of what the papers print: what follows from it, and where it disagrees with itself or with the hardware.

Every section takes the printed numbers and returns its calculation as a table, with findings. A verdict follows from
numbers alone:

  consistent    what is printed agrees, within the rounding of print
  inconsistent  two printed things exclude each other, or a printed count excludes the network that was published
  implausible   nothing printed excludes it, but a card would have to do what it cannot
  unclear       several readings are possible and print does not say which, or the number to check against is not
                printed

A slip of print says nothing about how good a method is; each finding carries the innocent explanations that were found.
Numbers of tables come from papers/reported.csv; other printed settings are constants here, with their place in the
paper. Operations are counted on shapes alone (the meta device), at VGG-19 width.
"""

from dataclasses import asdict

import pandas as pd

from .common import Printed, Section
from .datnet import columns_agree, growth, operations, parameters, wording
from .decoder import decoder_stages
from .equations import block_sizes, complexity, divisors, listing, values_of_attention
from .secondary import scsa_votes, stytr2_size, summary_page, two_sources
from .stya2k import chosen_weight, clip_means, full_model
from .text import sentences
from .timing import times, two_papers
from .training import decay_readings, iterations
from .votes import leads, multiplied, vote_counts

__all__ = [
    "TABLES",
    "VERDICTS",
    "Finding",
    "Printed",
    "Section",
    "block_sizes",
    "chosen_weight",
    "clip_means",
    "columns_agree",
    "complexity",
    "decay_readings",
    "decoder_stages",
    "divisors",
    "full_model",
    "growth",
    "iterations",
    "leads",
    "listing",
    "multiplied",
    "operations",
    "parameters",
    "scsa_votes",
    "sections",
    "sentences",
    "stytr2_size",
    "summary",
    "summary_page",
    "times",
    "two_papers",
    "two_sources",
    "values_of_attention",
    "vote_counts",
    "wording",
]


def sections(printed: Printed) -> tuple[Section, ...]:
    """All sections, in the notebook's order."""
    return (
        clip_means(printed),
        full_model(printed),
        chosen_weight(printed),
        sentences(printed, "StyA2K"),
        multiplied(),
        iterations(),
        values_of_attention(),
        complexity(),
        block_sizes(),
        divisors(),
        listing(),
        decoder_stages(),
        times(printed, "StyA2K"),
        times(printed, "DatNet"),
        times(printed, "DAG-Style"),
        two_papers(printed),
        vote_counts(printed),
        leads(printed),
        columns_agree(printed),
        sentences(printed, "DatNet"),
        operations(printed),
        parameters(printed),
        growth(printed),
        wording(),
        decay_readings(),
        summary_page(printed),
        sentences(printed, "DAG-Style"),
        stytr2_size(printed),
        two_sources(printed),
        scsa_votes(printed),
    )


def summary(printed: Printed) -> pd.DataFrame:
    """Every finding as a line: paper, where, finding, printed, recomputed, verdict, explanation."""
    return pd.DataFrame([asdict(finding) for part in sections(printed) for finding in part.findings])
