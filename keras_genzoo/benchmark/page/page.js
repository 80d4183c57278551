"use strict";
// Sorts and filters tables, enlarges pictures, copies texts, and draws the plots.
(() => {
  const root = document.documentElement;
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

  // The light and the dark page. Print is always light.
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // A click on a head sorts by it, the better end first where an arrow tells it; a second click turns the order.
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const text = cell ? cell.textContent.trim() : "";
    if (cell && cell.dataset.value !== undefined) return {rank: 0, value: Number(cell.dataset.value)};
    return text === "–" || text === "" ? {rank: 2} : {rank: 1, value: text};
  };
  const compare = (a, b, sign) => {
    if (a.rank !== b.rank) return a.rank - b.rank;
    if (a.rank === 2) return 0;
    return sign * (a.rank === 0 ? a.value - b.value : a.value.localeCompare(b.value, undefined, {numeric: true}));
  };
  const sort = (head) => {
    const table = head.closest("table");
    const heads = all("thead th", table);
    const column = heads.indexOf(head);
    const first = head.querySelector(".arrow")?.textContent === "↑" ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of heads) each.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const sorted = rows.filter((row) => !row.classList.contains("failed"));
    sorted.sort((a, b) => compare(valueOf(a, column), valueOf(b, column), sign));
    body.append(...sorted, ...rows.filter((row) => row.classList.contains("failed")));
  };
  for (const head of all("table.sorts thead th")) head.querySelector("button").addEventListener("click", () => sort(head));

  // What the words of the filter, and the pressed names beside the plots, leave of the models.
  const views = [];
  const filter = document.getElementById("filter");
  const keys = all(".key button");
  const names = [...new Set(keys.map((key) => key.dataset.model))];
  const matches = (name) => {
    const words = filter ? filter.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
    return words.every((word) => name.toLowerCase().includes(word));
  };
  const shownInPlots = () => {
    const pressed = keys.filter((key) => key.getAttribute("aria-pressed") === "true").map((key) => key.dataset.model);
    const chosen = names.filter((name) => matches(name) && (!pressed.length || pressed.includes(name)));
    if (chosen.length === names.length) return [];
    return chosen.length ? chosen : [""]; // no model has an empty name
  };
  const show = (view) => view.signal("shown", shownInPlots()).runAsync();
  const update = () => {
    for (const each of all("[data-model]")) each.hidden = !matches(each.dataset.model);
    for (const view of views) show(view);
  };
  if (filter) filter.addEventListener("input", update);
  for (const key of keys) {
    key.addEventListener("click", () => {
      const pressed = String(key.getAttribute("aria-pressed") !== "true");
      for (const each of keys.filter((other) => other.dataset.model === key.dataset.model)) each.setAttribute("aria-pressed", pressed);
      update();
    });
  }

  // Pictures at a size at which pixels can be counted.
  const zoom = document.getElementById("zoom");
  for (const button of all(".zooms")) {
    button.addEventListener("click", () => {
      const image = button.querySelector("img");
      zoom.querySelector("img").src = image.src;
      zoom.querySelector("img").alt = image.alt;
      zoom.querySelector("p").textContent = image.alt;
      zoom.showModal();
    });
  }

  // Where there is no clipboard, the text is selected for the user's own copy.
  const select = (place) => getSelection().selectAllChildren(place);
  for (const button of all(".copy")) {
    button.addEventListener("click", () => {
      const place = button.parentElement.querySelector("pre");
      const done = () => { button.textContent = "Copied"; };
      if (navigator.clipboard) navigator.clipboard.writeText(place.textContent).then(done, () => select(place));
      else select(place);
    });
  }

  // The plots take the colours of the text, so that a change of the page's colours needs no drawing.
  const draw = async () => {
    const specs = JSON.parse(document.getElementById("specs").textContent);
    const config = {background: "transparent", font: getComputedStyle(document.body).fontFamily, legend: {disable: true}};
    for (const place of all(".plot")) {
      const spec = {...specs[place.dataset.plot], width: "container"};
      const options = {renderer: "svg", actions: false, defaultStyle: false, config};
      const {view} = await vegaEmbed(place, spec, options);
      if ("chooses" in place.dataset) {
        views.push(view);
        await show(view);
      }
    }
  };
  if (document.getElementById("specs")) draw().then(() => { root.dataset.plots = "drawn"; });
})();
