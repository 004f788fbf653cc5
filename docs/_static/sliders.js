// Figures under controls, without a kernel: every frame was drawn when the lesson was built.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll("div.frames")) {
    const { controls, start, frames } = window.FRAMES[box.dataset.frames];
    const image = box.querySelector("img");
    const names = Object.keys(controls);
    const chosen = names.map((name, i) => controls[name].indexOf(start[i]));
    const show = () => {
      const place = names.reduce((sum, name, i) => sum * controls[name].length + chosen[i], 0);
      image.src = `data:image/png;base64,${frames[place]}`;
    };
    names.forEach((name, i) => {
      const values = controls[name];
      const label = document.createElement("label");
      const value = document.createElement("output");
      const numbers = values.every((v) => typeof v === "number");
      const input = document.createElement(numbers ? "input" : "select");
      if (numbers) Object.assign(input, { type: "range", min: 0, max: values.length - 1, step: 1, value: chosen[i] });
      else values.forEach((v, k) => input.add(new Option(v, k, k === chosen[i], k === chosen[i])));
      value.textContent = numbers ? values[chosen[i]] : "";
      input.setAttribute("aria-label", name.replaceAll("_", " "));
      input.addEventListener("input", () => {
        chosen[i] = Number(input.value);
        value.textContent = numbers ? values[chosen[i]] : "";
        show();
      });
      label.append(name.replaceAll("_", " "), input, value);
      image.before(label);
    });
  }
});
