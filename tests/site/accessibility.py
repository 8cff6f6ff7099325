"""What axe-core says of the page that a browser shows, for readers who do not see it well."""

from collections.abc import Callable
from pathlib import Path

from browsing import theme, until
from selenium.webdriver.chrome.webdriver import WebDriver

AXE = Path(__file__).parent / "axe" / "axe.min.js"
VARIANTS = [("desktop", "light"), ("desktop", "dark"), ("phone", "dark"), ("phone", "light")]

# Hidden code and solutions are opened, and nothing takes its time.
OPEN_ALL = """
document.head.appendChild(document.createElement("style")).textContent =
  "*, ::before, ::after { transition: none !important; animation: none !important }";
for (const code of document.querySelectorAll("article details")) code.open = true;
for (const button of document.querySelectorAll(".dropdown.toggle-hidden button.toggle-button"))
  button.click();
"""

# Axe looks at each node by itself, so that a page takes it a time that grows faster than the page.
# Of a kind of node is what a rule can tell apart: its tag, its classes and roles, and those of all
# that it lies within. A formula is hundreds of nodes in the colour of its line, and a line of code
# has a node a word: for axe the letters of a formula, and of a word of a kind that came before,
# stand in as text.
PLAIN_WORDS = """
for (const formula of document.querySelectorAll("mjx-container"))
  formula.replaceWith(formula.textContent);
const marks = ["class", "style", "role", "type", "aria-hidden"];
window.kindOf = new Map([[document.body, ""]]);
for (const node of document.body.querySelectorAll("*")) {
  const own = marks.map(mark => node.getAttribute(mark) || "");
  const place = node.matches("tr") ? [...node.parentElement.children].indexOf(node) % 2 : "";
  window.kindOf.set(node, [kindOf.get(node.parentElement), node.tagName, ...own, place].join("|"));
}
const seen = new Set();
for (const word of document.querySelectorAll("article :is(span, em, strong)")) {
  const bare = [...word.attributes].every(({name}) => name === "class");
  if (bare && !word.childElementCount && seen.has(kindOf.get(word)))
    word.replaceWith(word.textContent);
  else seen.add(kindOf.get(word));
}
"""

# Leave of the page one of each kind: what is removed has nothing within it of which there is not
# another before, and names nothing that stays. What a list or a table needs to be one is kept.
ONE_OF_EACH_KIND = """
const named = new Set();
for (const node of document.querySelectorAll("[for], [aria-labelledby], [aria-controls]"))
  for (const mark of ["for", "aria-labelledby", "aria-controls"])
    for (const name of (node.getAttribute(mark) || "").split(" ")) named.add(name);
const seen = new Set();
const prune = node => {
  const every = [node, ...node.querySelectorAll("*")];
  const needed = node.matches("dt, dd, th, td, thead, tbody, colgroup, col, caption, svg *")
    || every.some(part => part.id && named.has(part.id));
  if (!needed && every.every(part => seen.has(kindOf.get(part)))) return node.remove();
  seen.add(kindOf.get(node));
  for (const part of [...node.children]) prune(part);
};
prune(document.body);
"""

# Of each rule that is broken: how badly, and where first.
RUN_AXE = """
const [rules, done] = arguments;
const say = rule => `${rule.impact} ${rule.id} (${rule.nodes.length}): ` +
  rule.nodes[0].html.slice(0, 150) + " " + rule.nodes[0].failureSummary;
axe.run(document, {resultTypes: ["violations"], preload: false, ...rules})
  .then(found => done(found.violations.map(say)), error => done([`critical ${error}`]));
"""
SCROLLING = {"runOnly": ["scrollable-region-focusable"]}


def faults(reader: Callable[..., WebDriver]) -> dict[tuple[str, str], list[str]]:
    """Return what axe calls a serious or critical fault of the page, by size and colours.

    The whole page as a desktop shows it in the light, and one of each kind of its elements in the
    other ways. The page is not to be used afterwards.
    """
    found = {}
    for number, (size, scheme) in enumerate(VARIANTS):
        browser = reader(size, color_scheme=scheme, reduced_motion="reduce")
        if number < 2:
            browser.execute_script([OPEN_ALL + PLAIN_WORDS, ONE_OF_EACH_KIND][number])
        if number == 0:
            browser.execute_script(AXE.read_text(encoding="utf-8"))
        assert until(browser, lambda b=browser, s=scheme: theme(b) == s)
        # The page puts what scrolls in reach a moment after it has opened or got another width.
        until(browser, lambda b=browser: not b.execute_async_script(RUN_AXE, SCROLLING))
        said = browser.execute_async_script(RUN_AXE, {})
        if serious := [fault for fault in said if fault.startswith(("serious", "critical"))]:
            found[size, scheme] = serious
    return found
