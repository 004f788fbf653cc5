// Marks the first occurrence of each glossary term on a page and shows its definition on hover.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector("article.bd-article");
  const root = document.documentElement.dataset.content_root || "./";
  if (!article || !window.GLOSSARY || location.pathname.endsWith("/glossary.html")) return;

  // An abbreviation is written in capitals: IF is the imbalance factor, "if" is not.
  const isShort = (word) => word === word.toUpperCase();
  const entries = new Map();
  for (const entry of window.GLOSSARY)
    for (const word of entry.words) entries.set(isShort(word) ? word : word.toLowerCase(), entry);
  const longestFirst = [...entries.keys()].sort((a, b) => b.length - a.length);
  const escaped = longestFirst.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(`(?<![\\w-])(?:${escaped.join("|")})s?(?![\\w-])`, "i");

  const tip = Object.assign(document.createElement("div"), { className: "term-definition", id: "term-definition", hidden: true });
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  // Below the term, or above it where the window ends, and never beyond its edges.
  const show = (link, entry) => {
    tip.textContent = entry.text;
    tip.hidden = false;
    const term = link.getBoundingClientRect(), room = document.documentElement;
    const below = term.bottom + 4;
    tip.style.left = `${Math.max(8, Math.min(term.left, room.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${below + tip.offsetHeight < room.clientHeight ? below : term.top - tip.offsetHeight - 4}px`;
  };
  const hide = () => (tip.hidden = true);
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());

  const marked = new Set();
  const skip = "a, code, pre, h1, h2, h3, h4, h5, .math, .cell_output, .cell_input, button, label, table";
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) if (!walker.currentNode.parentElement.closest(skip)) texts.push(walker.currentNode);
  for (let node of texts) {
    for (let match = pattern.exec(node.data); match; match = node && pattern.exec(node.data)) {
      const word = match[0];
      const entry = [word, word.toLowerCase()].flatMap((w) => [w, w.replace(/s$/, "")]).map((w) => entries.get(w)).find(Boolean);
      const found = node.splitText(match.index);
      node = found.splitText(match[0].length);
      if (!entry || marked.has(entry)) continue;
      marked.add(entry);
      const link = document.createElement("a");
      link.className = "term";
      link.href = `${root}notebooks/guide/glossary.html#${entry.anchor}`;
      link.setAttribute("aria-describedby", tip.id);
      for (const event of ["mouseenter", "focus"]) link.addEventListener(event, () => show(link, entry));
      for (const event of ["mouseleave", "blur"]) link.addEventListener(event, hide);
      link.textContent = match[0];
      found.replaceWith(link);
    }
  }
});
