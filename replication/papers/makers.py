"""Which notebook makes which table: the tables by the names of their files in results/<profile>/."""

import difflib

from ..errors import UserError

HEALTH = "05_health"
MAKERS = {
    "health": HEALTH,
    "datnet-table1": "12_datnet_table1",
    "datnet-table2": "11_efficiency",
    "datnet-table3": "14_datnet_ablation",
    "datnet-identity": "14_datnet_ablation",
    "stya2k-table1": "20_stya2k_table1",
    "stya2k-time": "11_efficiency",
    "stya2k-table2": "22_stya2k_ablation",
    "stya2k-table3": "24_stya2k_video",
    "stya2k-table3-differences": "24_stya2k_video",
    "stya2k-table5": "23_stya2k_lambda",
    "stya2k-figure5": "51_attention_study",
    "stya2k-figure8": "25_stya2k_several_styles",
    "dag-style-quality": "31_dagstyle_tables",
    "dag-style-thangka": "31_dagstyle_tables",
    "dag-style-ablation": "31_dagstyle_tables",
    "dag-style-allocation": "30_dagstyle",
    "dagstyle-efficiency": "11_efficiency",
    "scsa-comparison": "41_scsa_tables",
    "scsa-gains": "41_scsa_tables",
    "scsa-ablation": "41_scsa_tables",
    "scsa-sweep": "41_scsa_tables",
    "scsa-regions": "40_scsa",
    "workbook-allmethods": "60_all_methods",
    "efficiency": "11_efficiency",
    "audit": "90_audit",
    "sensitivity": "91_sensitivity",
    "sensitivity-definitions": "91_sensitivity",
    "counts": "92_claims",
    "claims": "92_claims",
    "interval-coverage": "92_claims",
}


def find_table(given: str) -> str:
    """The name in MAKERS of a table as people write it: "StyA2K Table 1", "stya2k-table1" and the like are one.

    Raises UserError for a table that is none of them, with the nearest.
    """
    known = {_plain(name): name for name in MAKERS}
    if _plain(given) in known:
        return known[_plain(given)]
    near = difflib.get_close_matches(_plain(given), known, n=1)
    hint = f"did you mean {known[near[0]]}? " if near else ""
    raise UserError(f"no table {given!r}; {hint}Known are {', '.join(MAKERS)}")


def notebooks_for(tables: list[str]) -> list[str]:
    """Names of the notebooks that make tables, in their order. Raises UserError as `find_table`.

    The notebook that examines the networks is among them, because tables say which networks are not good enough.
    """
    return sorted({HEALTH, *(MAKERS[find_table(table)] for table in tables)})


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))
