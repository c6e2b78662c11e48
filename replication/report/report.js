"use strict";
const $ = (id) => document.getElementById(id);

// Colours: the system's until somebody chooses; the choice is kept where the browser allows it.
const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const nameTheme = () => { $("theme").textContent = dark() ? "Light" : "Dark"; $("theme").setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`); };
$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  try { localStorage.setItem("replication-theme", document.documentElement.dataset.theme); } catch { /* holds as long as the page */ }
  nameTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
nameTheme();

// Search: the index is a script, because pages on disk may not fetch; it is read when the field is first used.
const LIMIT = 40, AROUND = 70;
let reading = null;
function index() {
  reading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "search.js";
    script.onload = () => resolve(SEARCH.map(([url, title, anchor, heading, text]) => ({ url: anchor ? `${url}#${anchor}` : url, title, heading, text, plain: [heading, title, text].map(plain) })));
    script.onerror = reject;
    document.head.append(script);
  });
  return reading;
}
// Text without case and punctuation between words, so that "StyA2K Table 1" is found in "StyA2K, Table 1".
const plain = (text) => text.toLowerCase().replace(/[\s,;:()"“”]+/g, " ").trim();
function marked(text, words) {
  const parts = document.createDocumentFragment(), pattern = new RegExp(words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "gi");
  let end = 0;
  for (const found of text.matchAll(pattern)) {
    const mark = document.createElement("mark");
    mark.textContent = found[0];
    parts.append(text.slice(end, found.index), mark);
    end = found.index + found[0].length;
  }
  parts.append(text.slice(end));
  return parts;
}
function context(text, words) {
  const lower = text.toLowerCase(), at = Math.min(...words.map((word) => lower.indexOf(word)).filter((place) => place >= 0));
  if (!Number.isFinite(at)) return text.slice(0, 2 * AROUND);
  const from = Math.max(0, at - AROUND), to = at + 2 * AROUND;
  return (from ? "… " : "") + text.slice(from, to) + (to < text.length ? " …" : "");
}
// Headings count more than titles, these more than text; whole words more than parts; all words in a row most.
function score(entry, words) {
  let total = 0;
  for (const word of words) {
    const points = entry.plain.map((part, place) => [4, 2, 1][place] * (` ${part} `.includes(` ${word} `) ? 3 : part.includes(word) ? 1 : 0));
    if (!points.some(Boolean)) return 0;
    total += Math.max(...points);
  }
  const phrase = words.join(" "), [heading, title] = entry.plain;
  if (heading === phrase) total += 200;
  else if ([heading, title].some((part) => ` ${part} `.includes(` ${phrase} `))) total += 100;
  return total;
}
async function search() {
  const asked = () => plain($("search").value).split(" ").filter(Boolean), words = asked();
  $("found").hidden = !words.length;
  if (!words.length) return;
  const entries = await index();
  if (words.join() !== asked().join()) return;
  const hits = entries.map((entry) => [score(entry, words), entry]).filter(([points]) => points).sort((a, b) => b[0] - a[0]);
  $("hits").textContent = hits.length > LIMIT ? `${LIMIT} of ${hits.length} places` : `${hits.length} place${hits.length === 1 ? "" : "s"}`;
  $("results").replaceChildren(...hits.slice(0, LIMIT).map(([, entry]) => {
    const item = document.createElement("li"), link = document.createElement("a"), name = document.createElement("strong"), text = document.createElement("div");
    link.href = entry.url;
    name.append(marked(entry.heading && entry.heading !== entry.title ? `${entry.title} › ${entry.heading}` : entry.title, words));
    text.append(marked(context(entry.text, words), words));
    link.append(name, text);
    item.append(link);
    return item;
  }));
}
$("search").addEventListener("input", search);
$("search").addEventListener("focus", search);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.matches("input, textarea")) { event.preventDefault(); $("search").focus(); $("search").select(); }
  if (event.key === "Escape") { $("found").hidden = true; }
  const places = [$("search"), ...$("results").querySelectorAll("a")], at = places.indexOf(document.activeElement);
  if (!$("found").hidden && at >= 0 && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    places[Math.min(Math.max(at + (event.key === "ArrowDown" ? 1 : -1), 0), places.length - 1)].focus();
  }
});
document.addEventListener("click", (event) => { if (!event.target.closest("header") || event.target.closest("#results a")) $("found").hidden = true; });

// Tables: numbers to the right; a click on a heading sorts, up, down, and back as written.
const number = (text) => /^[-+−]?(\d|\.\d)/.test(text) ? Number.parseFloat(text.replace("−", "-")) : Number.NaN;
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], written = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const values = written.map((row) => row.cells[column].textContent.trim());
    if (column && values.some(Boolean) && values.every((text) => !text || !Number.isNaN(Number(text)))) [head, ...written.map((row) => row.cells[column])].forEach((cell) => cell.classList.add("n"));
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    if (!button.textContent) button.textContent = "row";
    head.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] ?? "ascending", sign = next === "descending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      const order = written.map((_, place) => place);
      if (next !== "none") {
        head.setAttribute("aria-sort", next);
        order.sort((a, b) => {
          const [x, y] = [values[a], values[b]], [p, q] = [number(x), number(y)];
          if (!x || !y) return !x - !y;  // blanks last, either way
          return sign * (Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y, undefined, { numeric: true }) : p - q);
        });
      }
      body.append(...order.map((place) => written[place]));
    });
  });
}

// Ledger: a verdict, a paper and a kind at a time; the address may name them, as ledger.html?kind=time does.
const claims = [...document.querySelectorAll(".claim")], chosen = { verdict: "", paper: "", kind: "" };
function filter() {
  for (const button of document.querySelectorAll("[data-filter]")) button.setAttribute("aria-pressed", chosen[button.dataset.filter] === button.dataset.value);
  for (const claim of claims) claim.hidden = Object.entries(chosen).some(([key, value]) => value && claim.dataset[key] !== value);
  for (const section of document.querySelectorAll(".paper")) section.hidden = !section.querySelector(".claim:not([hidden])");
  $("count").textContent = `${claims.filter((claim) => !claim.hidden).length} of ${claims.length} claims`;
}
for (const button of document.querySelectorAll("[data-filter]")) {
  button.addEventListener("click", () => { chosen[button.dataset.filter] = button.dataset.value; filter(); });
}
if (claims.length) {
  for (const [key, value] of new URLSearchParams(location.search)) if (key in chosen) chosen[key] = value;
  filter();
  // A link to a claim shows it, whatever is filtered.
  addEventListener("hashchange", () => {
    const target = $(decodeURIComponent(location.hash.slice(1)));
    if (target?.closest("[hidden]")) { Object.assign(chosen, { verdict: "", paper: "", kind: "" }); filter(); target.scrollIntoView(); }
  });
}

// Code of a notebook, all at once.
const sources = [...document.querySelectorAll("details.source")];
if ($("codes") && sources.length) {
  $("codes").hidden = false;
  $("codes").addEventListener("click", () => {
    const open = sources.some((source) => !source.open);
    for (const source of sources) source.open = open;
    $("codes").textContent = open ? "Hide all code" : "Show all code";
  });
}
