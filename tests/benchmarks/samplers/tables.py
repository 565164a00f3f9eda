"""What the terminal shows of `condgen bench samplers`."""

from collections import defaultdict
from collections.abc import Callable

from rich.table import Column, Table

from benchmarks.parts import Rows
from benchmarks.samplers.quality import BUDGETS
from benchmarks.samplers.work import NEVER, REACHED
from condgen.samplers import ADAPTIVE, FIXED

__all__ = ["PARTS", "tables"]

PARTS = ("tolerances", "bias", "quality", "exact", "grids", "speed")


def tables(part: str, rows: Rows) -> list[Table]:
    """The tables of a part."""
    return _TABLES[part](rows)


def _found(rows: Rows, *what: str) -> dict[tuple[str, str], dict[str, float]]:
    """Values by variant and size, then by what they are."""
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["what"] in what:
            found[row["variant"], row["size"]][row["what"]] = row["value"]
    return found


def _tolerances(rows: Rows) -> list[Table]:
    where = next(row["size"] for row in rows if row["what"] == "lockstep evaluations")
    table = Table(
        "tolerance", "evaluations, as the paper counts", "the paper", "ratio", "ours, mean", "rejected",
        title=f"adaptive-sde, {where}",
    )  # fmt: skip
    for variant in dict.fromkeys(row["variant"] for row in rows):
        value = {row["what"]: row["value"] for row in rows if row["variant"] == variant}
        table.add_row(
            variant,
            f"{value['lockstep evaluations']:.0f}",
            f"{value['published evaluations']:.0f}",
            f"{value['ratio to published']:.3f}",
            f"{value['evaluations per sample']:.1f}",
            f"{value['rejected']:.1%}",
        )
    return [table]


def _bias(rows: Rows) -> list[Table]:
    found = _found(rows, "bias of the std", "bias beyond tolerance", "evaluations")
    made = []
    for schedule in dict.fromkeys(size.partition(",")[0] for _, size in found):
        sizes = list(dict.fromkeys(size for _, size in found if size.startswith(f"{schedule},")))
        heads = [size.removeprefix(f"{schedule}, ") for size in sizes]
        table = Table(
            Column("sampler", no_wrap=True), "evaluations", *heads, title=f"bias of the std of a Gaussian, {schedule}"
        )
        for variant in dict.fromkeys(variant for variant, _ in found):
            values = [found[variant, size] for size in sizes]
            marks = ["!" if "bias beyond tolerance" in value else " " for value in values]
            cells = [f"{value['bias of the std']:+.1%}{mark}" for value, mark in zip(values, marks, strict=True)]
            table.add_row(variant, f"{values[-1]['evaluations']:.0f}", *cells)
        table.caption = "! beyond three standard errors and 2%"
        made.append(table)
    return made


def _quality(rows: Rows) -> list[Table]:
    return [*_best(rows), *_reached(rows), _goal(rows)]


def _best(rows: Rows) -> list[Table]:
    """Who is best within each budget, in the order of the values; those after the first are as good."""
    groups: dict[tuple[str, str], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["what"] == "best":
            problem, what, within, way = row["size"].split("; ", 3)
            budget = int(within.split()[2])
            groups[problem, what][budget].append(f"{row['variant']} ({way}) {row['value']:.3g}")
    made = []
    for problem in dict.fromkeys(problem for problem, _ in groups):
        heads = [f"at most {budget} evaluations" for budget in BUDGETS]
        table = Table("measure", *heads, title=f"{problem}: the best sampler, and others as good", show_lines=True)
        for what in (what for other, what in groups if other == problem):
            cells = []
            for budget in BUDGETS:
                names = groups[problem, what][budget]
                more = [f"and {len(names) - 3} more"] if len(names) > 3 else []
                cells.append("\n".join([*names[:3], *more]))
            table.add_row(what, *cells)
        made.append(table)
    return made


def _reached(rows: Rows) -> list[Table]:
    """With how many evaluations each sampler is as good as Euler-Maruyama with 1,000."""
    found = _found(rows, REACHED, NEVER)
    sizes = list(dict.fromkeys(size for _, size in found))
    made = []
    for problem in dict.fromkeys(size.partition("; ")[0] for size in sizes):
        here = [size for size in sizes if size.startswith(f"{problem}; ")]
        table = Table(
            Column("sampler", no_wrap=True),
            *(size.partition("; ")[2] for size in here),
            title=f"{problem}: evaluations with which samplers are as good as euler-maruyama with 1,000",
        )
        for variant in dict.fromkeys(variant for variant, _ in found):
            values = [found.get((variant, size), {}) for size in here]
            table.add_row(variant, *(f"{v[REACHED]:.0f}" if REACHED in v else "-" for v in values))
        table.caption = "- not with the most that were tried"
        made.append(table)
    return made


def _goal(rows: Rows) -> Table:
    """What the quality of Euler-Maruyama with 1,000 evaluations costs others, at the least."""
    heads = ("fixed grid", "adaptive", "adaptive-sde")
    table = Table("problem", "measure", *heads, title="the quality of euler-maruyama with 1,000 evaluations takes")
    for size in dict.fromkeys(row["size"] for row in rows if row["what"] in (REACHED, NEVER)):
        found = {row["variant"]: row["value"] for row in rows if row["size"] == size and row["what"] == REACHED}
        cells = []
        for names in (FIXED, ADAPTIVE, ("adaptive-sde",)):
            least = min(((found[name], name) for name in names if name in found), default=None)
            cells.append("-" if least is None else f"{least[0]:.0f} {least[1]}, 1/{1000 / least[0]:.0f}")
        problem, _, what = size.partition("; ")
        table.add_row(problem, what, *cells)
    return table


def _grids(rows: Rows) -> list[Table]:
    groups: dict[tuple[str, str], dict[tuple[str, str], dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        problem, way, _ = row["size"].split("; ")
        budget, grid = way.split(", ")
        groups[problem, row["what"]][row["variant"], budget][grid.removesuffix(" grid")] = row["value"]
    made = []
    for (problem, what), found in groups.items():
        names = list(dict.fromkeys(name for values in found.values() for name in values))
        table = Table(Column("sampler", no_wrap=True), "budget", *names, "best", title=f"{problem}: {what}")
        for (variant, budget), values in found.items():
            cells = [f"{values[name]:.4g}" if name in values else "" for name in names]
            table.add_row(variant, budget, *cells, min(values, key=lambda name: values[name]))
        made.append(table)
    return made


def _speed(rows: Rows) -> list[Table]:
    found = _found(rows, "time", "speed", "overhead", "relative overhead", "loop", "relative to the fastest peer")
    made = []
    for where in dict.fromkeys(size for _, size in found):
        heads = ("ms", "images/s", "overhead, ms", "overhead", "loop / U-Net", "to fastest peer")
        table = Table(Column("loop", no_wrap=True), *heads, title=f"{where}; ms an evaluation")
        for (variant, size), value in found.items():
            if size != where or "time" not in value:
                continue
            cells = [f"{value['time']:.3g}", f"{value['speed']:.4g}"]
            if "overhead" in value:
                cells += [f"{value['overhead']:.2f}", f"{value['relative overhead']:.1%}"]
                cells.append(f"{value['loop']:.2%}" if "loop" in value else "")
            sampler, _, library = variant.partition(", ")
            if library == "condgen" and (sampler, where) in found:
                cells.append(f"{found[sampler, where]['relative to the fastest peer']:.2f}")
            table.add_row(variant, *cells)
        made.append(table)
    return made


_TABLES: dict[str, Callable[[Rows], list[Table]]] = {
    "tolerances": _tolerances,
    "bias": _bias,
    "quality": _quality,
    "exact": _quality,
    "grids": _grids,
    "speed": _speed,
}
