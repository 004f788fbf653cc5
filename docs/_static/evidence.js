// The evidence explorer: every stored and published number, filtered, opened, and addressable. No server, no library.
"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const FILTERS = ["origin", "paper", "study", "method", "data", "metric"];
  const SHOWN = 200; // rows drawn at once

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children.filter((child) => child !== null && child !== ""));
    return made;
  };
  const shape = (tag, attributes, text = "") => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    return made;
  };
  const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)}%`);

  // A value of a row as its metric is read: a share in per cent, anything else as it is.
  const shown = (row, value, digits = 1) => (row.share === false && value !== null ? value.toFixed(3) : percent(value, digits));

  // One row per number, ours and the papers'.
  function rows(evidence) {
    const ours = evidence.own.map((row) => ({ origin: "measured here", paper: "", ...row }));
    const theirs = evidence.published.map((row) => ({ origin: "published", study: "", attack: "", ...row }));
    return [...ours, ...theirs];
  }

  function chart(width, height, title) {
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title });
    svg.append(shape("title", {}, title));
    return svg;
  }

  // Accuracy of each class as a bar, from the most to the least frequent class.
  function classBars(run) {
    const width = Math.max(300, 16 * run.classes.length + 60), height = 170, bottom = 120, left = 36;
    const step = (width - left - 10) / run.classes.length;
    const svg = chart(width, height, `Accuracy of each class: ${run.classes.map((n, i) => `${n} ${percent(run.per_class[i], 0)}`).join(", ")}`);
    for (const level of [0, 0.5, 1]) {
      const y = bottom - 100 * level;
      svg.append(shape("line", { x1: left, x2: width - 10, y1: y, y2: y, class: "grid" }));
      svg.append(shape("text", { x: left - 4, y: y + 4, "text-anchor": "end" }, `${100 * level}`));
    }
    run.classes.forEach((name, i) => {
      const value = run.per_class[i] ?? 0, x = left + step * (i + 0.1);
      const bar = shape("rect", { x, y: bottom - 100 * value, width: 0.8 * step, height: 100 * value, class: "bar" });
      bar.append(shape("title", {}, `${name}: ${percent(run.per_class[i])} of its test images, ${run.counts[i]} training images`));
      svg.append(bar);
      if (run.classes.length <= 40)
        svg.append(shape("text", { x: 0, y: 0, transform: `translate(${x + 0.4 * step} ${bottom + 6}) rotate(50)`, class: "small" }, name));
    });
    return svg;
  }

  // Accuracy against confidence in 15 bins of equal width; the area of a point is its share of the images.
  function reliability(run) {
    const side = 170, left = 36, plot = 110, bottom = 120;
    const svg = chart(side, side, `Reliability diagram, ECE ${percent(run.ece)}`);
    const at = (x, y) => [left + plot * x, bottom - plot * y];
    const total = run.bins.reduce((sum, [n]) => sum + n, 0);
    const [x0, y0] = at(0, 0), [x1, y1] = at(1, 1);
    svg.append(shape("rect", { x: x0, y: y1, width: plot, height: plot, class: "frame" }));
    svg.append(shape("line", { x1: x0, y1: y0, x2: x1, y2: y1, class: "grid" }));
    for (const [n, confidence, accuracy] of run.bins) {
      if (!n) continue;
      const [x, y] = at(confidence, accuracy);
      const point = shape("circle", { cx: x, cy: y, r: 2 + 9 * Math.sqrt(n / total), class: "point" });
      point.append(shape("title", {}, `${n} images: confidence ${percent(confidence)}, accuracy ${percent(accuracy)}`));
      svg.append(point);
    }
    svg.append(shape("text", { x: left + plot / 2, y: bottom + 16, "text-anchor": "middle" }, "confidence"));
    svg.append(shape("text", { transform: `translate(14 ${bottom - plot / 2}) rotate(-90)`, "text-anchor": "middle" }, "accuracy"));
    return svg;
  }

  function facts(pairs) {
    const list = element("dl");
    for (const [name, value] of pairs) if (value) list.append(element("dt", {}, name), element("dd", {}, value));
    return list;
  }

  function details(row, evidence) {
    const box = element("div", { class: "evidence-detail" });
    const address = element("a", { href: `#${row.id}` }, "address of this number");
    if (row.origin === "published") {
      box.append(facts([["source", row.source], ["verified", row.verified], ["backbone", row.backbone]]), address);
      return box;
    }
    const [first] = row.runs, run = evidence.runs[first];
    box.append(
      facts([
        ["command", element("code", {}, row.command)],
        ["attack", row["attack command"] ? element("code", {}, row["attack command"]) : ""],
        ["seeds", row.runs.map((id, i) => `${evidence.runs[id].seed}: ${shown(row, row.values[i])}`).join(", ")],
        ["interval", row.low === null ? "one seed: no interval" : `${shown(row, row.low)} to ${shown(row, row.high)} (95%, Student)`],
        ["recipe", run.recipe],
        ["hardware", run.hardware],
        ["commit", run.revision],
        ["run ids", row.runs.join(", ")],
      ]),
    );
    for (const pair of row.papers)
      box.append(
        element("p", {}, `${pair.paper}, ${pair.method}: ${percent(pair.value)}; ours is ${(100 * Math.abs(pair.difference)).toFixed(1)} points ${pair.difference > 0 ? "higher" : "lower"}. `,
          pair.why ? `The two differ: ${pair.why}. ` : "", `Source: ${pair.source} (${pair.verified === "yes" ? "read" : "not verified"}).`),
      );
    const pictures = element("div", { class: "evidence-pictures" });
    if (run.per_class) pictures.append(classBars(run));
    if (run.bins) pictures.append(reliability(run));
    box.append(element("p", {}, `Predictions of seed ${run.seed}, clean test images:`), pictures, address);
    return box;
  }

  function start(evidence) {
    const place = document.getElementById("evidence-explorer");
    const all = rows(evidence);
    const byId = new Map(all.map((row) => [row.id, row]));
    const chosen = Object.fromEntries(FILTERS.map((name) => [name, ""]));
    const search = element("input", { type: "search", placeholder: "search in all columns", "aria-label": "search in all columns" });
    const selects = FILTERS.map((name) => element("select", { "aria-label": name, "data-filter": name }));
    const count = element("p", { role: "status" });
    const body = element("tbody");
    const head = element("thead", {}, element("tr", {}, ...["", "source", "method", "data", "IF", "metric", "value"].map((t) => element("th", { scope: "col" }, t))));
    place.replaceChildren(element("div", { class: "evidence-filters" }, search, ...selects), count, element("table", { class: "evidence-table" }, head, body));

    const open = new Set();
    const matches = (row) =>
      FILTERS.every((name) => !chosen[name] || row[name] === chosen[name]) &&
      search.value.toLowerCase().split(/\s+/).every((word) => JSON.stringify(Object.values(row)).toLowerCase().includes(word));

    function line(row) {
      const isOpen = open.has(row.id);
      const button = element("button", { type: "button", "aria-expanded": isOpen, "aria-label": `details of ${row.method}, ${row.metric}` }, isOpen ? "–" : "+");
      const value = row.origin === "published" ? percent(row.value, 2) : `${shown(row, row.mean)}${row.sd === null ? "" : ` ± ${row.share === false ? row.sd.toFixed(3) : (100 * row.sd).toFixed(1)}`} (n = ${row.runs.length})`;
      const where = row.origin === "published" ? row.paper : row.study;
      const tr = element("tr", { id: row.id, "data-id": row.id },
        element("td", {}, button), ...[where, row.method, row.data, row.IF, row.attack ? `${row.metric} (${row.attack})` : row.metric].map((t) => element("td", {}, String(t))),
        element("td", { class: "value" }, value));
      button.addEventListener("click", () => {
        if (!open.delete(row.id)) open.add(row.id);
        if (open.has(row.id)) history.replaceState(null, "", `#${row.id}`);
        draw();
        body.querySelector(`[data-id="${CSS.escape(row.id)}"] button`)?.focus();
      });
      return isOpen ? [tr, element("tr", {}, element("td", { colspan: 7 }, details(row, evidence)))] : [tr];
    }

    function draw() {
      for (const select of selects) {
        const name = select.dataset.filter;
        const others = all.filter((row) => FILTERS.every((f) => f === name || !chosen[f] || row[f] === chosen[f]));
        const values = [...new Set(others.map((row) => row[name]).filter(Boolean))].sort();
        select.replaceChildren(element("option", { value: "" }, `every ${name}`), ...values.map((v) => element("option", { value: v }, v)));
        select.value = chosen[name];
      }
      const found = all.filter(matches);
      const drawn = found.slice(0, SHOWN);
      count.textContent = `${found.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} numbers${found.length > SHOWN ? `; the first ${SHOWN} are shown, filter to see the rest` : ""}`;
      body.replaceChildren(...drawn.flatMap(line));
    }

    function follow() {
      const hash = decodeURIComponent(location.hash.slice(1));
      const [name, value] = hash.split("=");
      if (value !== undefined && FILTERS.includes(name)) {
        for (const filter of FILTERS) chosen[filter] = "";
        chosen[name] = value;
      } else if (byId.has(hash)) {
        const row = byId.get(hash);
        for (const filter of FILTERS) chosen[filter] = "";
        search.value = "";
        for (const filter of ["origin", "study", "paper", "metric", "method"]) if (row[filter]) chosen[filter] = row[filter];
        open.add(hash);
      }
      draw();
      document.getElementById(hash)?.scrollIntoView({ block: "center" });
    }

    search.addEventListener("input", draw);
    for (const select of selects)
      select.addEventListener("change", () => {
        chosen[select.dataset.filter] = select.value;
        draw();
      });
    window.addEventListener("hashchange", follow);
    follow();
  }

  document.addEventListener("DOMContentLoaded", () => start(window.EVIDENCE));
})();
