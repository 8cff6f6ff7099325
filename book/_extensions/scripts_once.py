"""Each script once on a page.

Scripts that an extension adds while the build begins are put on every page twice, by the
registry of extensions and by the builder.  One that declares a constant then fails the second time.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def keep_one(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Drop the scripts of a page that are there already, without a file as None or as ''."""
    found: dict[Any, Any] = {}
    for script in context["script_files"]:
        found.setdefault((script.filename or "", *sorted(script.attributes.items())), script)
    context["script_files"] = list(found.values())


def setup(app: Sphinx) -> dict[str, bool]:
    """Listen to Sphinx, which calls this when the build begins."""
    # After the others: some of them add a script to one page only.
    app.connect("html-page-context", keep_one, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
