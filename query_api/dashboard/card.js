// One video of the list.

import { make, draw } from "./elements.js";
import { ago, clock, count, fullTime } from "./format.js";
import { narrowed, pageUrl } from "./place.js";

const NICE_SIZES = ["medium", "high", "standard", "maxres", "default"];
const ON_AIR = { live: "Live", upcoming: "Upcoming" };

/** The list's entry for a video; `place` is where its links narrow the list from. */
export function makeCard(video, place) {
  const card = make(
    "li",
    { class: "card", "data-id": video.id },
    make("div", { class: "thumb" }, picture(video), badge(video)),
    make(
      "div",
      { class: "words" },
      make("h2", {}, make("a", { href: watchUrl(video), target: "_blank", rel: "noopener", dir: "auto" }, video.title)),
      channel(video, place),
      make("div", { class: "meta" }, timeOf(video), tags(video, place)),
    ),
  );
  card.body = JSON.stringify(video);
  return card;
}

/** Say again how long ago, all over the page. */
export function renewTimes(root, now) {
  for (const time of root.querySelectorAll("time")) {
    const text = ago(Date.parse(time.dateTime), now);
    if (time.textContent !== text) time.textContent = text;
  }
}

/** A video that was removed while it is shown: its place stays, so that nothing jumps. */
export function markGone(card) {
  card.classList.add("gone");
  card.querySelector(".thumb").replaceChildren(placeholder());
  card.querySelector(".words").replaceChildren(make("h2", {}, "No longer on YouTube"));
  card.body = null;
}

function watchUrl(video) {
  const id = encodeURIComponent(video.id);
  return `https://www.youtube.com/watch?v=${id}`;
}

function picture(video) {
  const size = NICE_SIZES.find((name) => isOnYouTube(video.thumbnails[name]?.url));
  if (size === undefined) return placeholder();
  const { url, width, height } = video.thumbnails[size];
  const image = make("img", { alt: "", loading: "lazy", decoding: "async", width, height });
  image.addEventListener("error", () => image.replaceWith(placeholder()));
  image.src = url;
  return image;
}

function isOnYouTube(url) {
  return /^https:\/\/([a-z0-9-]+\.)*ytimg\.com\//.test(url ?? "");
}

function placeholder() {
  const shape = "M4 5h16a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V7a2 2 0 0 1 2-2zm6 3.8v6.4l5.4-3.2z";
  return draw("svg", { class: "placeholder", viewBox: "0 0 24 24", "aria-hidden": "true" }, draw("path", { d: shape, "fill-rule": "evenodd" }));
}

function badge(video) {
  if (video.live in ON_AIR) return make("span", { class: `badge ${video.live === "live" ? "on-air" : ""}` }, ON_AIR[video.live]);
  if (video.duration_seconds === undefined) return null;
  return make("span", { class: "badge" }, make("span", { class: "visually-hidden" }, "Length "), clock(video.duration_seconds));
}

function channel(video, place) {
  const { id, title } = video.channel;
  if (id === "") return title === "" ? null : make("p", { class: "channel", dir: "auto" }, title);
  const link = make("a", { href: pageUrl(narrowed(place, { channel_id: id })), dir: "auto", "data-channel-title": title }, title || id);
  return make("p", { class: "channel" }, link);
}

function timeOf(video) {
  const moment = Date.parse(video.published_at);
  return make("time", { datetime: video.published_at, title: fullTime(moment) }, ago(moment, Date.now()));
}

function tags(video, place) {
  const links = video.queries.slice(0, 3).map((query) =>
    make("li", {}, make("a", { href: pageUrl(narrowed(place, { query })), title: `Found by the query ${query}` }, query)),
  );
  if (video.queries.length > 3) links.push(make("li", {}, `${count(video.queries.length - 3)} more`));
  return links.length === 0 ? null : make("ul", { class: "tags", "aria-label": "Found by" }, ...links);
}
