// The page. Foreign text becomes text nodes only (textContent), never markup.

const byId = (id) => document.getElementById(id);

// Makes an element; children are elements or text.
function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function number(value, digits = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function plural(count, word) {
  return `${number(count)} ${word}${count === 1 ? "" : "s"}`;
}

// A time of an event, as its date and time in UTC: the words of alerts are in UTC too.
function time(ms, withDate = true) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return String(ms);
  const text = date.toISOString();
  return withDate ? text.slice(0, 19).replace("T", " ") : text.slice(11, 19);
}

function keyButton(shown) {
  const button = make("button", "key", shown.name);
  button.type = "button";
  button.title = shown.name;
  button.addEventListener("click", () => openKey(shown.key, shown.span_ms));
  return button;
}

// Opens the view of a key, around a time where one is given.
function openKey(key, span) {
  const parameters = new URLSearchParams({ key });
  if (span) parameters.set("around", String((span[0] + span[1]) / 2));
  location.hash = `#key?${parameters}`;
}

// --- Now ---------------------------------------------------------------------------------------

let last = null; // the picture before, and how many records a second came since then
let rate = null;

function showFigures(picture) {
  const input = picture.topics[1];
  const figures = [
    ["open alerts", number(picture.alerts.n_open)],
    ["alerts since start", number(picture.alerts.n_alerts)],
    ["records/s", number(rate)],
    ["not read yet", number(input.lag_records)],
    ["keys with scores", number(picture.input.n_warm)],
    ["keys warming up", number(picture.input.n_warming)],
    ["keys silent", number(picture.input.n_silent)],
    ["latency, median", duration(picture.alerts.latency_ms_p50)],
  ];
  byId("figures").replaceChildren(
    ...figures.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", value))),
  );
}

// Below how many milliseconds a unit is taken, how many it has, its name, and digits behind the point.
const UNITS = [[1e3, 1, "ms", 0], [600e3, 1e3, "s", 1], [7200e3, 60e3, "min", 0], [172800e3, 3600e3, "h", 1],
  [Infinity, 86400e3, "days", 1]];

function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  const [, size, unit, nDigits] = UNITS.find(([below]) => ms < below);
  return `${number(ms / size, nDigits)} ${unit}`;
}

function fill(id, rows, empty) {
  const body = byId(id).tBodies[0];
  if (rows.length === 0) {
    const cell = make("td", "note", empty);
    cell.colSpan = byId(id).tHead.rows[0].cells.length;
    rows = [make("tr", "", cell)];
  }
  // On a narrow page each cell stands below the name of its column.
  const names = [...byId(id).tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const row of rows) [...row.cells].forEach((cell, at) => { cell.dataset.column = names[at]; });
  // What has the keyboard's focus is found again: a row that is redrawn must not lose it.
  const focused = document.activeElement;
  const place = focused && body.contains(focused) ? focused.dataset.place : null;
  body.replaceChildren(...rows);
  if (place) {
    for (const each of body.querySelectorAll("[data-place]")) {
      if (each.dataset.place === place) each.focus();
    }
  }
}

function keyCell(shown) {
  const button = keyButton(shown);
  button.dataset.place = `${shown.id} ${shown.event_number}`;
  return make("td", "key", button);
}

function severityCell(shown) {
  const cell = make("td", "", shown.severity);
  if (shown.silenced) cell.append(" ", make("span", "badge", "silenced"));
  return cell;
}

function wordsCell(shown) {
  const cell = make("td", "words", shown.sentence);
  if (shown.silenced) cell.append(" ", make("small", "", shown.silenced));
  return cell;
}

const opened = new Set(); // incidents whose alerts are shown one by one

function alertRow(shown, kind = "") {
  return make("tr", kind,
    make("td", "number", number(shown.score, 2)),
    severityCell(shown),
    keyCell(shown),
    wordsCell(shown),
    make("td", "number", time(shown.since_ms)));
}

function incidentRows(shown) {
  const row = alertRow(shown);
  if (shown.n_alerts === 1) return [row];
  const isOpen = opened.has(shown.incident);
  const button = make("button", "", shown.n_keys > 1 ? `one of ${number(shown.n_keys)} keys` : `one of ${number(shown.n_alerts)} alerts`);
  button.type = "button";
  button.dataset.place = `incident ${shown.incident}`;
  button.setAttribute("aria-expanded", String(isOpen));
  button.addEventListener("click", () => {
    if (!opened.delete(shown.incident)) opened.add(shown.incident);
    showNow(last);
  });
  row.children[2].append(" ", button);
  if (!isOpen) return [row];
  const others = shown.others.map((each) => alertRow(each, "of-incident"));
  const nMore = shown.n_alerts - 1 - others.length;
  if (nMore > 0) {
    const cell = make("td", "note", `and ${plural(nMore, "further alert")}`);
    cell.colSpan = row.cells.length;
    others.push(make("tr", "of-incident", cell));
  }
  return [row, ...others];
}

function showNow(picture) {
  showFigures(picture);
  const alerts = picture.alerts;
  const shown = alerts.open.reduce((sum, each) => sum + each.n_alerts, 0);
  const [more, left] = [alerts.n_open - shown, alerts.n_left_out];
  byId("open-note").textContent = (more > 0 ? `${number(more)} more are open. ` : "")
    + (left > 0 ? `${number(left)} that had no event for the longest are no longer counted.` : "");
  fill("open", alerts.open.flatMap(incidentRows), "No alert is open.");
  fill("events", alerts.events.map((each) => make("tr", "",
    make("td", "number", time(each.event_time_ms)),
    make("td", "", each.event),
    make("td", "", each.reason),
    make("td", "number", number(each.score, 2)),
    keyCell(each))), "No alert has come yet.");
  fill("rejected", picture.input.rejected.map((each) => make("tr", "",
    make("td", "", each.reason),
    make("td", "number", number(each.n_records)),
    make("td", "words", each.example))), "None since the console began.");
  showMinutes(alerts.a_minute);
}

function showMinutes(counts) {
  const most = Math.max(1, ...counts);
  const bars = byId("minutes");
  while (bars.children.length < counts.length) bars.append(make("i", ""));
  counts.forEach((count, at) => {
    bars.children[at].style.height = `${(100 * count) / most}%`;
  });
  const total = counts.reduce((sum, count) => sum + count, 0);
  byId("minutes-note").textContent = total === 0 ? "None in the last hour."
    : `${plural(total, "alert")}, at most ${number(most)} a minute.`;
}

function showProblem(text) {
  const banner = byId("problem");
  banner.hidden = !text;
  if (banner.textContent !== text) banner.textContent = text;
}

function onPicture(picture) {
  if (last && picture.now_ms > last.now_ms) {
    const n_records = picture.topics[1].n_records - last.topics[1].n_records;
    rate = (n_records * 1000) / (picture.now_ms - last.now_ms);
  }
  last = picture;
  byId("title").textContent = picture.title;
  const problems = picture.topics.filter((each) => each.problem);
  showProblem(problems.map((each) => `${each.topic}: ${each.problem}`).join(" — "));
  if (view === "now") showNow(picture);
}

// --- Swim lanes --------------------------------------------------------------------------------

const NORMAL_MAX = 100;
const lanesShown = { end_ms: 0, width_ms: 0 };

function colour(level, dark) {
  if (level === 0) return [0, 0, 0, 0];
  if (level <= NORMAL_MAX) {
    const part = level / NORMAL_MAX;
    return dark ? [40 + 20 * part, 70 + 60 * part, 100 + 90 * part, 255]
      : [220 - 90 * part, 232 - 52 * part, 245 - 20 * part, 255];
  }
  const part = Math.min(1, (level - NORMAL_MAX) / 80);
  return [240 - 48 * part, 170 - 134 * part, 48 - 22 * part, 255];
}

function drawCells(canvas, cells) {
  const dark = isDark();
  if (canvas.drawn === `${dark} ${cells}`) return;
  canvas.drawn = `${dark} ${cells}`;
  const levels = atob(cells);
  canvas.width = levels.length;
  canvas.height = 1;
  const context = canvas.getContext("2d");
  const image = context.createImageData(levels.length, 1);
  for (let at = 0; at < levels.length; at += 1) {
    image.data.set(colour(levels.charCodeAt(at), dark), 4 * at);
  }
  context.putImageData(image, 0, 0);
}

function laneOf(lane, picture) {
  const row = make("div", "lane");
  row.dataset.key = lane.key;
  const button = make("button", "key", lane.name);
  button.type = "button";
  button.title = lane.name;
  button.addEventListener("click", () => openKey(lane.key));
  const canvas = make("canvas", "");
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const back = (1 - (event.clientX - box.left) / box.width) * lanesShown.width_ms;
    openKey(lane.key, [lanesShown.end_ms - back, lanesShown.end_ms - back]);
  });
  row.append(button, canvas);
  updateLane(row, lane);
  return row;
}

function updateLane(row, lane) {
  const canvas = row.querySelector("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", lane.worst === null ? "no score yet" : `highest score ${number(lane.worst, 2)}`);
  drawCells(canvas, lane.cells);
}

async function showLanes() {
  const search = byId("search").value;
  const answer = await fetch(`/lanes?search=${encodeURIComponent(search)}`);
  if (!answer.ok || byId("search").value !== search) return;
  const picture = await answer.json();
  lanesShown.end_ms = picture.end_ms;
  lanesShown.width_ms = picture.n_bins * picture.bin_ms;
  const list = byId("lane-list");
  const known = new Map([...list.children].map((row) => [row.dataset.key, row]));
  const rows = picture.lanes.map((lane) => {
    const row = known.get(lane.key);
    if (!row) return laneOf(lane, picture);
    updateLane(row, lane);
    return row;
  });
  // Rows stay where they are unless their order changed, so that the focus stays too.
  if (rows.length !== list.children.length || rows.some((row, at) => row !== list.children[at])) {
    const focused = document.activeElement;
    list.replaceChildren(...rows);
    if (focused && list.contains(focused)) focused.focus();
  }
  const shown = picture.lanes.length;
  byId("lanes-note").textContent = shown === 0 ? "No key fits."
    : `${number(shown)} of ${number(picture.n_found)} keys, those with the highest scores first.`;
  byId("lanes-start").textContent = shown ? time(picture.end_ms - lanesShown.width_ms) : "";
  byId("lanes-end").textContent = shown ? `${time(picture.end_ms)} UTC` : "";
}

// --- A key -------------------------------------------------------------------------------------

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const looked = { key: null, end: null, span: null, shown: null, names: "", asked: 0 };
const READING = "Reading …";
let bokeh = null;

// The script of the charts is a megabyte: it comes with the first key that is looked at.
function loadBokeh() {
  bokeh ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "/bokeh.js";
    script.addEventListener("load", () => resolve(window.Bokeh));
    script.addEventListener("error", reject);
    document.head.append(script);
  });
  return bokeh;
}

function startKey(parameters) {
  looked.key = parameters.get("key") ?? "";
  looked.span = null;
  looked.end = null;
  looked.around = Number(parameters.get("around")) || null;
  looked.names = "";
  looked.shown = null;
  byId("head-key").textContent = looked.key;
  byId("words").replaceChildren();
  byId("images").replaceChildren();
  clearChart();
  showKey();
}

async function showKey() {
  looked.asked += 1;
  const asked = looked.asked;
  const parameters = new URLSearchParams({ key: looked.key, dark: isDark() ? "1" : "0" });
  if (looked.span !== null) parameters.set("span_ms", String(looked.span));
  if (looked.end !== null) parameters.set("end_ms", String(looked.end));
  if (looked.around !== null) parameters.set("end_ms", String(looked.around + 300000));
  if (looked.names === "") parameters.set("figure", "1");
  if (!looked.shown) byId("key-note").textContent = READING;
  const answer = await fetch(`/key?${parameters}`);
  const shown = await answer.json();
  if (asked !== looked.asked) return;
  if (!answer.ok) {
    byId("key-note").textContent = shown.problem ?? "It cannot be read now.";
    return;
  }
  if (looked.around !== null) looked.end = shown.end_ms;
  looked.around = null;
  looked.shown = shown;
  byId("head-key").textContent = shown.name;
  byId("key-note").textContent = noteOf(shown);
  showImages(shown.images);
  showWords(shown.alerts, shown.images);
  await showChart(shown);
}

function noteOf(shown) {
  const parts = [`${time(shown.start_ms)} to ${time(shown.end_ms)} UTC.`];
  if (shown.n_samples === 0) parts.push("The topic holds no samples of this key here.");
  else if (shown.n_scores === 0) parts.push("No window has a score here yet.");
  if (shown.n_features_left_out > 0) {
    parts.push(`${shown.n_features_left_out} further features are closer to their reconstruction.`);
  }
  return parts.join(" ");
}

function pngImage(base64, description) {
  const image = make("img", "");
  image.src = `data:image/png;base64,${base64.replace(/[^A-Za-z0-9+/=]/g, "")}`;
  image.alt = description;
  return image;
}

const HEAT_MAP = "Where in the image the error is: the brighter, the larger";

// Images, each beside the heat map of its error.
function showImages(images) {
  byId("images").replaceChildren(...images.map((each) => {
    const when = time(each.time_ms);
    const heat = pngImage(each.heat_map, HEAT_MAP);
    heat.style.filter = `brightness(${each.brightness})`;
    const pair = make("div", "", pngImage(each.image, `The image of ${when}`), heat);
    const caption = make("figcaption", "", `${when}, score ${number(each.anomaly_score, 2)}`);
    return make("figure", each.anomaly_score > 1 ? "anomalous" : "", pair, caption);
  }));
  byId("key-legend").hidden = images.length > 0;
  byId("images-note").hidden = images.length === 0;
}

function showWords(alerts, images) {
  const seen = new Set(images.map((each) => each.time_ms));
  const items = alerts.map((each) => {
    const isClosed = each.event === "close";
    const when = isClosed ? `${time(each.span_ms[0])} to ${time(each.span_ms[1], false)}, closed, ${each.reason}`
      : `since ${time(each.span_ms[0])}, open`;
    const span = make("time", "", `${when}, score ${number(each.score, 2)}, ${each.severity}`);
    const item = make("li", isClosed ? "closed" : "", span, each.sentence || each.reason);
    if (each.heat_map && !seen.has(each.span_ms[0])) item.append(pngImage(each.heat_map, HEAT_MAP));
    return item;
  });
  byId("words").replaceChildren(...(items.length ? items : [make("li", "closed", "No alert here.")]));
}

let views = null;

function clearChart() {
  views?.then((manager) => manager.clear()).catch(() => {});
  views = null;
  byId("chart").replaceChildren();
}

async function showChart(shown) {
  if (shown.n_samples === 0) { // axes without a range
    clearChart();
    looked.names = "";
    return;
  }
  const Bokeh = await loadBokeh();
  if (shown !== looked.shown) return;
  const names = JSON.stringify(shown.names);
  if (shown.item) {
    clearChart();
    looked.names = names;
    views = Bokeh.embed.embed_item({ ...shown.item, target_id: "chart" });
    looked.document = (await views).roots[0].model.document;
    return;
  }
  if (names !== looked.names) { // other features are farthest now
    looked.names = "";
    await showKey();
    return;
  }
  const document = looked.document;
  for (const [name, columns] of Object.entries(shown.columns)) {
    const source = document.get_model_by_name(name);
    source.data = Object.fromEntries(Object.entries(columns).map(
      ([at, values]) => [at, values.map((value) => (value === null ? NaN : value))]));
  }
  const times = document.get_model_by_name("times");
  times.setv({ start: shown.start_ms, end: shown.end_ms });
}

function move(change) {
  if (!looked.shown) return;
  const { start_ms: start, end_ms: end } = looked.shown;
  change(end - start, end, start);
  byId("key-note").textContent = READING;
  showKey().catch(() => {});
}

byId("earlier").addEventListener("click", () => move((span, end) => { looked.end = end - span / 2; }));
byId("later").addEventListener("click", () => move((span, end) => { looked.end = end + span / 2; }));
byId("newest").addEventListener("click", () => move(() => { looked.end = null; }));
byId("longer").addEventListener("click", () => move((span, end) => {
  looked.span = 2 * span;
  if (looked.end !== null) looked.end = end + span / 2;
}));
byId("shorter").addEventListener("click", () => move((span, end) => {
  looked.span = span / 2;
  if (looked.end !== null) looked.end = end - span / 4;
}));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  looked.names = "";
  if (view === "key") showKey().catch(() => {});
});

// --- What if -----------------------------------------------------------------------------------

const tries = { asked: 0, own: null };

async function tryOut() {
  tries.asked += 1;
  const asked = tries.asked;
  const parameters = new URLSearchParams({ hours: byId("hours").value });
  for (const name of ["factor", "open_after", "open_within"]) parameters.set(name, byId(name).value);
  const seconds = byId("close_after").value;
  if (seconds) parameters.set("close_after_ms", String(Math.round(1000 * Number(seconds))));
  byId("tries-note").textContent = "Reading and judging …";
  const answer = await fetch(`/what-if?${parameters}`);
  const found = await answer.json();
  if (asked !== tries.asked) return;
  if (!answer.ok) {
    byId("tries-note").textContent = found.problem ?? "It cannot be tried now.";
    return;
  }
  if (!tries.own) fillTries(found); // later, what a person types stays
  tries.own = found.own;
  showTried(found);
}

function fillTries(settings) {
  for (const name of ["factor", "open_after", "open_within"]) byId(name).value = settings[name];
  byId("close_after").value = settings.close_after_ms / 1000;
}

function showTried(found) {
  for (const each of document.querySelectorAll(".rule")) each.hidden = !found.has_rules;
  const cut = found.is_cut ? " That is all that one question reads." : "";
  byId("tries-note").textContent = `${plural(found.n_tried, "alert")} instead of ${number(found.n_own)}: `
    + `${number(found.n_come)} come, ${number(found.n_go)} go. `
    + `${plural(found.n_windows, "window")} of ${plural(found.n_records, "record")} in ${number(found.hours, 1)} h.${cut}`;
  fill("tried", found.alerts.map((each) => make("tr", "",
    make("td", each.change, each.change),
    keyCell(each),
    make("td", "number", time(each.opened_ms)),
    make("td", "number", each.closed_ms === null ? "open" : time(each.closed_ms, false)),
    make("td", "number", number(each.score, 2)),
    make("td", "words", each.sentence))), "No alert, neither with these settings nor with the bundle's own.");
  const rules = found.has_rules ? found.toml : "";
  byId("toml").textContent = `# threshold ${found.threshold.toPrecision(6)} (${found.score_kind}), `
    + `${number(found.factor, 2)} times the bundle's\n${rules}`;
}

byId("tries").addEventListener("submit", (event) => {
  event.preventDefault();
  tryOut().catch(() => {});
});
byId("reset").addEventListener("click", () => {
  if (tries.own) fillTries(tries.own);
  tryOut().catch(() => {});
});
byId("copy").addEventListener("click", () => {
  navigator.clipboard?.writeText(byId("toml").textContent).catch(() => {});
});

// --- Dead letters ------------------------------------------------------------------------------

async function showLetters() {
  const answer = await fetch("/dead-letters");
  const found = await answer.json();
  if (!answer.ok) {
    byId("letters-note").textContent = found.problem ?? "They cannot be read now.";
    return;
  }
  const part = found.n_read < found.n_held ? `the newest ${number(found.n_read)} of ` : "";
  byId("letters-note").textContent = found.n_held === 0 ? "There is none."
    : `On the topic: ${part}${number(found.n_held)}.`;
  byId("letters").replaceChildren(...found.kinds.map((kind) => {
    const example = kind.example;
    const size = example.n_value_bytes === null ? "no value" : `${number(example.n_value_bytes)} bytes`;
    return make("div", "letter",
      make("h3", "", `${kind.error} (${kind.stage}): ${number(kind.n_letters)}`),
      make("p", "note", `${time(kind.oldest_ms)} to ${time(kind.newest_ms)}`
        + (kind.n_redriven ? `, ${number(kind.n_redriven)} of them redriven before` : "")),
      make("p", "", example.message),
      make("p", "note", `The newest: key ${example.name}, ${example.source}, dead letter ${example.location}, ${size}`),
      make("pre", "", example.value ?? ""));
  }));
}

// --- Views -------------------------------------------------------------------------------------

const VIEWS = ["now", "lanes", "key", "whatif", "letters"];
let view = "now";

function route() {
  const [name, query] = location.hash.slice(1).split("?", 2);
  view = VIEWS.includes(name) ? name : "now";
  for (const each of VIEWS) byId(`view-${each}`).hidden = each !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const parameters = new URLSearchParams(query || "");
  if (view === "now" && last) showNow(last);
  if (view === "lanes") {
    if (parameters.has("search")) byId("search").value = parameters.get("search");
    showLanes().catch(() => {});
  }
  if (view === "key") startKey(parameters);
  if (view === "whatif") tryOut().catch(() => {});
  if (view === "letters") showLetters().catch(() => {});
}

addEventListener("hashchange", () => {
  route();
  byId("main").focus();
  scrollTo(0, 0);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // its address would be that of a view
  byId("main").focus();
});
byId("search").addEventListener("input", () => showLanes().catch(() => {}));

// Asks again a while after the last answer came, and later where that took long.
async function refresh() {
  const start = performance.now();
  try {
    if (!document.hidden && view === "lanes") await showLanes();
    if (!document.hidden && view === "key" && looked.shown && looked.end === null) await showKey();
  } catch {
    // The banner says that the console does not answer.
  }
  setTimeout(refresh, Math.max(3000, 4 * (performance.now() - start)));
}

// What is sent faster than the page can draw is merged: once a frame, the newest is drawn.
let waiting = null;

function drawSoon(text) {
  if (waiting === null) {
    requestAnimationFrame(() => {
      const newest = waiting;
      waiting = null;
      onPicture(JSON.parse(newest));
    });
  }
  waiting = text;
}

// A page that nobody sees is sent nothing: a browser has six connections to a server.
let events = null;

function listen() {
  events?.close();
  events = document.hidden ? null : new EventSource("/events");
  events?.addEventListener("message", (message) => drawSoon(message.data));
  events?.addEventListener("error", () => {
    showProblem("The console does not answer. What is shown is old; it is asked again.");
  });
}

document.addEventListener("visibilitychange", listen);
listen();
setTimeout(refresh, 3000);
route();
