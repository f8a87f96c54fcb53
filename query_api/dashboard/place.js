// Where the reader is in the list: a page of everything, or of what the filters leave. It lives in the page's URL.

export const LIMIT = 24;

/** What cannot be counted at once is paged by number up to here, and by cursor beyond (see the contract). */
const LAST_COUNTED = 1000;

const FILTERS = ["query", "channel_id", "search"];

/** The place that a URL names; what it says wrongly is passed over. */
export function readPlace(url) {
  const given = new URL(url).searchParams;
  const place = { page: 1, cursor: given.get("cursor") || null };
  for (const name of FILTERS) place[name] = given.get(name)?.trim() || null;
  const page = given.get("page") ?? "";
  if (/^[1-9]\d{0,14}$/.test(page) && place.cursor === null) place.page = Number(page);
  return place;
}

/** The same filters from their newest video on. */
export function firstPage(place) {
  return { ...place, page: 1, cursor: null };
}

/** With another filter, from the newest video on. */
export function narrowed(place, filter) {
  return { ...firstPage(place), ...filter };
}

/** This page's URL for a place. */
export function pageUrl(place) {
  const text = parameters(place, false).toString();
  return text === "" ? "/" : `/?${text}`;
}

/** What to ask the API for. */
export function apiUrl(place) {
  return `/v1/videos?${parameters(place, true)}`;
}

/** The filters alone, for the live feed. */
export function filterParameters(place) {
  const chosen = FILTERS.filter((name) => place[name] !== null).map((name) => [name, place[name]]);
  return new URLSearchParams(chosen);
}

/** The place after an answer, or null at the end. */
export function nextPlace(place, answer) {
  if (answer.next_cursor === null) return null;
  const number = place.page + 1;
  const byNumber = answer.page !== null && answer.complete && (answer.total_is_exact || number * LIMIT <= LAST_COUNTED);
  return byNumber ? { ...place, page: number } : { ...place, page: 1, cursor: answer.next_cursor };
}

/** Whether new videos appear at the top of what this place shows. */
export function isNewest(place) {
  return place.page === 1 && place.cursor === null;
}

function parameters(place, forApi) {
  const chosen = filterParameters(place);
  if (forApi) chosen.set("limit", LIMIT);
  if (place.cursor !== null) chosen.set("cursor", place.cursor);
  else if (forApi || place.page > 1) chosen.set("page", place.page);
  return chosen;
}
