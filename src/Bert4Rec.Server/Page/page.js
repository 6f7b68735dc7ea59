// A history is put together on the left; each change of it asks for suggestions, and for what the model looked at.
import * as server from "./server.js";
import { bars, button, buttons, element, itemText, number, percent } from "./parts.js";

const $ = id => document.getElementById(id);
const longestHistory = 100;

/** Items with their fields, oldest first. */
let history = [];
let modelShown = "";

// --- the history

function add(item) {
  history.push(item);
  show(`Added ${item.item}.`);
}

function move(from, to) {
  history.splice(to, 0, ...history.splice(from, 1));
  show(`Moved to place ${to + 1}.`);
  const moved = $("events").children[to];
  // At an end the button that was pressed can do no more.
  (moved.querySelector(to < from ? ".up:enabled" : ".down:enabled") ?? moved.querySelector("button:enabled")).focus();
}

function remove(place) {
  const [gone] = history.splice(place, 1);
  show(`Removed ${gone.item}.`);
  ($("events").children[Math.min(place, history.length - 1)]?.querySelector(".remove") ?? $("search")).focus();
}

function show(change = "") {
  $("events").replaceChildren(...history.map((event, place) => element("li", {},
    itemText(event),
    bars([]),
    buttons(
      button("↑", `Move ${event.item} up`, () => move(place, place - 1), { className: "up", disabled: place === 0 }),
      button("↓", `Move ${event.item} down`, () => move(place, place + 1), { className: "down", disabled: place === history.length - 1 }),
      button("×", `Remove ${event.item}`, () => remove(place), { className: "remove" })))));
  $("empty").hidden = history.length > 0;
  $("clear").hidden = history.length === 0;
  $("legend").hidden = true;
  return refresh(change);
}

// --- the answers

let running;

/** Asks anew; what an older question would bring is not waited for. */
async function refresh(change = "") {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const tokens = history.map(event => event.item);
  try {
    const [answer, attention] = await Promise.all([
      server.recommend({ history: tokens, k: Number($("count").value), exclude_seen: $("unseen").checked }, signal),
      server.attention(tokens, signal)]);
    showSuggestions(answer);
    showAttention(attention.events);
    const unknown = answer.unknown.length === 0 ? "" : ` Not known to the model: ${answer.unknown.join(", ")}.`;
    say(`${change} ${answer.items.length} ${answer.popular ? "most popular items" : "suggestions"}.${unknown}`);
    if (answer.model !== modelShown)
      await showModel();
  } catch (problem) {
    complain(problem);
  }
}

function showSuggestions({ items, popular }) {
  $("scale").textContent = popular ? "Bars: how often customers had each." : "Best first. Bars: odds, as a share of the first one’s.";
  const best = items.length > 0 ? items[0].score : 0;
  $("suggested").replaceChildren(...items.map(item => element("li", {},
    itemText(item),
    bars([popular
      ? { share: item.score / best, text: number(item.score) }
      : { share: Math.exp(item.score - best), text: item.score.toFixed(3) }]),
    offers(item))));
}

/** Attention is of the known events among the newest: from the last one back, each belongs to the next event of its name. */
function showAttention(events) {
  let place = history.length;
  for (const { item, layers } of events.toReversed()) {
    do
      place--;
    while (place >= 0 && history[place].item !== item);
    $("events").children[place]?.querySelector(".bars").replaceWith(
      bars(layers.map((share, layer) => ({ share, text: percent(share), isSecond: layer % 2 === 1 }))));
  }
  $("legend").hidden = events.length === 0;
  $("legend").replaceChildren("Bars: the model’s attention to each event, by layer:", ...(events[0]?.layers ?? []).flatMap((_, layer) =>
    [element("span", { className: layer % 2 === 1 ? "key second" : "key" }), `${layer + 1}`]));
}

const offers = item => buttons(
  button("Add", `Add ${item.item} to the history`, () => add(item)),
  button("Similar", `Items similar to ${item.item}`, () => showSimilar(item)));

async function showSimilar(item) {
  try {
    const { items } = await server.similar(item.item);
    $("similar-title").textContent = `Similar to ${item.item}`;
    $("similar-items").replaceChildren(...items.map(other => element("li", {},
      itemText(other),
      bars([{ share: other.score, text: other.score.toFixed(3) }]),
      offers(other))));
    if (!$("similar").open)
      $("similar").showModal();
  } catch (problem) {
    complain(problem);
  }
}

async function showModel() {
  const { model, items, users } = await server.health();
  modelShown = model;
  $("model").textContent = `Bert4Rec · ${number(items)} items · ${number(users)} customers · model ${model}`;
}

function say(text, isWrong = false) {
  $("status").textContent = text.trim();
  $("status").classList.toggle("wrong", isWrong);
}

function complain(problem) {
  if (problem.name === "AbortError")
    return;
  if (problem.status === 401 && !$("lock").open)
    $("lock").showModal();
  say(problem instanceof server.Problem ? problem.message : "The server does not answer.", true);
}

// --- search: a combobox, whose list is walked with the arrow keys

let found = [], active = -1, searching, delay;

async function find() {
  searching?.abort();
  searching = new AbortController();
  try {
    found = (await server.search($("search").value, searching.signal)).items.slice(0, 12);
    $("found").replaceChildren(...found.map((item, place) => element("li", { role: "option", id: `found-${place}` }, itemText(item))));
    open(document.activeElement === $("search") && found.length > 0);
    if (found.length === 0)
      say("No item has all of these words.");
  } catch (problem) {
    complain(problem);
  }
}

function open(isOpen) {
  $("found").hidden = !isOpen;
  $("search").setAttribute("aria-expanded", isOpen);
  activate(-1);
}

function activate(place) {
  active = place;
  [...$("found").children].forEach((option, i) => option.setAttribute("aria-selected", i === place));
  if (place < 0) {
    $("search").removeAttribute("aria-activedescendant");
    return;
  }
  $("search").setAttribute("aria-activedescendant", `found-${place}`);
  $("found").children[place].scrollIntoView({ block: "nearest" });
}

function choose(place) {
  add(found[place]);
  $("search").value = "";
  open(false);
}

$("search").addEventListener("input", () => {
  clearTimeout(delay);
  delay = setTimeout(find, 150);
});
$("search").addEventListener("focus", find);
$("search").addEventListener("blur", () => open(false));
$("search").addEventListener("keydown", event => {
  const isOpen = !$("found").hidden;
  if (event.key === "ArrowDown" && !isOpen)
    find();
  else if (event.key === "ArrowDown" || event.key === "ArrowUp")
    activate((active + (event.key === "ArrowDown" ? 1 : active < 0 ? 0 : -1) + found.length) % found.length);
  else if (event.key === "Enter" && isOpen)
    choose(Math.max(0, active));
  else if (event.key === "Escape")
    open(false);
  else
    return;
  event.preventDefault();
});
// The list goes when the field loses the focus, which a press of the mouse would take from it.
$("found").addEventListener("mousedown", event => event.preventDefault());
$("found").addEventListener("click", event => {
  const option = event.target.closest("li");
  if (option)
    choose([...$("found").children].indexOf(option));
});

// --- the rest

$("customer").addEventListener("submit", async event => {
  event.preventDefault();
  try {
    const { items } = await server.historyOf($("user").value.trim());
    history = items.slice(-longestHistory);
    const shown = items.length > longestHistory ? `the newest ${longestHistory} of ` : "";
    await show(`Customer ${$("user").value.trim()}: ${shown}${items.length} events.`);
  } catch (problem) {
    complain(problem);
  }
});
$("clear").addEventListener("click", () => {
  history = [];
  show("Cleared.");
  $("search").focus();
});
$("unseen").addEventListener("change", () => refresh());
$("count").addEventListener("change", () => refresh());
document.querySelector("[data-closes]").addEventListener("click", () => $("similar").close());
$("unlock").addEventListener("submit", async event => {
  event.preventDefault();
  server.unlock($("key").value.trim());
  try {
    await server.search("");
    $("lock").close();
    refresh();
  } catch (problem) {
    $("wrong-key").textContent = problem.message;
  }
});

showModel().catch(complain);
refresh();
