// How long videos took to be found, as bars on a scale of powers: seconds and days side by side.

import { draw } from "./elements.js";
import { fullTime, spoken } from "./format.js";

const HEIGHT = 260;
const MARGIN = { top: 18, right: 8, bottom: 10, left: 56 };
const TICKS = [1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400];

/** The videos' delays in seconds, oldest video first. */
export function delaysOf(videos) {
  return videos
    .map(({ title, published_at, first_seen_at }) => {
      const published = Date.parse(published_at);
      return { title, published, seconds: Math.max(0, (Date.parse(first_seen_at) - published) / 1000) };
    })
    .sort((one, other) => one.published - other.published);
}

/** What is below a share of the delays (nearest rank); `share` from 0 to 1. */
export function percentile(delays, share) {
  const ordered = delays.map(({ seconds }) => seconds).sort((one, other) => one - other);
  return ordered[Math.max(0, Math.ceil(share * ordered.length) - 1)];
}

export function summary(delays) {
  const [half, most, all] = [0.5, 0.95, 1].map((share) => spoken(percentile(delays, share)));
  return `median ${half}, 95th percentile ${most}, longest ${all}`;
}

/** The chart, `width` pixels wide. */
export function drawChart(delays, width) {
  const longest = Math.max(10, percentile(delays, 1));
  const [left, right, bottom] = [MARGIN.left, width - MARGIN.right, HEIGHT - MARGIN.bottom];
  const top = TICKS.find((tick) => tick >= longest) ?? longest;
  const y = (seconds) => bottom - ((bottom - MARGIN.top) * Math.log(1 + seconds)) / Math.log(1 + top);
  const step = (right - left) / delays.length;

  const rules = TICKS.filter((tick) => tick <= top).flatMap((tick) => [
    draw("line", { class: "rule", x1: left, x2: right, y1: y(tick), y2: y(tick) }),
    draw("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, spoken(tick)),
  ]);
  const bars = delays.map(({ title, published, seconds }, index) => {
    const shape = { x: left + index * step + step * 0.14, width: Math.max(1, step * 0.72), y: y(seconds) - 1, height: bottom - y(seconds) + 1, rx: Math.min(3, step * 0.3) };
    return draw("rect", { class: "bar", ...shape }, draw("title", {}, `${title}\n${fullTime(published)}\nfound after ${spoken(seconds)}`));
  });
  const median = percentile(delays, 0.5);
  const marks = [
    draw("line", { class: "median", x1: left, x2: right, y1: y(median), y2: y(median) }),
    draw("text", { class: "median-label", x: right, y: y(median) - 7, "text-anchor": "end" }, `median ${spoken(median)}`),
  ];
  const label = `Bars, one a video: ${summary(delays)}`;
  return draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, ...rules, ...bars, ...marks);
}
