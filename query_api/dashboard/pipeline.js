// How the pipeline is doing: its figures and the newest videos' detection delays, looked at again and again.

import { load } from "./api.js";
import { delaysOf, drawChart, summary } from "./chart.js";
import { make } from "./elements.js";
import { ago, count, fullTime, spoken } from "./format.js";
import { narrowed, pageUrl, readPlace } from "./place.js";

const EVERY = 5000;
const EVERYTHING = readPlace(location.origin);

const [figures, checked, banner, chart, chartSummary] = ["figures", "checked", "banner", "chart", "chart-summary"].map((id) =>
  document.getElementById(id),
);
let delays = [];

async function look() {
  const [health, videos] = await Promise.allSettled([load("/v1/pipeline"), load("/v1/videos?limit=100")]);
  const faults = [];
  if (health.status === "fulfilled") {
    showFigures(health.value.body);
    faults.push(...health.value.body.faults);
  } else {
    faults.push(`The pipeline’s figures cannot be loaded: ${health.reason.message}`);
  }
  if (videos.status === "fulfilled") {
    delays = delaysOf(videos.value.body.items);
    showChart();
  } else {
    faults.push(`The newest videos cannot be loaded: ${videos.reason.message}`);
  }
  sayFaults(faults);
}

function sayFaults(faults) {
  const text = faults.join("\n");
  if (banner.dataset.said === text) return;
  banner.dataset.said = text;
  banner.replaceChildren(...faults.map((fault) => make("p", { class: "note warning" }, fault)));
}

function showFigures(health) {
  const { lag, dead_letters: letters, quota_left: left, leader, queries, stale_seconds: stale, checked_at: at } = health;
  checked.textContent = at === null ? "Kafka has not answered yet" : `Looked at ${ago(Date.parse(at), Date.now())}`;
  if (at !== null) checked.title = fullTime(Date.parse(at));
  figures.setAttribute("aria-busy", "false");
  figures.replaceChildren(
    figure("Lag", known(lag, count), "raw records not yet stored", lag === null ? "unknown" : lag > 1000 ? "warning" : "good"),
    figure("Search calls left today", known(left, ({ search }) => count(search)), "until midnight, Pacific time", left === null ? "unknown" : left.search === 0 ? "warning" : ""),
    figure("Units left today", known(left, ({ units }) => count(units)), "for all other calls to YouTube", left === null ? "unknown" : left.units === 0 ? "warning" : ""),
    figure("Dead letters", known(letters, count), "records put aside; see yousync dead-letters", letters === null ? "unknown" : letters > 0 ? "bad" : "good"),
    figure("Served videos", stale > 0 ? `${spoken(stale)} old` : "up to date", stale > 0 ? "the store or Kafka does not answer" : "this process hears every change", stale > 0 ? "bad" : "good", "small"),
    figure("Leader", leader?.id ?? "none known", leader === null ? "no producer has said that it polls" : `epoch ${count(leader.epoch)}, since ${ago(Date.parse(leader.since), Date.now())}`, leader === null ? "unknown" : "", "small"),
    followed(queries),
  );
}

function known(value, say) {
  return value === null ? "unknown" : say(value);
}

function figure(name, value, said, state = "", size = "") {
  return make(
    "div",
    { class: "figure", "data-state": state },
    make("dt", {}, name),
    make("dd", { class: `value ${size}` }, value),
    make("dd", { class: "said" }, said),
  );
}

function followed(queries) {
  const links = (queries ?? []).map((query) =>
    make("li", {}, make("a", { href: pageUrl(narrowed(EVERYTHING, { query })) }, query === "*" ? "everything (*)" : query)),
  );
  const said = queries === null ? "unknown" : "none";
  const value = links.length > 0 ? make("ul", { class: "queries" }, ...links) : said;
  return make("div", { class: "figure wide" }, make("dt", {}, "Followed queries"), make("dd", {}, value));
}

function showChart() {
  if (delays.length === 0) {
    chart.replaceChildren(make("p", { class: "nothing" }, "No videos yet."));
    chartSummary.textContent = "";
    return;
  }
  chartSummary.textContent = summary(delays);
  chart.replaceChildren(drawChart(delays, Math.max(280, chart.clientWidth)));
}

let width = 0;
new ResizeObserver(() => {
  if (chart.clientWidth !== width && delays.length > 0) showChart();
  width = chart.clientWidth;
}).observe(chart);

async function keepLooking() {
  if (!document.hidden) await look();
  setTimeout(keepLooking, EVERY);
}
keepLooking();
