"""The two template environments: one escapes for HTML, the other for Markdown, each whatever a template prints."""

import html
import re
from functools import cache

import jinja2
from markupsafe import Markup

from kubetune_api import text
from kubetune_api.metrics import metric_text
from kubetune_api.numbers import number
from kubetune_trainer.report.verdict import bounds, shown_value

_MARKDOWN = re.compile(r"([\\`*_\[\]|~$#])")


@cache
def html_environment() -> jinja2.Environment:
    """Templates of HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kubetune_trainer.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"tenant": tenant_html, **_words()}
    return environment


@cache
def markdown_environment() -> jinja2.Environment:
    """Templates of Markdown; Jinja's own escaping knows HTML only, so `finalize` sees to each printed value."""
    environment = jinja2.Environment(  # noqa: S701 - see above
        loader=jinja2.PackageLoader("kubetune_trainer.report"),
        finalize=_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": code, "fenced": fenced, **_words()}
    return environment


def tenant_html(value: str, limit: int = text.MAX_SHOWN) -> Markup:
    """A tenant's text, shortened, with more of it in the tooltip, and kept from turning the words around it about."""
    whole = text.printable(value)
    shown = text.elide(whole, limit)
    if not shown.strip():
        return Markup('<i class="muted">(blank)</i>')
    title = Markup(' title="{}"').format(text.elide(whole, text.MAX_TITLE)) if shown != whole else ""
    return Markup("<bdi{}>{}</bdi>").format(title, shown)


def code(value: str, limit: int = text.MAX_SHOWN) -> Markup:
    """A tenant's text as a code span, in which Markdown reads nothing, fit for a cell of a table."""
    shown = text.elide(text.printable(value), limit).strip() or "(blank)"
    fence = "`" * (_longest_run(shown) + 1)
    # A table is split at its pipes before code is looked at, and a backslash is the only way to keep one.
    padded = f" {shown} " if "`" in shown else shown
    return Markup(f"{fence}{padded}{fence}".replace("|", "\\|"))  # noqa: S704


def fenced(value: str, language: str) -> Markup:
    """A fenced block that no line of `value` can end."""
    fence = "`" * max(3, _longest_run(value) + 1)
    return Markup(f"{fence}{language}\n{value.rstrip()}\n{fence}")  # noqa: S704


def _longest_run(value: str) -> int:
    return max((len(run) for run in re.findall("`+", value)), default=0)


def _markdown(value: object) -> object:
    if isinstance(value, Markup | jinja2.Undefined):
        return value
    # Markdown first: the other way about, the mark before a `#` would break what stands for a quote.
    return html.escape(_MARKDOWN.sub(r"\\\1", text.printable(str(value))), quote=False)


def _metric(value: float, name: str) -> str:
    return metric_text(name, value)


def _words() -> dict[str, object]:
    return {
        "bounds": bounds,
        "count": text.count,
        "duration": text.duration,
        "elide": text.elide,
        "magnitude": text.magnitude,
        "metric": _metric,
        "number": number,
        "percent": text.percent,
        "plural": text.plural,
        "printable": text.printable,
        "shown_value": shown_value,
        "size": text.size,
        "visible": text.visible,
    }
