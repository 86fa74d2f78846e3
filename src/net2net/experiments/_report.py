"""The report of an experiment: a page, figures, tables for documents, and the numbers."""

from __future__ import annotations

import json
from pathlib import Path

from net2net.errors import MissingExtraError
from net2net.experiments._figures import compute, learning_curves
from net2net.experiments._page import page
from net2net.experiments._results import Results
from net2net.experiments._summary import Summary, summarise
from net2net.experiments._tables import markdown
from net2net.report import svg

_FIGURES = {
    "compute": (compute, "Final scores against compute, the teacher free and counted"),
    "curves": (learning_curves, "Learning curves against steps, FLOPs and time"),
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
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("reports need matplotlib: install net2net[experiments].") from error
    folder = Path(folder)
    summary = summarise(results)
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[tuple[str, str], str] = {}
    for group in summary.groups:
        for kind, (draw, description) in _FIGURES.items():
            name = f"{kind}-{group.name}"
            # Text stays text, which is small and can be searched; figures on one page need ids of their own.
            with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"net2net {name}"}):
                figure = draw(results, group)
                figure.savefig(folder / f"{name}.png")
                pictures[kind, group.name] = svg(figure, f"{description}: {group.name}")
            (folder / f"{name}.svg").write_text(pictures[kind, group.name])
    (folder / "report.html").write_text(page(summary, pictures))
    (folder / "table.md").write_text(markdown(summary))
    (folder / "summary.json").write_text(json.dumps(summary.as_json(), indent=2, allow_nan=False) + "\n")
    return summary
