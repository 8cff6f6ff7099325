// What the theme and its extensions leave to be mended in the page. Without it all can still be read.
"use strict";
(() => {
  // A browser forbids a page on disk to fetch another one, which Sphinx does to quote from it
  // beneath a result of a search. Without quotations the search finds the same.
  if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  // The name that is read aloud has to be the one that is seen.
  const mendNames = () => {
    for (const seen of document.querySelectorAll("summary[aria-label], .search-button-field[aria-label]"))
      seen.removeAttribute("aria-label");
    // One of three icons shows; the button has a name of its own. Icons become pictures later.
    for (const icon of document.querySelectorAll(".theme-switch-button :is(i, svg)")) {
      icon.querySelector("title")?.remove();
      icon.removeAttribute("title");
      icon.removeAttribute("aria-labelledby");
      icon.setAttribute("aria-hidden", "true");
    }
    // A list holds items of lists alone.
    for (const entry of document.querySelectorAll(".citation-list > .citation"))
      entry.setAttribute("role", "listitem");
  };

  // A line may break on either side of a formula in a sentence, even before a comma. What is written
  // close to the formula stays with it.
  const keepTogether = () => {
    for (const formula of document.querySelectorAll(".bd-article span.math")) {
      const [before, after] = [formula.previousSibling, formula.nextSibling];
      const opening = before?.nodeType === Node.TEXT_NODE && before.data.match(/[(\[“‘]+$/)?.[0];
      const closing = after?.nodeType === Node.TEXT_NODE && after.data.match(/^[.,;:!?)\]”’]+/)?.[0];
      if (!opening && !closing) continue;
      const together = document.createElement("span");
      together.className = "srnn-together";
      formula.before(together);
      together.append(opening || "", formula, closing || "");
      if (opening) before.data = before.data.slice(0, -opening.length);
      if (closing) after.data = after.data.slice(closing.length);
    }
  };

  // What scrolls sideways within its box can be reached, and so scrolled, by the keyboard.
  const boxes =
    ".bd-article :is(pre, mjx-container:is([display], .srnn-wide), .output, .cell_output, figure, " +
    ".pst-scrollable-table-container)";
  const mendReach = () => {
    for (const formula of document.querySelectorAll(".bd-article mjx-container:not([display])")) {
      const room = formula.closest("p, li, dd, figcaption")?.clientWidth;
      const wide = room && formula.firstElementChild.getBoundingClientRect().width > room;
      formula.classList.toggle("srnn-wide", Boolean(wide));
    }
    for (const box of document.querySelectorAll(boxes)) {
      const scrolls = box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX === "auto";
      if (scrolls) box.tabIndex = 0;
      else if (box.tabIndex === 0) box.tabIndex = -1;
    }
  };

  let waiting = 0;
  const later = () => {
    clearTimeout(waiting);
    waiting = setTimeout(mendReach, 100);
  };
  addEventListener("DOMContentLoaded", () => {
    mendNames();
    keepTogether();
  });
  addEventListener("load", () => {
    mendNames();
    mendReach();
    window.MathJax?.startup?.promise?.then(mendReach);
    // Solutions and hidden code open, and a phone is turned.
    document.addEventListener("click", later);
    document.addEventListener("toggle", later, true);
    addEventListener("resize", later);
  });

  // Paper is white.
  let theme = "";
  addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    for (const hidden of document.querySelectorAll("article details:not([open])")) {
      hidden.open = true;
      hidden.dataset.srnnPrinted = "";
    }
  });
  addEventListener("afterprint", () => {
    document.documentElement.dataset.theme = theme;
    for (const shown of document.querySelectorAll("[data-srnn-printed]")) {
      shown.open = false;
      delete shown.dataset.srnnPrinted;
    }
  });
})();
