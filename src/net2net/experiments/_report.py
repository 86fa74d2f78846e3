"""The report of an experiment: a page, figures, a table for documents, and the numbers."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path

import net2net
from net2net.experiments._figures import colour, compute, learning_curves
from net2net.experiments._findings import findings, ratio, score
from net2net.experiments._results import Results
from net2net.experiments._statistics import ArmSummary, GroupSummary, Summary, is_grown, summarise
from net2net.report._html import table
from net2net.report._style import STYLE
from net2net.report._svg import svg

_CAPTIONS = {
    "compute": "Each point is the end of whole runs, whose learning rate fell to zero at that budget: the mean of the "
    "seeds with its 95 % interval. The last square of random initialisation has the teacher's FLOPs added. Dashed: "
    "what random initialisation ends at with its full budget; dotted: what the teacher ended at.",
    "curves": "The longest run of every arm (random initialisation with the teacher's FLOPs added): the mean of the "
    "seeds in a band from the lowest to the highest. In the columns of FLOPs and seconds, what grew starts where the "
    "teacher ended. Dotted: what the teacher ended at.",
}


def write_report(results: Results, folder: Path | str) -> Summary:
    """Write report.html, the figures as SVG and PNG, table.md and summary.json into a folder.

    Args:
        results: finished or not; what is missing is named.
        folder: where the files go; it is made if it isn't there.

    Returns:
        What the results say.

    Raises:
        MissingExtraError: matplotlib or scipy is not installed.

    Example:
        >>> from net2net.experiments import read
        >>> write_report(read(Path("reproduced/wider/results.jsonl")), "reproduced/wider")  # doctest: +SKIP
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarise(results)
    pictures: dict[tuple[str, str], str] = {}
    for group in summary.groups:
        for kind, draw in (("compute", compute), ("curves", learning_curves)):
            figure = draw(results, summary, group)
            figure.savefig(folder / f"{kind}-{group.name}.png")
            pictures[kind, group.name] = _small(svg(figure, f"{kind} of {group.name}"))
            (folder / f"{kind}-{group.name}.svg").write_text(pictures[kind, group.name])
    (folder / "report.html").write_text(_page(summary, pictures))
    (folder / "table.md").write_text(markdown(summary))
    (folder / "summary.json").write_text(json.dumps(summary.as_json(), indent=2, allow_nan=False) + "\n")
    return summary


def markdown(summary: Summary) -> str:
    """The findings and the table of every group, for a document."""
    parts = []
    for group in summary.groups:
        headers, rows = cells(group, summary)
        lines = [headers, ["---"] * len(headers), *rows]
        parts.append(f"**{group.name}**\n\n" if len(summary.groups) > 1 else "")
        parts.append("".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n")
        parts.append("".join(f"- {line}\n" for line in findings(group, summary.header.metric)) + "\n")
    if summary.missing:
        parts.append(f"Not finished: {', '.join(summary.missing)}.\n")
    return "".join(parts).rstrip() + "\n"


def cells(group: GroupSummary, summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of a group's table."""
    metric = summary.header.metric
    budgets = sorted({b for arm in group.arms if is_grown(arm.key) for b in arm.ends})
    headers = [
        "start", "rate", "error", "before training", *(f"end at {b:g}" for b in budgets), "longest run",
        "steps to scratch's score", "FLOPs, teacher free", "FLOPs, teacher counted",
    ]  # fmt: skip
    return headers, [_row(arm, budgets, metric) for arm in group.arms]


def _row(arm: ArmSummary, budgets: list[float], metric: str) -> list[str]:
    longest = max(arm.ends)
    own_steps = not arm.key.startswith("continued")
    return [
        arm.label,
        f"{arm.rate:g}",
        "" if arm.error is None else f"{arm.error:.0e}",
        score(arm.start, metric),
        *(score(arm.ends[b], metric) if b in arm.ends else "" for b in budgets),
        "" if longest in budgets else f"{score(arm.ends[longest], metric)} at {longest:.2f}",
        ratio(arm.steps) if own_steps else "",
        ratio(arm.flops),
        ratio(arm.flops_counted),
    ]


def _page(summary: Summary, pictures: dict[tuple[str, str], str]) -> str:
    header = summary.header
    missing = f"<p>Not finished yet: {escape(', '.join(summary.missing))}.</p>" if summary.missing else ""
    sections = "".join(_section(group, summary, pictures) for group in summary.groups)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>net2net: {escape(header.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<p class="brand">net2net {escape(net2net.__version__)} reproduce {escape(header.experiment)}</p>
<h1>{escape(header.title)}</h1>
<p class="lead">{escape(header.data)}; {len(header.seeds)} seeds; {header.steps:,} training steps from random
initialisation.</p>
{missing}
</header>
{sections}
<section>
<h2>Learning rates</h2>
<p>Each arm has the best of these, at {header.settings.get("choice_budget", "")} of the steps, on examples held out of
the training data, with a seed that is not reported.</p>
{_rates(summary)}
</section>
<section>
<h2>How it was done</h2>
<p>Every run has a learning rate that ends at zero at the end of its own budget, a fraction of the steps that random
initialisation gets. A ratio says how much of these steps or FLOPs an arm needs until its end score is what random
initialisation ends at, interpolated between its budgets; below its smallest budget from its score before training.
± is half a 95 % t-interval over the seeds, which differ in the teacher, the new weights and the order of the data.</p>
<pre>{escape(json.dumps(dict(header.settings), indent=1))}</pre>
</section>
</main>
</body>
</html>
"""


def _section(group: GroupSummary, summary: Summary, pictures: dict[tuple[str, str], str]) -> str:
    headers, rows = cells(group, summary)
    marked = [
        [f'<span class="dot" style="background:{colour(arm.key, group.name)}"></span>{escape(row[0])}', *row[1:]]
        for arm, row in zip(group.arms, rows, strict=True)
    ]
    lines = "".join(f"<li>{escape(line)}</li>" for line in findings(group, summary.header.metric))
    figures = "".join(
        f"<figure>{pictures[kind, group.name]}<figcaption>{_CAPTIONS[kind]}</figcaption></figure>"
        for kind in ("compute", "curves")
    )
    return f"""<section>
<h2>{escape(group.name.capitalize())}</h2>
<ul>{lines}</ul>
<h3>Every arm</h3>
{table(headers, marked, range(1, len(headers)))}
{figures}
</section>
"""


def _rates(summary: Summary) -> str:
    metric = summary.header.metric
    rows = []
    for group in summary.groups:
        for arm in group.arms:
            tried = [
                f"<b>{_number(value, metric)}</b>" if rate == arm.rate else _number(value, metric)
                for rate, value in arm.tried.items()
            ]
            rows.append([escape(f"{arm.label} ({group.name})"), *tried])
    rates = sorted(summary.header.rates, reverse=True)
    return table(["start", *(f"{rate:g}" for rate in rates)], rows, range(1, len(rates) + 1))


def _number(value: float, metric: str) -> str:
    return f"{100 * value:.1f} %" if metric == "accuracy" else f"{value:.3f}"


def _small(text: str) -> str:
    """Coordinates to a hundredth of a point."""
    return re.sub(r"(\d+\.\d{2})\d+", r"\1", text)
