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

function openKey(key) {
  location.hash = `#lanes?search=${encodeURIComponent(key)}`;
}

// --- Now ---------------------------------------------------------------------------------------

let before = null;

function showFigures(picture) {
  const input = picture.topics[1];
  let rate = null;
  if (before && picture.now_ms > before.now_ms) {
    rate = ((input.n_records - before.topics[1].n_records) * 1000) / (picture.now_ms - before.now_ms);
  }
  before = picture;
  const figures = [
    ["open alerts", number(picture.alerts.n_open)],
    ["alerts since start", number(picture.alerts.n_alerts)],
    ["records/s", number(rate)],
    ["not read yet", number(input.lag_records)],
    ["keys with scores", number(picture.input.n_warm)],
    ["keys warming up", number(picture.input.n_warming)],
    ["keys silent", number(picture.input.n_silent)],
    ["event to alert p50", duration(picture.alerts.latency_ms_p50)],
  ];
  byId("figures").replaceChildren(
    ...figures.map(([name, value]) => make("div", "", make("dt", "", name), make("dd", "", value))),
  );
}

function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 600000 ? `${number(ms / 1000, 1)} s` : `${number(ms / 60000)} min`;
}

function fill(id, rows, empty) {
  const body = byId(id).tBodies[0];
  if (rows.length === 0) {
    const cell = make("td", "note", empty);
    cell.colSpan = byId(id).tHead.rows[0].cells.length;
    rows = [make("tr", "", cell)];
  }
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
  return make("td", "", button);
}

function showNow(picture) {
  showFigures(picture);
  const alerts = picture.alerts;
  const more = alerts.n_open - alerts.open.length;
  byId("open-note").textContent = more > 0 ? `${number(more)} more are open.` : "";
  fill("open", alerts.open.map((each) => make("tr", "",
    make("td", "number", number(each.score, 2)),
    make("td", "", each.severity),
    keyCell(each),
    make("td", "words", each.sentence),
    make("td", "number", time(each.opened_ms)))), "No alert is open.");
  fill("events", alerts.events.slice(0, 30).map((each) => make("tr", "",
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
  bars.setAttribute("aria-label", `${total} alerts in the last hour, at most ${Math.max(...counts)} a minute`);
}

function showProblem(text) {
  const banner = byId("problem");
  banner.hidden = !text;
  if (banner.textContent !== text) banner.textContent = text;
}

function onPicture(picture) {
  byId("title").textContent = picture.title;
  const problems = picture.topics.filter((each) => each.problem);
  showProblem(problems.map((each) => `${each.topic}: ${each.problem}`).join(" — "));
  showNow(picture);
}

// --- Swim lanes --------------------------------------------------------------------------------

const NORMAL_MAX = 100;

function colour(level, isDark) {
  if (level === 0) return [0, 0, 0, 0];
  if (level <= NORMAL_MAX) {
    const part = level / NORMAL_MAX;
    return isDark ? [40 + 20 * part, 70 + 60 * part, 100 + 90 * part, 255]
      : [220 - 90 * part, 232 - 52 * part, 245 - 20 * part, 255];
  }
  const part = Math.min(1, (level - NORMAL_MAX) / 80);
  return [240 - 48 * part, 170 - 134 * part, 48 - 22 * part, 255];
}

function drawCells(canvas, cells) {
  const levels = atob(cells);
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  canvas.width = levels.length;
  canvas.height = 1;
  const context = canvas.getContext("2d");
  const image = context.createImageData(levels.length, 1);
  for (let at = 0; at < levels.length; at += 1) {
    image.data.set(colour(levels.charCodeAt(at), isDark), 4 * at);
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
  canvas.addEventListener("click", () => openKey(lane.key));
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
  byId("lanes-start").textContent = shown ? time(picture.end_ms - 180 * picture.bin_ms) : "";
  byId("lanes-end").textContent = shown ? time(picture.end_ms) : "";
}

// --- Views -------------------------------------------------------------------------------------

const VIEWS = ["now", "lanes"];
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
  if (view === "lanes") {
    if (parameters.has("search")) byId("search").value = parameters.get("search");
    showLanes().catch(() => {});
  }
}

addEventListener("hashchange", route);
byId("search").addEventListener("input", () => showLanes().catch(() => {}));
setInterval(() => {
  if (view === "lanes" && !document.hidden) showLanes().catch(() => {});
}, 3000);

const events = new EventSource("/events");
events.addEventListener("message", (message) => onPicture(JSON.parse(message.data)));
events.addEventListener("error", () => {
  showProblem("The console does not answer. What is shown is old; it is asked again.");
});
route();
