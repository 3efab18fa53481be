"""HTML of a report: text, tables and pictures that are part of the page.

Whatever is put into a page is escaped (names of variables and components may hold anything), except what is
`markupsafe.Markup` already. Nothing is loaded from elsewhere: pictures are embedded, and the page forbids browsers to
fetch or run anything.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Column",
    "Html",
    "PageSection",
    "embedded",
    "fold_out",
    "joined",
    "listed",
    "page",
    "paragraph",
    "plain_text",
    "table",
]

Html = Markup

_DPI = 110
_WIDE, _LARGE = 1.9, 1000
"""Pictures wider than the one times their height or the other [pixels] keep a width to be read at, and scroll."""


@dataclass(frozen=True)
class Column:
    """Heading of a column of a table.

    Parameters
    ----------
    title : str
        The heading.
    number : bool
        Whether it holds numbers, which are aligned at their right.
    """

    title: str
    number: bool = False


@dataclass(frozen=True)
class PageSection:
    """A section as it stands on the page.

    Parameters
    ----------
    title : str
        Its heading.
    content : Html
        What is below.
    complete : bool
        Whether it has the content that it is for, and not only the reason why not.
    """

    title: str
    content: Html
    complete: bool = True


def joined(*parts: Html) -> Html:
    """Pieces of a page, one after the other."""
    return Html("\n").join(parts)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a sentence, no more than some of them.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def paragraph(text: str) -> Html:
    """A paragraph of text.

    Examples
    --------
    >>> paragraph("E < 1 TeV")
    Markup('<p>E &lt; 1 TeV</p>')
    """
    return Html("<p>{}</p>").format(text)


def plain_text(text: str, label: str) -> Html:
    """Text as it is in a file, in a box that scrolls."""
    return Html('<pre class="scroll" tabindex="0" role="region" aria-label="{}">{}</pre>').format(label, text)


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]], *, shown: int | None = None) -> Html:
    """Table in a box that scrolls by itself.

    Parameters
    ----------
    caption : str
        What it shows.
    columns : sequence of Column
        Headings. The first column names the rows.
    rows : iterable of sequences
        Cells.
    shown : int, optional
        Rows that are seen at once; the others are folded away. Default: all.
    """
    every = [tuple(row) for row in rows]
    if shown is None or len(every) <= shown:
        return _box(caption, columns, every)
    rest = fold_out(f"{len(every) - shown} more rows", _box(f"{caption}: more", columns, every[shown:]))
    return joined(_box(f"{caption} (the first {shown} of {len(every)})", columns, islice(every, shown)), rest)


def fold_out(summary: str, content: Html) -> Html:
    """Content that is shown on demand."""
    return Html("<details><summary>{}</summary>\n{}\n</details>").format(summary, content)


def embedded(figure: "Figure", text: str) -> Html:
    """A picture that is part of the page; closes the figure.

    Parameters
    ----------
    figure : `~matplotlib.figure.Figure`
        The picture.
    text : str
        What it shows, in words: its caption, and for readers who cannot see it.
    """
    import matplotlib.pyplot as plt

    try:
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=_DPI, facecolor="white", bbox_inches="tight")
    finally:
        plt.close(figure)
    # at these bytes a PNG says its size
    width, height = (int.from_bytes(content.getvalue()[start : start + 4]) for start in (16, 20))
    wide = " wide" if width > min(_WIDE * height, _LARGE) else ""
    data = base64.b64encode(content.getvalue()).decode()
    return Html(
        '<figure><div class="scroll{}" tabindex="0" role="region" aria-label="Picture">'
        '<img src="data:image/png;base64,{}" width="{}" height="{}" alt="{}"></div>'
        "<figcaption>{}</figcaption></figure>"
    ).format(wide, data, width, height, text, text)


def page(title: str, subtitle: str, sections: Sequence[PageSection]) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("pymc_gamma.analysis", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(title=title, subtitle=subtitle, sections=sections)


def _box(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> Html:
    classes = [Html(' class="number"') if column.number else Html("") for column in columns]
    head = Html("").join(
        Html('<th scope="col"{}>{}</th>').format(one, column.title.replace("-", "\N{NON-BREAKING HYPHEN}"))
        for one, column in zip(classes, columns, strict=True)
    )
    body = Html("\n").join(Html("<tr>{}</tr>").format(_cells(row, classes)) for row in rows)
    return Html(
        '<div class="scroll" tabindex="0" role="region" aria-label="{0}"><table><caption>{0}</caption>'
        "<thead><tr>{1}</tr></thead>\n<tbody>\n{2}\n</tbody></table></div>"
    ).format(caption, head, body)


def _cells(row: Sequence[Any], classes: Sequence[Html]) -> Html:
    first, *rest = zip(row, classes, strict=True)
    name = Html('<th scope="row"{}>{}</th>').format(first[1], escape(first[0]))
    return name + Html("").join(Html("<td{}>{}</td>").format(one, escape(cell)) for cell, one in rest)
