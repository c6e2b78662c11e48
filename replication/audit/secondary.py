"""DAG-Style and SCSA: known here from public summaries and a reading note, and judged as such."""

from itertools import combinations
from math import ceil

import numpy as np
import pandas as pd

from ..methods.base import parameter_count
from .common import EPS, Finding, Printed, Section, joined, judge, listed, rounds_to, section
from .timing import on_meta
from .votes import interval, least_votes_each, possible, votes_needed

# DAG-Style's page: counters at its top, which an animation fills; in the saved text they are zero.
COUNTERS = pd.Series(dict.fromkeys(("psnr", "ssim_grey", "inference_time", "params"), 0.0))
# What that summary compares without printing the number.
UNPRINTED = (
    "PSNR and SSIM of ASFNet",
    "SSIM of the standard Transformer",
    "PSNR and SSIM on COCO and ImageNet",
    "times of the methods among which it is fastest",
)
# What a public summary of SCSA prints in its section on experiments, and nobody else.
SSL_DROP = 0.08  # SANet to SANet+SCSA, "about"
FID_DROP = 1.2  # StyTr2 to StyTr2+SCSA, "about"
SSL_WITHOUT_S_ADAIN = 1.7538  # StyleID+SCSA
RISE = (0.01, 0.1)  # SSL and FID with SCA alone
MOST_VOTES = 70  # more than, in percent
# SCSA: participants by that summary, pairs by its published data.
SCSA_VOTERS, SCSA_PAIRS = 40, 69


def summary_page(printed: Printed) -> Section:
    """The DAG-Style summary: counters against text, values against what others print, and what cannot be checked."""
    tables = {"psnr": "Quality", "ssim_grey": "Quality", "inference_time": "Efficiency", "params": "Efficiency"}
    own = pd.Series(
        {metric: printed.column("DAG-Style", table, metric)["DAG-Style"] for metric, table in tables.items()}
    )
    ranges = {metric: printed.column("DatNet", "Table 1", metric) for metric in ("psnr", "ssim_grey")}
    inside = all(column.min() <= own[metric] <= column.max() for metric, column in ranges.items())
    coco = printed.column("DAG-Style", "Ablation", "ssim_grey")["Full model"]
    apart = abs(own["ssim_grey"] - coco)
    faster = printed.column("StyA2K", "Table 1", "inference_time")
    faster = faster[faster < own["inference_time"]]
    datnet = {metric: f"{column.min():g} to {column.max():g}" for metric, column in ranges.items()}
    return section(
        pd.DataFrame({"page header": COUNTERS, "text": own, "DatNet's Table 1": datnet}).loc[list(tables)].fillna(""),
        judge(
            ("DAG-Style", "Page header"),
            "counters agree with the text",
            listed(COUNTERS),
            listed(own),
            bool((own == COUNTERS).all()),
            "Animated counters that had not run when the page was saved.",
        ),
        judge(
            ("DAG-Style", "Sections on results and ablation"),
            "SSIM of the full model",
            f"{own['ssim_grey']:g} on Thangka, {coco:g} on COCO",
            f"differ by {apart:.3f}",
            apart < 0.05,
            "Other data.",
            "unclear",
            "Two data sets, so both numbers can be right.",
        ),
        judge(
            ("DAG-Style", "Section on results"),
            "PSNR and SSIM lie where others' do",
            f"{own['psnr']:g} dB, {own['ssim_grey']:g}",
            f"{'inside' if inside else 'outside'} the range of DatNet's Table 1",
            inside,
            "Other data, or another reference image.",
            "unclear",
        ),
        judge(
            ("DAG-Style", "All sections"),
            "comparisons can be checked",
            "better, inferior, fastest",
            f"no number for: {'; '.join(UNPRINTED)}",
            not UNPRINTED,
            "The summary is not the paper, which may print them.",
            "unclear",
        ),
        judge(
            ("DAG-Style", "Section on efficiency"),
            "fastest",
            f"{own['inference_time']:g} s",
            f"shorter times for this size in StyA2K's Table 1: {joined(faster.index)}",
            faster.empty,
            "Fastest of a set that the summary does not name; and see what those shorter times are worth.",
            "unclear",
        ),
        judge(
            ("DAG-Style", "Section on efficiency"),
            "own parameters",
            f"{own['params']:g} M",
            f"{on_meta('dagstyle')[1] / 1e6:.2f} M in the interpretation here",
            False,
            "No evidence either way: the interpretation was sized to come out there.",
            "unclear",
        ),
    )


def closest_subset(parts: dict[str, int], target: float) -> tuple[tuple[str, ...], int]:
    """The parts whose sum comes nearest to a target, and the sum."""
    subsets = (names for size in range(1, len(parts) + 1) for names in combinations(parts, size))
    best = min(subsets, key=lambda names: abs(sum(parts[name] for name in names) - target))
    return best, sum(parts[name] for name in best)


def stytr2_size(printed: Printed) -> Section:
    """StyTr2's size in the DAG-Style summary, against the network and every combination of its parts."""
    column, half = printed.rounded("DAG-Style", "Efficiency", "params")
    value, model = column["StyTr2"], on_meta("stytr2")[0]
    modules = {
        "patch embedding": model.embedding,
        "content encoder": model.transformer.encoder_c,
        "style encoder": model.transformer.encoder_s,
        "transformer decoder": model.transformer.decoder,
        "position convolution": model.transformer.new_ps,
        "image decoder": model.decoder,
    }
    parts = {name: parameter_count(module) for name, module in modules.items()}
    best, total = closest_subset(parts, value * 1e6)
    whole = sum(parts.values())
    return section(
        pd.Series({**parts, "sum": whole}, name="parameters").to_frame(),
        judge(
            ("DAG-Style", "Section on efficiency"),
            "StyTr2's parameters",
            f"{value:.2f} M",
            f"{whole / 1e6:.2f} M in the published network; nearest sum of parts {total / 1e6:.2f} M ({joined(best)})",
            abs(whole / 1e6 - value) <= half + EPS,
            "A smaller StyTr2 may have been trained for the comparison, or a part of it counted.",
            "unclear" if abs(total / 1e6 - value) <= half + EPS else "inconsistent",
        ),
    )


def _against_note(
    finding: str, summary: str, note: str, good: bool | np.bool_, why: str, otherwise: str = "inconsistent"
) -> Finding:
    """What the summary of SCSA says against the reading note."""
    remark = "" if good else "Both sources are secondary; the paper itself decides."
    return judge(
        ("SCSA", "Public summary against a reading note"), finding, summary, note, good, why, otherwise, remark
    )


def two_sources(printed: Printed) -> Section:
    """A public summary of SCSA against a reading note: what agrees, and which row a disagreeing number fits."""
    columns = {metric: printed.column("SCSA", "Comparison", metric) for metric in ("ssl", "fid", "cfsd")}
    votes, ablation = printed.column("SCSA", "Comparison", "user_overall"), printed.column("SCSA", "Ablation", "ssl")
    ssl = columns["ssl"]
    hosts = [row for row in ssl.index if f"{row}+SCSA" in ssl.index]
    drops = pd.DataFrame(
        {metric: {host: column[host] - column[f"{host}+SCSA"] for host in hosts} for metric, column in columns.items()}
    )
    rises = ablation.drop("Full model") - ablation["Full model"]
    shares, same = votes[votes.index.str.endswith("+SCSA")], ssl.index[(ssl - SSL_WITHOUT_S_ADAIN).abs() < EPS]
    slipped = any(rounds_to(drops.ssl["SANet"] * factor, SSL_DROP, 0.01) > 0 for factor in (0.1, 10))
    # "About" a number of one decimal: rounded or cut off.
    near = list(drops.index[(drops.fid - FID_DROP).abs() < 0.1])
    findings = (
        _against_note(
            "drop of SSL in SANet",
            f"about {SSL_DROP:g}",
            f"{drops.ssl['SANet']:.4f}",
            rounds_to(drops.ssl["SANet"], SSL_DROP, 0.01) > 0,
            f"A decimal point slipped by one place would {'' if slipped else 'not '}explain it.",
        ),
        _against_note(
            "drop of FID in StyTr2",
            f"about {FID_DROP:g}",
            f"{drops.fid['StyTr2']:.2f}",
            "StyTr2" in near,
            f"The drop in {joined(near)} would fit.",
        ),
        _against_note(
            "SSL of StyleID+SCSA without S-AdaIN",
            f"{SSL_WITHOUT_S_ADAIN:g}",
            f"the same digits stand for {joined(same)}",
            same.empty,
            "A number copied from another row.",
        ),
        _against_note(
            "rise of SSL with SCA alone",
            f"{RISE[0]:g} to {RISE[1]:g}",
            f"{rises['w/o SSA']:.4f}",
            RISE[0] - 0.005 <= rises["w/o SSA"] <= RISE[1] + 0.05,
            "A range over other hosts.",
        ),
        _against_note(
            "S-AdaIN matters to SSL like SCA and SSA",
            "essential",
            f"rises of SSL in SANet: {listed(rises, '{:.4f}')}",
            bool(rises.idxmin() != "w/o S-AdaIN"),
            "It may matter to the eye, or in other hosts.",
            "unclear",
        ),
        _against_note(
            "FID falls in every host",
            "improved fidelity",
            listed(drops.fid, "{:.2f}"),
            bool((drops.fid > 0).all()),
            "Meant of an average.",
        ),
        _against_note(
            "CFSD falls in CNN and Transformer, rises in diffusion",
            "as stated",
            listed(drops.cfsd, "{:.4f}"),
            bool(drops.cfsd["SANet"] > 0 and drops.cfsd["StyTr2"] > 0 > drops.cfsd["StyleID"]),
            "A misprint.",
        ),
        _against_note(
            "share of votes",
            f"more than {MOST_VOTES} %",
            listed(shares),
            bool((shares > MOST_VOTES).all()),
            "Another set of comparisons.",
        ),
    )
    lines = {f.finding: {"summary": f.printed, "note": f.recomputed, "verdict": f.verdict} for f in findings}
    return section(pd.DataFrame(lines).T.rename_axis("finding"), *findings)


def scsa_votes(printed: Printed) -> Section:
    """SCSA's user study, from two secondary sources: resolution, sums, and intervals."""
    place = ("SCSA", "User study (two secondary sources)")
    shares, half = printed.rounded("SCSA", "Comparison", "user_overall")
    ours = shares[shares.index.str.endswith("+SCSA")]
    sums = ours + shares[ours.index.str.removesuffix("+SCSA")].to_numpy()
    needed = pd.Series({row: votes_needed(share / 100, 1 - share / 100) for row, share in ours.items()})
    intervals = [interval(share / 100, SCSA_VOTERS) for share in ours]
    good = possible(ours, SCSA_VOTERS * SCSA_PAIRS, half) and bool(((sums - 100).abs() <= 2 * half + EPS).all())
    columns = {"with SCSA, %": ours, "sum with the host's, %": sums, "votes needed": needed}
    return section(
        pd.DataFrame(columns).assign(**{"interval, one opinion a person": intervals}),
        judge(
            place,
            "percentages come from whole votes",
            f"{SCSA_VOTERS} participants; {listed(ours)} %",
            f"fewest votes each: {least_votes_each(ours, SCSA_VOTERS, half)}; the published data has {SCSA_PAIRS}"
            " pairs",
            good,
            "Participants judged other numbers of pairs.",
            "unclear",
        ),
        judge(
            place,
            "most prefer SCSA to its host",
            "more than half in every host",
            f"beyond chance from {ceil(needed.max())} independent votes",
            ours.min() > 50 and needed.max() <= SCSA_VOTERS,
            "Votes of a person resemble each other.",
            "unclear" if ours.min() > 50 else "inconsistent",
        ),
    )
