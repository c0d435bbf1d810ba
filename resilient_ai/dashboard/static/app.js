"use strict";
// Names come from the program and its users: everything is put in as text, never as HTML.

const $ = (id) => document.getElementById(id);
const SECONDS = 120;        // of a sparkline
const MOST_EVENTS = 200;
const FORGOTTEN_MS = 15000; // a process that has not answered for so long is not shown

const processes = new Map(); // process -> {snapshot, seen, version, events, rates, before}
let shown = null;            // the process on the page

const NAMES = {
  trip: "Trip", force_open: "Force open", force_closed: "Force closed", disable: "Disable",
  metrics_only: "Only measure", reset: "Reset", mark_down: "Mark down", mark_up: "Mark up",
};

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const short = (process) => process.split(":").slice(0, 2).join(", process ");
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString();
const keyOf = (row) => `${row.kind} ${row.folded ? "keys of " : ""}${row.name}`;

// -- what has been heard of each process

function keep(snapshot) {
  const now = Date.now();
  let known = processes.get(snapshot.process);
  if (!known) {
    known = { version: 0, events: new Map(), rates: new Map(), before: new Map(), at: null };
    processes.set(snapshot.process, known);
  }
  const passed = known.at === null ? null : snapshot.at - known.at;
  if (passed === null || passed > 0.2) {
    const keys = new Set();
    for (const row of snapshot.rows) {
      const key = keyOf(row), rates = known.rates.get(key) || [];
      keys.add(key);
      if (passed !== null && known.before.has(key)) rates.push(Math.max(0, row.calls - known.before.get(key)) / passed);
      if (rates.length > SECONDS) rates.shift();
      known.rates.set(key, rates);
      known.before.set(key, row.calls);
    }
    for (const key of [...known.rates.keys()]) if (!keys.has(key)) { known.rates.delete(key); known.before.delete(key); }
    known.at = snapshot.at;
  }
  for (const event of snapshot.events) {
    known.events.set(event.number, event);
    known.version = Math.max(known.version, event.version);
  }
  while (known.events.size > MOST_EVENTS) known.events.delete(known.events.keys().next().value);
  known.snapshot = snapshot;
  known.seen = now;
  for (const [process, each] of processes) if (now - each.seen > FORGOTTEN_MS) processes.delete(process);
}

const wrong = (snapshot) => snapshot.rows.filter((row) => row.tone === "bad" || row.tone === "odd");

function worst() {
  let found = null, most = -1;
  for (const [process, each] of processes) {
    const weight = wrong(each.snapshot).reduce((sum, row) => sum + (row.tone === "bad" ? 10 : 1), 0);
    if (weight > most || (weight === most && process === shown)) { found = process; most = weight; }
  }
  return found;
}

// -- drawing

function drawHead(snapshot) {
  const alarms = wrong(snapshot), bad = alarms.some((row) => row.tone === "bad");
  put($("title"), snapshot.title);
  const health = alarms.length === 0 ? "all is well" : `${alarms.length} ${alarms.length === 1 ? "thing" : "things"} to look at`;
  put($("health"), health);
  $("health").dataset.tone = alarms.length === 0 ? "ok" : bad ? "bad" : "odd";
  const title = `${alarms.length ? `(${alarms.length}) ` : ""}${snapshot.title}`;
  if (document.title !== title) document.title = title;
  const others = processes.size > 1 ? ` · the worst of ${processes.size} processes` : "";
  put($("where"), `${short(snapshot.process)}${others} · ${clock(snapshot.at)}${snapshot.fleet ? ` · ${snapshot.fleet}` : ""}`);
}

// Elements are kept and changed in place, so that a focused button stays where it is.
function sync(parent, items, keyFor, create, update) {
  const present = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyFor(item);
    let element = present.get(key);
    if (element) present.delete(key);
    else { element = create(item); element.dataset.key = key; }
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const gone of present.values()) gone.remove();
}

function actButton(row) {
  const button = make("button", "Act …");
  button.type = "button";
  button.setAttribute("aria-label", `Act on ${row.label}`);
  button.addEventListener("click", () => choose(row.kind, row.name));
  return button;
}

function drawAlarms(snapshot) {
  const alarms = wrong(snapshot).sort((a, b) => (a.tone === b.tone ? 0 : a.tone === "bad" ? -1 : 1));
  $("wrong").hidden = alarms.length === 0;
  sync($("alarms"), alarms, keyOf, (row) => {
    const item = make("li");
    item.append(make("b"), make("span"), make("span", "", "why"));
    if (snapshot.actions[row.kind] && !row.folded) item.append(actButton(row));
    return item;
  }, (item, row) => {
    item.dataset.tone = row.tone;
    put(item.children[0], row.label);
    put(item.children[1], `${row.kind === "endpoint" ? "endpoint" : row.kind.replace("_", " ")} ${row.state}`);
    const refused = row.refused ? `${row.refused.toLocaleString()} ${row.refused === 1 ? "call" : "calls"} refused so far` : "";
    put(item.children[2], [row.why, refused].filter(Boolean).join(" · "));
  });
}

function drawRates(cell, rates) {
  if (!rates || rates.length === 0) { if (cell.firstChild) cell.replaceChildren(); return; }
  if (!cell.firstChild) {
    const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
    svg.setAttribute("viewBox", "0 0 110 22");
    svg.setAttribute("aria-hidden", "true");
    svg.append(document.createElementNS(space, "polyline"));
    cell.append(svg, make("span"));
  }
  const top = Math.max(1e-9, ...rates), from = SECONDS - rates.length;
  const points = rates.map((rate, index) => `${((from + index) * 110 / (SECONDS - 1)).toFixed(1)},${(21 - 20 * rate / top).toFixed(1)}`);
  cell.firstChild.firstChild.setAttribute("points", points.join(" "));
  put(cell.lastChild, rates[rates.length - 1].toFixed(1));
}

const NUMBERS = [["calls", "calls"], ["failed", "failed"], ["retried", "retried"], ["degraded", "fallback"], ["p95", "p95"]];

function drawRows(snapshot, known) {
  let site = null;
  $("nothing").hidden = snapshot.rows.length > 0;
  $("more").hidden = snapshot.left_out === 0;
  put($("more"), `${snapshot.left_out} more are not shown; the registry's table has them.`);
  $("states").hidden = snapshot.rows.length === 0;
  const rows = snapshot.rows.map((row) => { const first = row.site !== site; site = row.site; return { ...row, first }; });
  sync($("states").tBodies[0], rows, keyOf, (row) => {
    const line = make("tr");
    line.append(make("td", "", "name"), make("td", "", "policy"), make("td", "", "state"), make("td", "", "rate"));
    for (const [, label] of NUMBERS) { const cell = make("td", "", "number"); cell.dataset.label = label; line.append(cell); }
    const act = make("td", undefined, "act");
    if (snapshot.actions[row.kind] && !row.folded) act.append(actButton(row));
    line.append(act);
    return line;
  }, (line, row) => {
    const className = row.site === "" ? (row.first ? "shared first" : "shared") : row.first ? "first" : "inner";
    if (line.className !== className) line.className = className;
    put(line.children[0], row.label);
    put(line.children[1], row.kind.replace("_", " "));
    put(line.children[2], row.fleet ? `${row.state} · fleet: ${row.fleet}` : row.state);
    line.children[2].dataset.tone = row.tone;
    drawRates(line.children[3], known.rates.get(keyOf(row)));
    NUMBERS.forEach(([field], index) => {
      const value = row[field];
      const text = value === null || value === undefined ? "" : field === "p95" ? (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`) : value.toLocaleString();
      put(line.children[4 + index], text);
    });
  });
}

function drawEvents(known) {
  const events = [...known.events.values()].sort((a, b) => b.version - a.version).slice(0, MOST_EVENTS);
  sync($("events"), events, (event) => `${known.snapshot.process} ${event.number}`, () => {
    const item = make("li");
    item.append(make("time"), make("b"), make("span"), make("span", "", "about"));
    return item;
  }, (item, event) => {
    const tone = event.level === "warning" ? "odd" : event.level === "error" || event.level === "critical" ? "bad" : "";
    if ((item.dataset.tone || "") !== tone) item.dataset.tone = tone;
    put(item.children[0], clock(event.at));
    put(item.children[1], event.kind.replaceAll("_", " ") + (event.times > 1 ? ` ×${event.times}` : ""));
    put(item.children[2], event.name);
    put(item.children[3], event.about);
  });
}

function draw() {
  const process = worst();
  if (process === null) return;
  shown = process;
  const known = processes.get(process);
  drawHead(known.snapshot);
  drawAlarms(known.snapshot);
  drawRows(known.snapshot, known);
  drawEvents(known);
}

// -- acting

function say(text, tone) {
  $("said").hidden = false;
  $("said").dataset.tone = tone;
  put($("said"), text);
}

// Looks the row up when the button is pressed: what it said when it was made is long past.
function choose(kind, name) {
  const known = processes.get(shown), row = known && known.snapshot.rows.find((each) => each.kind === kind && each.name === name && !each.folded);
  if (!row) return;
  const meant = shown;
  put($("dialog-head"), row.label);
  put($("dialog-about"), `${kind.replace("_", " ")}, ${row.state}`);
  $("confirm").hidden = true;
  $("choices").hidden = false;
  $("choices").replaceChildren(...Object.entries(known.snapshot.actions[kind]).map(([action, text]) => {
    const button = make("button");
    button.type = "button";
    button.append(make("span", NAMES[action] || action), make("small", text));
    button.addEventListener("click", () => confirmIt(meant, row, action, text));
    return button;
  }));
  $("dialog").onclose = null;
  $("dialog").returnValue = "";
  $("dialog").showModal();
  $("choices").firstElementChild.focus();
}

function confirmIt(meant, row, action, text) {
  const name = NAMES[action] || action;
  put($("dialog-head"), `${name}: ${row.label}?`);
  put($("dialog-about"), `${text} In ${short(meant)}.`);
  $("choices").hidden = true;
  $("confirm").hidden = false;
  put($("confirm"), `${name} ${row.label}`);
  $("cancel").focus();
  $("dialog").onclose = () => { if ($("dialog").returnValue === "yes") act(meant, row, action); };
}

async function act(meant, row, action) {
  const body = JSON.stringify({ kind: row.kind, name: row.name, do: action, process: meant });
  const what = `${NAMES[action] || action} ${row.label}`;
  try {
    for (let turn = 0; turn < 30; turn++) {
      const answer = await fetch("actions", {
        method: "POST", body, headers: { "content-type": "application/json", "x-resilient-ai": "1" }, signal: AbortSignal.timeout(5000),
      });
      const told = await answer.json();
      if (answer.ok) { say(`${what}: done.`, "ok"); return; }
      // Several processes answer behind one address: try until it is the one that is meant.
      if (answer.status !== 409 || told.process === meant) { say(`${what}: ${told.error}.`, "bad"); return; }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    say(`${what}: ${short(meant)} does not answer any more.`, "bad");
  } catch (error) {
    say(`${what}: no answer; look whether it was done.`, "bad");
  }
}

// -- settings, only when somebody looks

async function drawSettings() {
  if (!$("settings").open) return;
  try {
    const answer = await fetch("settings.json", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    const told = await answer.json();
    $("functions").replaceChildren(...told.functions.flatMap((each) => {
      const parts = [make("h3", each.site)];
      for (const layer of each.layers) {
        const list = make("dl");
        list.append(make("dt", layer.policy.replace("_", " ")), make("dd", ""));
        for (const [name, value, origin] of layer.values) {
          const cell = make("dd", value);
          cell.append(make("span", origin === "default" ? "" : `  (${origin})`, origin === "default" || origin === "decorator" ? "" : "changed"));
          list.append(make("dt", name), cell);
        }
        parts.push(list);
      }
      return parts;
    }));
  } catch (error) {
    $("functions").replaceChildren(make("p", "The settings could not be read; close this and open it again."));
  }
}
$("settings").addEventListener("toggle", drawSettings);

// -- asking, once a second; a stream would keep the server from stopping while a tab is open

async function ask() {
  const known = processes.get(shown);
  const answer = await fetch(`snapshot.json?after=${encodeURIComponent(shown || "")}~${known ? known.version : 0}`, {
    cache: "no-store", signal: AbortSignal.timeout(5000),
  });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  keep(await answer.json());
  document.body.classList.remove("gone");
  draw();
}

async function look() {
  try {
    await ask();
  } catch (error) {
    document.body.classList.add("gone");
    $("health").dataset.tone = "bad";
    put($("health"), "no answer");
    const known = processes.get(shown);
    put($("where"), known ? `what is shown is of ${clock(known.snapshot.at)}; trying again` : "trying again");
  }
  setTimeout(look, document.hidden ? 5000 : 1000);
}
look();
