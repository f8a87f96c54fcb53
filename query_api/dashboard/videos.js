// The list of videos: shows the place that the URL names, goes elsewhere when asked, and takes in what happens meanwhile.
//
// What a reader looks at does not move: videos that arrive are put in only while the top of the newest page is in view
// and nothing in the list has the keyboard; otherwise a button says how many there are.

import { load } from "./api.js";
import { makeCard, markGone, renewTimes } from "./card.js";
import { draw, make } from "./elements.js";
import { count, counted, spoken } from "./format.js";
import { LIMIT, apiUrl, filterParameters, firstPage, isNewest, narrowed, nextPlace, pageUrl, readPlace } from "./place.js";
import { LiveStream } from "./stream.js";

const TYPING_PAUSE = 220;
const SETTLING = 1200;
const CUT_IS_WORTH_SAYING = 4000;
const ASK_WHILE_CUT = 15000;
const ANNOUNCE_ARRIVALS_EVERY = 20000;
const RETRY_PAUSE = 3000;
const TOP = 140;
const SHOWN_PAGES = 2;

const element = (id) => document.getElementById(id);
const [title, list, panel, pages, chips, incomplete] = ["title", "list", "panel", "pages", "chips", "incomplete"].map(element);
const [search, query, searchFault] = ["search", "query", "search-fault"].map(element);
const [total, arrivals, announcer, banner] = ["count", "arrivals", "announcer", "banner"].map(element);

let place = readPlace(location.href);
let answer = null; // the page shown, null while there is none
let asking = null; // the AbortController of the request under way
let early = []; // events that came before the page did
let overtaken = false; // the stream began while the page was on its way
let retrying = null; // the timer of the next try, after a failure
let settling = null; // the timer of the next look at what is shown
const waiting = new Set(); // ids of arrivals that were not put in
const channelTitles = new Map();

// ---- Going somewhere

async function show(next, { quiet = false, scrollTo = null, focus = false } = {}) {
  clearTimeout(retrying);
  place = next;
  answer = null;
  waiting.clear();
  sayWaiting();
  syncTools();
  stream.follow(filterParameters(place));
  list.setAttribute("aria-busy", "true");
  const found = await ask(fail);
  if (found === undefined) return;
  list.setAttribute("aria-busy", "false");
  if (found === null) return;
  answer = found;
  render();
  for (const event of early.splice(0)) take(event);
  if (overtaken) settle(0);
  if (scrollTo !== null) window.scrollTo(0, scrollTo);
  if (focus) title.focus({ preventScroll: true });
  if (!quiet) announce(spokenTotal());
}

/** The page of this place; null when it cannot be had, undefined when another was asked for meanwhile. */
async function ask(onProblem) {
  asking?.abort();
  asking = new AbortController();
  clearTimeout(settling);
  settling = null;
  const { signal } = asking;
  try {
    const { body, staleSeconds } = await load(apiUrl(place), signal);
    if (signal.aborted) return undefined;
    say("stale", staleSeconds === null ? null : `The store does not answer: these videos are as they were ${spoken(staleSeconds)} ago.`);
    searchFault.textContent = "";
    return body;
  } catch (problem) {
    if (signal.aborted) return undefined;
    onProblem(problem);
    return null;
  }
}

function go(next, options = {}) {
  history.replaceState({ ...history.state, y: scrollY }, "");
  if (options.replace) history.replaceState(history.state, "", pageUrl(next));
  else history.pushState({}, "", pageUrl(next));
  return show(next, options);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (link === null || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.origin !== location.origin || link.pathname !== "/" || link.hash !== "" || link.target !== "") return;
  event.preventDefault();
  stopTyping();
  if (link.dataset.channelTitle) channelTitles.set(new URL(link.href).searchParams.get("channel_id"), link.dataset.channelTitle);
  go(readPlace(link.href), { scrollTo: 0, focus: true });
});

history.scrollRestoration = "manual";
addEventListener("popstate", (event) => {
  stopTyping();
  show(readPlace(location.href), { scrollTo: event.state?.y ?? 0 });
});
addEventListener("scrollend", () => history.replaceState({ ...history.state, y: scrollY }, ""));

// ---- Search and filters

let typing = false; // the present history entry is of this search being typed
let unsearched = false; // there is something in the box that was not searched for yet
let typed = null;

function searchNow() {
  clearTimeout(typed);
  unsearched = false;
  const words = search.value.trim() || null;
  if (words === place.search) return;
  const replace = typing;
  typing = true; // first: the box is left as it is, a space at its end, too
  go(narrowed(place, { search: words }), { replace, scrollTo: 0 });
}

function stopTyping() {
  clearTimeout(typed);
  typing = unsearched = false;
}

search.addEventListener("input", (event) => {
  clearTimeout(typed);
  unsearched = true;
  if (!event.isComposing) typed = setTimeout(searchNow, TYPING_PAUSE);
});
search.addEventListener("compositionend", () => {
  clearTimeout(typed);
  typed = setTimeout(searchNow, TYPING_PAUSE);
});
search.addEventListener("blur", () => {
  searchNow();
  typing = false;
});
element("tools").addEventListener("submit", (event) => {
  event.preventDefault();
  searchNow();
});
query.addEventListener("change", () => go(narrowed(place, { query: query.value || null }), { scrollTo: 0 }));
query.addEventListener("focus", () => loadQueries());

async function loadQueries() {
  const found = [];
  try {
    let path = "/v1/queries?limit=100";
    while (path !== null && found.length < 1000) {
      const { body } = await load(path);
      found.push(...body.items);
      path = body.next_cursor === null ? null : `/v1/queries?limit=100&cursor=${encodeURIComponent(body.next_cursor)}`;
    }
  } catch {
    return; // the list of before will do
  }
  offerQueries(found);
}

function offerQueries(found) {
  const options = found.map(({ query: name, followed, total: number }) => {
    const label = name === "*" ? "everything" : name;
    return make("option", { value: name }, `${label} (${count(number)})${followed ? "" : ", no longer followed"}`);
  });
  query.replaceChildren(make("option", { value: "" }, "All queries"), ...options);
  syncTools();
}

/** The tools say what the place says, but for what is being typed. */
function syncTools() {
  if (!unsearched && (document.activeElement !== search || !typing)) search.value = place.search ?? "";
  const chosen = place.query ?? "";
  if (![...query.options].some((option) => option.value === chosen)) query.append(make("option", { value: chosen }, chosen));
  query.value = chosen;
  const used = [];
  if (place.query !== null) used.push(chip("Query", place.query, { query: null }));
  if (place.channel_id !== null) used.push(chip("Channel", channelTitle(), { channel_id: null }));
  if (place.search !== null) used.push(chip("Search", place.search, { search: null }));
  chips.replaceChildren(...used);
  chips.hidden = used.length === 0;
}

function chip(kind, value, without) {
  const cross = draw("svg", { class: "cross", viewBox: "0 0 10 10", "aria-hidden": "true" }, draw("path", { d: "M1 1l8 8M9 1l-8 8" }));
  const said = { "aria-label": `${kind}: ${value}, remove this filter`, title: "Remove this filter" };
  const label = make("span", {}, `${kind}: `, make("bdi", {}, value));
  return make("li", {}, make("a", { class: "chip", href: pageUrl(narrowed(place, without)), ...said }, label, cross));
}

function channelTitle() {
  return channelTitles.get(place.channel_id) ?? place.channel_id;
}

// ---- Showing a page

function render(arrived = new Set()) {
  const [first] = answer.items;
  if (place.channel_id !== null && first?.channel.title) {
    channelTitles.set(place.channel_id, first.channel.title);
    syncTools();
  }
  renderList(answer.items, arrived);
  renderTotal();
  renderPages();
  renderEmpty();
  renderIncomplete();
  document.title = pageTitle();
}

/** Changes only what differs, so that focus, pictures and scroll position stay. */
function renderList(items, arrived) {
  const known = new Map([...list.children].map((card) => [card.dataset.id, card]));
  const wanted = items.map((video) => {
    const card = known.get(video.id);
    if (card?.body === JSON.stringify(video) && card.placeUrl === pageUrl(firstPage(place))) return card;
    const made = makeCard(video, place);
    made.placeUrl = pageUrl(firstPage(place));
    made.classList.toggle("arrived", arrived.has(video.id));
    return made;
  });
  const kept = new Set(wanted);
  for (const card of [...list.children]) if (!kept.has(card)) card.remove();
  wanted.forEach((card, index) => {
    if (list.children[index] !== card) list.insertBefore(card, list.children[index] ?? null);
  });
  list.hidden = items.length === 0;
}

function renderTotal() {
  const number = answer.total_is_exact ? counted(answer.total, "video") : `${count(answer.total)}+ videos`;
  total.textContent = answer.page !== null && place.page > 1 ? `${number}, page ${count(place.page)}` : number;
}

function renderPages() {
  const entries = [];
  const next = nextPlace(place, answer);
  const last = answer.total_is_exact ? Math.max(1, Math.ceil(answer.total / LIMIT)) : null;
  if (!isNewest(place)) {
    const before = place.cursor !== null || place.page === 2 ? firstPage(place) : { ...place, page: place.page - 1 };
    entries.push(pageLink(before, place.cursor === null ? "Newer" : "Newest", { rel: "prev" }));
  }
  if (place.cursor === null) entries.push(...numbers(last ?? place.page + (next === null ? 0 : 1)));
  if (next !== null) entries.push(pageLink(next, "Older", { rel: "next" }));
  pages.replaceChildren(make("ul", {}, ...entries));
  pages.hidden = entries.length < 2;
}

function numbers(last) {
  const near = (number) => Math.abs(number - place.page) <= SHOWN_PAGES || number === 1 || number === last;
  const shown = [...new Set([1, ...range(place.page - SHOWN_PAGES, place.page + SHOWN_PAGES), last])].filter(
    (number) => number >= 1 && number <= Math.max(last, 1) && near(number),
  );
  return shown.sort((one, other) => one - other).flatMap((number, index) => {
    const gap = index > 0 && number - shown[index - 1] > 1 ? [make("li", { class: "gap", "aria-hidden": "true" }, "…")] : [];
    const current = number === place.page ? { "aria-current": "page" } : {};
    return [...gap, pageLink({ ...place, page: number }, count(number), { "aria-label": `Page ${count(number)}`, ...current })];
  });
}

function range(from, to) {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

function pageLink(target, text, attributes) {
  return make("li", {}, make("a", { class: "button", href: pageUrl(target), ...attributes }, text));
}

function renderEmpty() {
  if (answer.items.length > 0 || !answer.complete) {
    panel.hidden = true;
  } else if (!isNewest(place)) {
    showPanel("Nothing this far back", "There are fewer videos than that.", pageAnchor(firstPage(place), "To the newest videos"));
  } else if (filterParameters(place).size > 0) {
    showPanel("No video found", "Nothing that is stored passes these filters. New videos that do will appear here.", pageAnchor(readPlace(location.origin), "Show all videos"));
  } else {
    showPanel("No videos yet", "The first ones appear here by themselves, as soon as the pipeline finds them.");
  }
}

function renderIncomplete() {
  incomplete.hidden = answer.complete;
  if (answer.complete) return;
  const reached = answer.items.length > 0 ? "These are the newest that were found" : "None was found so far";
  incomplete.replaceChildren(
    make("span", {}, `The search ran out of time before it had looked at every video. ${reached}.`),
    ...(answer.next_cursor === null ? [] : [pageAnchor(nextPlace(place, answer), "Search on from there")]),
  );
}

function pageAnchor(target, text) {
  return make("a", { class: "button", href: pageUrl(target) }, text);
}

function showPanel(heading, text, action = null, bad = false) {
  panel.classList.toggle("bad", bad);
  panel.replaceChildren(make("h2", {}, heading), make("p", {}, text), ...(action === null ? [] : [action]));
  panel.hidden = false;
}

function fail(problem) {
  if (problem.status === 400) {
    const ofSearch = problem.errors.find(({ parameter }) => parameter === "search");
    if (ofSearch) searchFault.textContent = `The search ${ofSearch.detail}.`;
  }
  answer = null;
  early = [];
  list.replaceChildren();
  list.hidden = pages.hidden = incomplete.hidden = true;
  total.textContent = "";
  if (problem.nextCursor !== null) {
    const onwards = pageAnchor({ ...place, page: 1, cursor: problem.nextCursor }, "Go on after the last page");
    showPanel("Pages have no numbers this far back", problem.message, onwards);
  } else if (problem.status >= 400 && problem.status < 500) {
    const details = problem.errors.map(({ parameter, detail }) => `${parameter} ${detail}.`).join(" ");
    showPanel("This page cannot be shown", details || problem.message, pageAnchor(readPlace(location.origin), "Show all videos"), true);
  } else {
    const again = make("button", { class: "button", type: "button" }, "Try again");
    again.addEventListener("click", () => show(place));
    showPanel("The videos cannot be loaded", `${problem.message} This page tries again by itself.`, again, true);
    retrying = setTimeout(() => show(place, { quiet: true }), RETRY_PAUSE);
  }
}

// ---- What happens meanwhile

const stream = new LiveStream({
  event: (type, data) => (answer === null ? early.push([type, data]) : take([type, data])),
  // What happened between the page's answer and the stream's beginning is in no event.
  opened: () => settle(0),
  reset: () => settle(0),
  state: sayState,
});

/** Ask again for what is shown, a moment after the last event: totals, and rows that an event cannot tell. */
function settle(pause = SETTLING) {
  overtaken = answer === null;
  if (overtaken || (settling !== null && pause > 0)) return;
  clearTimeout(settling);
  settling = setTimeout(async () => {
    settling = null;
    const found = await ask((problem) => say("stale", `${problem.message} What is shown may be old.`));
    if (found === undefined || found === null) return;
    const stays = !mayMove();
    answer = stays ? { ...found, items: answer.items } : found;
    const shown = new Set([...list.children].map((card) => card.dataset.id));
    const arrived = answer.items.filter(({ id }) => !shown.has(id)).map(({ id }) => id);
    if (stays) {
      renderTotal();
      renderPages();
    } else {
      waiting.clear();
      sayWaiting();
      render(new Set(arrived));
    }
  }, pause);
}

function mayMove() {
  return isNewest(place) && scrollY < TOP && !list.contains(document.activeElement);
}

function take([type, data]) {
  if (type === "removed") remove(data.id);
  else put(data, type);
  settle();
}

function put(video, type) {
  const shown = answer.items.findIndex(({ id }) => id === video.id);
  if (shown >= 0) {
    const items = answer.items.with(shown, video);
    // Only in its place: where a changed publish time belongs is found out by asking again.
    answer = { ...answer, items };
    if (![...list.children].some((card) => card.dataset.id === video.id && card.contains(document.activeElement))) renderList(items, new Set());
  } else if (type === "discovered" && belongsAtTop(video)) {
    if (mayMove()) insert(video);
    else waiting.add(video.id);
    sayWaiting();
    announceArrival();
  }
}

function belongsAtTop(video) {
  if (!isNewest(place)) return true;
  return answer.items.length < LIMIT || orderOf(video) > orderOf(answer.items.at(-1));
}

function insert(video) {
  const items = [...answer.items, video].sort((one, other) => (orderOf(one) < orderOf(other) ? 1 : -1)).slice(0, LIMIT);
  answer = { ...answer, items, total: answer.total + (answer.total_is_exact ? 1 : 0) };
  render(new Set([video.id]));
}

function orderOf(video) {
  return `${video.published_at} ${video.id}`;
}

function remove(id) {
  waiting.delete(id);
  sayWaiting();
  const card = [...list.children].find((each) => each.dataset.id === id);
  if (card !== undefined) markGone(card);
}

function sayWaiting() {
  arrivals.textContent = counted(waiting.size, "new video");
  arrivals.hidden = waiting.size === 0;
  document.title = pageTitle();
}

function pageTitle() {
  const news = waiting.size > 0 ? `(${waiting.size}) ` : "";
  const what = place.search ?? place.query ?? (place.channel_id === null ? "Newest videos" : channelTitle());
  return `${news}${what} · YouSync`;
}

arrivals.addEventListener("click", () => {
  stopTyping();
  if (isNewest(place)) show(place, { scrollTo: 0, focus: true });
  else go(firstPage(place), { scrollTo: 0, focus: true });
});

// ---- Saying things

function announce(text) {
  announcer.textContent = text;
}

function spokenTotal() {
  const number = answer.total_is_exact ? counted(answer.total, "video") : `More than ${count(answer.total)} videos`;
  return place.page > 1 ? `Page ${count(place.page)} of ${number}` : number;
}

let unannounced = 0;
let announcing = null;

/** Arrivals are spoken of together, now and then. */
function announceArrival() {
  unannounced += 1;
  announcing ??= setTimeout(() => {
    announce(counted(unannounced, "new video"));
    unannounced = 0;
    announcing = setTimeout(() => {
      announcing = null;
      if (unannounced > 0) announceArrival();
    }, ANNOUNCE_ARRIVALS_EVERY);
  }, 1000);
}

const STATES = { connecting: "Connecting", live: "Live", cut: "Interrupted" };
let cutSince = null;
let asksWhileCut = null;

function sayState(state) {
  const live = element("live");
  if (live.dataset.state !== state) {
    live.dataset.state = state;
    element("live-text").textContent = STATES[state];
  }
  if (state === "live") {
    clearTimeout(cutSince);
    clearInterval(asksWhileCut);
    cutSince = asksWhileCut = null;
    say("cut", null);
  } else if (state === "cut") {
    cutSince ??= setTimeout(() => say("cut", "Live updates are interrupted; this page keeps trying."), CUT_IS_WORTH_SAYING);
    asksWhileCut ??= setInterval(() => settle(0), ASK_WHILE_CUT);
  }
}

const saying = new Map();

/** A warning above the list, one of each kind; null takes it away. */
function say(kind, text) {
  if ((saying.get(kind) ?? null) === text) return;
  if (text === null) saying.delete(kind);
  else saying.set(kind, text);
  banner.replaceChildren(...[...saying.values()].map((each) => make("p", { class: "note warning" }, each)));
}

setInterval(() => renewTimes(list, Date.now()), 20000);
show(place, { quiet: true });
loadQueries();
